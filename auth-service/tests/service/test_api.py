"""The public and internal paths, as the gateway and the neighbours call them."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import jwt
import pytest

from auth_service.app import make_app
from auth_service.settings import AuthSettings
from shared.contracts.auth import Lease, Reservation, Revocations, UsageRecorded
from shared.ids import new_id
from shared.principal import Principal
from shared.testing import eventually, identity_headers, running, somebody

pytestmark = pytest.mark.engines
SERVICE = "auth-service"
PASSWORD = "SecurePass123!"


@pytest.fixture(scope="module")
async def client(settings: AuthSettings) -> AsyncIterator[httpx2.AsyncClient]:
    async with running(make_app(settings), SERVICE) as made:
        yield made


def gateway(principal: Principal | None = None, address: str | None = None) -> dict[str, str]:
    return {**identity_headers(SERVICE, principal), "X-Client-Address": address or f"10.{new_id().int % 200}.0.1"}


def neighbour() -> dict[str, str]:
    return identity_headers(SERVICE, None, "chat-service")


def principal_of(access_token: str) -> Principal:
    claims = jwt.decode(access_token, options={"verify_signature": False})
    return Principal(claims["sub"], claims["org"], claims["role"], claims["plan"], claims["jti"])


async def register(client: httpx2.AsyncClient, **extra: Any) -> dict[str, Any]:
    body = {"email": f"{new_id()}@example.com", "password": PASSWORD, **extra}
    reply = await client.post("/auth/register", json=body, headers=gateway(address=str(new_id())))
    assert reply.status_code == 201, reply.text
    made: dict[str, Any] = reply.json()
    return made


async def test_register_gives_user_organization_and_tokens(client: httpx2.AsyncClient) -> None:
    made = await register(client, email=f"Ada.{new_id()}@Example.com", subscription_plan="pro", organization="Acme")

    assert made["user"]["role"] == "owner"
    assert made["user"]["email"].endswith("@example.com")
    assert made["organization"]["plan"] == "pro"
    assert made["organization"]["name"] == "Acme"
    assert (made["token_type"], made["expires_in"]) == ("bearer", 900)
    assert set(made) == {"user", "organization", "access_token", "refresh_token", "token_type", "expires_in"}


async def test_login_gives_a_bearer_token_whatever_the_case_of_the_address(client: httpx2.AsyncClient) -> None:
    made = await register(client)
    body = {"email": made["user"]["email"].upper(), "password": PASSWORD}

    reply = await client.post("/auth/login", json=body, headers=gateway())

    assert reply.status_code == 200
    assert set(reply.json()) == {"access_token", "refresh_token", "token_type", "expires_in"}


async def test_wrong_and_unknown_logins_differ_in_nothing(client: httpx2.AsyncClient) -> None:
    made = await register(client)
    bodies = []
    for email in (made["user"]["email"], f"{new_id()}@example.com"):
        reply = await client.post("/auth/login", json={"email": email, "password": "no"}, headers=gateway())
        assert (reply.status_code, reply.headers["www-authenticate"]) == (401, "Bearer")
        bodies.append({key: value for key, value in reply.json().items() if key != "request_id"})

    assert bodies[0] == bodies[1]
    assert bodies[0]["code"] == "invalid_credentials"


async def test_a_taken_address_is_a_conflict(client: httpx2.AsyncClient) -> None:
    made = await register(client)
    body = {"email": made["user"]["email"], "password": PASSWORD}

    reply = await client.post("/auth/register", json=body, headers=gateway())

    assert (reply.status_code, reply.json()["code"]) == (409, "email_taken")


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"email": "x"}, "email"),
        ({"password": "Sh0rt!"}, "password"),
        ({"password": "SecretEcho" + "x" * 250}, "password"),
        ({"password": "SecretEcho\u0000123!"}, "password"),
        ({"password": "iloveyou"}, "password"),
        ({"subscription_plan": "gold"}, "subscription_plan"),
        ({"organisation": "Acme"}, "organisation"),
        ({"sample": "perhaps"}, "sample"),
        ({"name": "a\u0000b"}, "name"),
    ],
)
async def test_what_is_wrong_is_named_and_not_repeated(
    client: httpx2.AsyncClient, change: dict[str, Any], field: str
) -> None:
    body = {"email": f"{new_id()}@example.com", "password": "SecretEcho123!", **change}

    reply = await client.post("/auth/register", json=body, headers=gateway())

    assert reply.status_code == 422
    assert reply.headers["content-type"] == "application/problem+json"
    assert [error["field"] for error in reply.json()["errors"]] == [field]
    assert b"SecretEcho" not in reply.content


@pytest.mark.parametrize(
    ("raw", "content_type", "status"),
    [
        (b"{", "application/json", 400),
        (b'{"email":NaN}', "application/json", 400),
        (b'{"email":"a@example.com","email":"b@example.com","password":"x"}', "application/json", 400),
        (b'{"email":"a@example.com","password":"\\ud800 surrogate"}', "application/json", 422),
        (b"email=a", "application/x-www-form-urlencoded", 415),
    ],
)
async def test_an_unreadable_body_is_a_clear_refusal(
    client: httpx2.AsyncClient, raw: bytes, content_type: str, status: int
) -> None:
    headers = {**gateway(), "Content-Type": content_type}

    reply = await client.post("/auth/register", content=raw, headers=headers)

    assert reply.status_code == status, reply.text


async def test_a_repeated_registration_is_the_same_account(client: httpx2.AsyncClient) -> None:
    body = {"email": f"{new_id()}@example.com", "password": PASSWORD}
    headers = {**gateway(), "Idempotency-Key": str(new_id())}

    first, again = [await client.post("/auth/register", json=body, headers=headers) for _ in range(2)]
    other = await client.post("/auth/register", json={**body, "name": "Ben"}, headers=headers)

    assert (first.status_code, again.status_code) == (201, 201)
    assert first.content == again.content
    assert "idempotency-replayed" not in first.headers
    assert again.headers["idempotency-replayed"] == "true"
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_mismatch")


async def test_nobody_gets_in_without_an_identity(client: httpx2.AsyncClient) -> None:
    for path in ("/auth/me", "/billing/usage", "/audit", "/internal/revocations", "/.well-known/jwks.json"):
        reply = await client.get(path, headers={"X-Internal-Identity": ""})
        assert reply.status_code == 401, path


async def test_a_person_without_a_token_is_not_known(client: httpx2.AsyncClient) -> None:
    for path in ("/auth/me", "/billing/usage", "/audit"):
        assert (await client.get(path, headers=gateway())).status_code == 401, path


async def test_people_do_not_reach_internal_paths(client: httpx2.AsyncClient) -> None:
    reply = await client.get("/internal/revocations", headers=gateway(somebody()))

    assert reply.status_code == 403


async def test_me_is_who_registered(client: httpx2.AsyncClient) -> None:
    made = await register(client)

    reply = await client.get("/auth/me", headers=gateway(principal_of(made["access_token"])))

    assert reply.json() == {
        "user": made["user"],
        "organization": made["organization"],
        "role": "owner",
        "plan": "free",
    }


async def test_logout_needs_no_body_and_ends_the_session(client: httpx2.AsyncClient) -> None:
    made = await register(client)
    principal = principal_of(made["access_token"])

    ended = await client.post("/auth/logout", headers=gateway(principal))

    assert (ended.status_code, ended.content) == (204, b"")
    assert (await client.get("/auth/me", headers=gateway(principal))).status_code == 401
    refused = await client.post("/auth/refresh", json={"refresh_token": made["refresh_token"]}, headers=gateway())
    assert (refused.status_code, refused.json()["code"]) == (401, "invalid_refresh_token")


async def test_logout_refuses_a_bad_refresh_token(client: httpx2.AsyncClient) -> None:
    made = await register(client)
    principal = principal_of(made["access_token"])

    reply = await client.post("/auth/logout", json={"refresh_token": "zzz"}, headers=gateway(principal))

    assert (reply.status_code, reply.json()["code"]) == (401, "invalid_refresh_token")


async def test_what_was_logged_out_is_told_to_the_gateway(client: httpx2.AsyncClient) -> None:
    made = await register(client)
    principal = principal_of(made["access_token"])
    await client.post("/auth/logout", headers=gateway(principal))

    async def told() -> bool:
        now = Revocations.model_validate_json((await client.get("/internal/revocations", headers=gateway())).content)
        is_token_told = principal.token_id in {entry.id for entry in now.jtis}
        return is_token_told and principal.token_id.split(".")[0] in {entry.id for entry in now.sessions}

    assert await eventually(told, 3)


async def test_the_plans_are_those_of_the_documents(client: httpx2.AsyncClient) -> None:
    plans = (await client.get("/billing/plans", headers=gateway())).json()["plans"]

    assert [(plan["id"], plan["messages"], plan["tasks"]) for plan in plans] == [
        ("free", 1_000, 10),
        ("pro", 10_000, 100),
        ("enterprise", None, 1_000),
    ]


async def test_usage_is_what_neighbours_recorded_and_reserved(client: httpx2.AsyncClient) -> None:
    made = await register(client)
    org = made["organization"]["id"]
    ask = {"organization_id": org, "want": 10, "holder": "chat-1"}
    lease = Lease.model_validate((await client.post("/internal/quota/leases", json=ask, headers=neighbour())).json())
    event = {"organization_id": org, "event_id": str(new_id()), "lease_id": lease.lease_id}
    report = {
        "events": [{**event, "occurred_at": lease.expires_at.isoformat()}],
        "returns": [{"organization_id": org, "lease_id": lease.lease_id, "unburned": 9}],
    }
    sent = [await client.post("/internal/quota/usage", json=report, headers=neighbour()) for _ in range(2)]
    recorded = [UsageRecorded.model_validate(reply.json()) for reply in sent]
    task = {"organization_id": org, "event_id": "task-1"}
    kept = await client.post("/internal/quota/reservations", json=task, headers=neighbour())

    usage = (await client.get("/billing/usage", headers=gateway(principal_of(made["access_token"])))).json()

    assert lease.granted == 10
    assert [(one.recorded, one.duplicates) for one in recorded] == [(1, 0), (0, 1)]
    assert Reservation.model_validate(kept.json()).used == 1
    assert usage["messages"] == {"used": 1, "limit": 1_000, "remaining": 999}
    assert usage["tasks"] == {"used": 1, "limit": 10, "remaining": 9}
    assert re.fullmatch(r"\d{4}-\d\d-01T00:00:00Z", usage["period"]["start"])


async def test_a_spent_task_quota_says_when_it_resets(client: httpx2.AsyncClient) -> None:
    made = await register(client)
    for number in range(11):
        body = {"organization_id": made["organization"]["id"], "event_id": f"task-{number}"}
        reply = await client.post("/internal/quota/reservations", json=body, headers=neighbour())

    assert (reply.status_code, reply.json()["code"]) == (429, "quota_exceeded")
    assert reply.json()["resets_at"]


async def test_a_reservation_is_committed_or_refunded_over_http(client: httpx2.AsyncClient) -> None:
    made = await register(client)
    owner = {"organization_id": made["organization"]["id"]}
    for task in ("good", "bad"):
        await client.post("/internal/quota/reservations", json={**owner, "event_id": task}, headers=neighbour())

    replies = [
        (await client.post(f"/internal/quota/reservations/{path}", json=owner, headers=neighbour())).status_code
        for path in ("good/commit", "good/commit", "bad/refund", "bad/commit", "none/commit")
    ]

    assert replies == [200, 200, 200, 409, 404]


async def test_an_organization_is_described_to_neighbours(client: httpx2.AsyncClient) -> None:
    made = await register(client, sample=False)
    org = made["organization"]["id"]

    found = await client.get(f"/internal/organizations/{org}", headers=neighbour())
    missing = [
        (await client.get(f"/internal/organizations/{id_}", headers=neighbour())).status_code
        for id_ in (str(new_id()), "x'--")
    ]

    assert found.json() == {"id": org, "name": made["organization"]["name"], "plan": "free", "sample": False}
    assert missing == [404, 404]


async def test_the_audit_log_is_paged_and_for_admins(client: httpx2.AsyncClient) -> None:
    made = await register(client)
    owner = principal_of(made["access_token"])
    for _ in range(2):
        await client.post("/auth/login", json={"email": made["user"]["email"], "password": PASSWORD}, headers=gateway())
    editor = Principal(owner.user_id, owner.organization_id, "editor", "free", owner.token_id)
    stranger = somebody()

    first = (await client.get("/audit?limit=2", headers=gateway(owner))).json()
    cursor = first["next_cursor"]
    rest = (await client.get(f"/audit?limit=2&cursor={cursor}", headers=gateway(owner))).json()

    actions = [entry["action"] for entry in first["entries"] + rest["entries"]]
    assert actions == ["session.opened", "session.opened", "organization.registered"]
    assert rest["next_cursor"] is None
    assert (await client.get("/audit", headers=gateway(editor))).status_code == 403
    for who, query in ((owner, "cursor=zzz"), (stranger, f"cursor={cursor}"), (owner, "limit=0"), (owner, "limit=101")):
        assert (await client.get(f"/audit?{query}", headers=gateway(who))).status_code == 422


async def test_a_flood_of_wrong_logins_is_told_to_come_back_within_a_minute(client: httpx2.AsyncClient) -> None:
    made = await register(client)
    body = {"email": made["user"]["email"], "password": "wrong password"}

    replies = [await client.post("/auth/login", json=body, headers=gateway(address="10.9.9.9")) for _ in range(11)]

    assert [reply.status_code for reply in replies] == [401] * 10 + [429]
    assert replies[-1].json()["code"] == "rate_limited"
    assert 1 <= int(replies[-1].headers["retry-after"]) <= 60


async def test_the_keys_are_public_and_may_be_kept_for_a_minute(client: httpx2.AsyncClient) -> None:
    reply = await client.get("/.well-known/jwks.json", headers=gateway())

    assert {key["alg"] for key in reply.json()["keys"]} == {"EdDSA"}
    assert all("d" not in key for key in reply.json()["keys"])
    assert reply.headers["cache-control"] == "public, max-age=60"


def test_every_public_operation_tells_its_problems(settings: AuthSettings) -> None:
    paths = make_app(settings).openapi()["paths"]

    assert set(paths) == {
        "/auth/register",
        "/auth/login",
        "/auth/refresh",
        "/auth/logout",
        "/auth/me",
        "/.well-known/jwks.json",
        "/billing/plans",
        "/billing/usage",
        "/audit",
    }
    for path, operations in paths.items():
        for operation in operations.values():
            assert "503" in operation["responses"], path
            assert "HTTPValidationError" not in str(operation["responses"]), path


@asynccontextmanager
async def without_postgres(settings: AuthSettings) -> AsyncIterator[httpx2.AsyncClient]:
    async with running(make_app(settings.model_copy(update={"postgres_port": 9})), SERVICE) as made:
        yield made


async def test_without_postgresql_everything_is_refused_and_nothing_is_denied(settings: AuthSettings) -> None:
    login = {"email": "ada@example.com", "password": PASSWORD}
    async with without_postgres(settings) as client:
        who = gateway(somebody())
        replies = {
            "register": await client.post("/auth/register", json=login, headers=gateway()),
            "login": await client.post("/auth/login", json=login, headers=gateway()),
            "refresh": await client.post("/auth/refresh", json={"refresh_token": "x"}, headers=gateway()),
            "me": await client.get("/auth/me", headers=who),
            "usage": await client.get("/billing/usage", headers=who),
            "audit": await client.get("/audit", headers=who),
        }
        health = await client.get("/internal/health", headers=gateway())
        ready = await client.get("/health/ready")

    for name, reply in replies.items():
        assert reply.status_code == 503, name
        assert reply.json()["capability"] == "accounts", name
        assert "retry-after" in reply.headers, name
    assert health.json()["databases"] == {"postgresql": "unavailable"}
    assert ready.status_code == 200
