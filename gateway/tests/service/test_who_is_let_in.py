"""Tokens, revocations and what happens while auth-service is away."""

import asyncio
import time

import httpx2
import jwt
import pytest

from gateway.clients import auth_service
from gateway.testing import Replica, TokenMint, running_gateway, settings_for


async def status(client: httpx2.AsyncClient, token: str | None) -> int:
    headers = {"Authorization": f"Bearer {token}"} if token is not None else {"Authorization": ""}
    reply = await client.get("/auth/me", headers=headers)
    if reply.status_code == 401:
        assert reply.headers["www-authenticate"].startswith("Bearer")
        assert reply.json()["code"] == "unauthenticated"
    return reply.status_code


async def test_only_a_living_token_of_ours_is_let_in(
    client: httpx2.AsyncClient, mint: TokenMint, replica: Replica
) -> None:
    now = time.time()
    stranger = TokenMint()
    refused = {
        "absent": None,
        "nonsense": "abc.def.ghi",
        "expired": mint.token(exp=now - 1),
        "foreign issuer": mint.token(iss="somebody"),
        "foreign audience": mint.token(aud="something"),
        "foreign key": stranger.token(),
        "id token": mint.token(typ="JWT"),
        "unsigned": jwt.encode({"sub": "x"}, None, "none", headers={"typ": "at+jwt"}),
        "hmac with the public key": jwt.encode(
            {"sub": "x"}, "x" * 32, "HS256", headers={"typ": "at+jwt", "kid": "test"}
        ),
        "too long": mint.token(junk="x" * 9000),
    }

    assert {name: await status(client, token) for name, token in refused.items()} == dict.fromkeys(refused, 401)
    assert await status(client, mint.token()) == 200
    assert len(replica.asked) == 1


async def test_public_paths_need_no_token_and_carry_no_person(client: httpx2.AsyncClient, replica: Replica) -> None:
    reply = await client.post("/auth/login", json={}, headers={"Authorization": ""})

    assert reply.status_code == 200
    assert reply.headers["cache-control"] == "no-store"
    assert replica.asked[-1].headers["x-internal-identity"]


@pytest.mark.parametrize(
    ("claim", "revoked"),
    [
        ({"jti": "t1"}, {"jtis": [{"id": "t1", "expires_at": "2100-01-01T00:00:00Z"}]}),
        ({"sid": "s1"}, {"sessions": [{"id": "s1", "expires_at": "2100-01-01T00:00:00Z"}]}),
        ({"sub": "u1"}, {"users": [{"id": "u1", "not_before": "2100-01-01T00:00:00Z"}]}),
        ({"org": "o1"}, {"organizations": [{"id": "o1", "not_before": "2100-01-01T00:00:00Z"}]}),
    ],
)
async def test_a_revocation_reaches_a_token_already_let_in(
    replica: Replica,
    mint: TokenMint,
    monkeypatch: pytest.MonkeyPatch,
    claim: dict[str, str],
    revoked: dict[str, object],
) -> None:
    monkeypatch.setattr(auth_service, "REVOCATIONS_EVERY", 0.1)
    token = mint.token(**claim)
    async with (
        running_gateway(settings_for(replica.url)) as gateway,
        httpx2.AsyncClient(base_url=gateway.url, trust_env=False) as client,
    ):
        before = await status(client, token)
        replica.own["/internal/revocations"] = {"as_of": "2026-01-01T00:00:00Z"} | revoked
        await asyncio.sleep(0.4)

        assert (before, await status(client, token), await status(client, mint.token())) == (200, 401, 200)


async def test_a_rotated_key_is_asked_for_when_a_token_names_it(
    client: httpx2.AsyncClient, replica: Replica, mint: TokenMint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(auth_service, "UNKNOWN_KEY_EVERY", 0)
    renewed = TokenMint(key_id="renewed")
    replica.own["/.well-known/jwks.json"] = {"keys": mint.keys["keys"] + renewed.keys["keys"]}

    assert await status(client, renewed.token()) == 200
    assert await status(client, mint.token()) == 200


async def test_while_auth_service_is_away_tokens_are_let_in_from_memory(mint: TokenMint) -> None:
    auth, chat = Replica(mint), Replica(mint)
    await auth.start()
    await chat.start()
    async with (
        running_gateway(settings_for(chat.url, auth_service_url=auth.url)) as gateway,
        httpx2.AsyncClient(base_url=gateway.url, trust_env=False) as client,
    ):
        headers = {"Authorization": f"Bearer {mint.token()}"}
        await client.get("/chat/sessions", headers=headers)
        auth.kill()

        known = await client.get("/chat/sessions", headers={"Authorization": f"Bearer {mint.token()}"})
        accounts = await client.get("/auth/me", headers=headers)

        assert known.status_code == 200
        assert (accounts.status_code, accounts.json()["capability"]) == (503, "accounts")
        assert int(accounts.headers["retry-after"]) > 0
    chat.kill()


async def test_before_any_key_is_known_nobody_is_let_in_but_it_is_no_401(mint: TokenMint) -> None:
    async with (
        running_gateway(settings_for("http://127.0.0.1:1")) as gateway,
        httpx2.AsyncClient(base_url=gateway.url, trust_env=False) as client,
    ):
        reply = await client.get("/chat/sessions", headers={"Authorization": f"Bearer {mint.token()}"})

        assert (reply.status_code, reply.json()["capability"]) == (503, "accounts")


async def test_a_forwarded_address_counts_from_a_configured_proxy_only(replica: Replica) -> None:
    for trusted, seen in (("", "127.0.0.1"), ("127.0.0.0/8", "203.0.113.9")):
        async with (
            running_gateway(settings_for(replica.url, trusted_proxies=trusted)) as gateway,
            httpx2.AsyncClient(base_url=gateway.url, trust_env=False) as client,
        ):
            headers = {"X-Forwarded-For": "8.8.8.8, 203.0.113.9, 127.0.0.2"}
            await client.post("/auth/login", json={}, headers=headers)

            assert replica.asked[-1].headers["x-client-address"] == seen
