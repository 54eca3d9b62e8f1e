"""Who is let in: `Tokens` over keys, revocations and a clock in memory, without a socket."""

import time
from base64 import urlsafe_b64encode
from typing import Any

import jwt
import orjson
import pytest
import structlog

from gateway.clients.auth_service import KEYS_EVERY, UNKNOWN_KEY_EVERY, PublishedKeys, RevocationFeed, snapshot_of
from gateway.domain.tokens import CACHE_SIZE, MAX_TOKEN, REMEMBERED, Claims, RevocationSnapshot, Revoked, Tokens
from gateway.testing import AUDIENCE, ISSUER, Clock, PublishedDocuments, TokenMint
from shared.contracts.auth import Revocations
from shared.errors import CapabilityUnavailable, ClockSkew, Unauthenticated
from shared.identity import TOLERANCE
from shared.principal import Principal

LONG = 10_000


@pytest.fixture
def mint() -> TokenMint:
    return TokenMint()


@pytest.fixture
def clock() -> Clock:
    return Clock(time.time())


@pytest.fixture
def published(mint: TokenMint) -> PublishedDocuments:
    """What auth-service publishes; `away` makes it silent."""
    return PublishedDocuments(mint)


@pytest.fixture
def revoked() -> Revoked:
    found = Revoked()
    found.replace(revocations())
    return found


@pytest.fixture
def tokens(published: PublishedDocuments, revoked: Revoked, clock: Clock) -> Tokens:
    keys = PublishedKeys(published, issuer=ISSUER, audience=AUDIENCE, clock=clock)
    return Tokens(keys, revoked, clock)


def revocations(**lists: Any) -> RevocationSnapshot:
    return snapshot_of(Revocations.model_validate({"as_of": "2026-01-01T00:00:00Z", **lists}))


def bearer(token: str) -> bytes:
    return f"Bearer {token}".encode()


async def refused(tokens: Tokens, authorization: bytes | None) -> Unauthenticated:
    with pytest.raises(Unauthenticated) as found:
        await tokens.verify(authorization)
    return found.value


async def test_a_genuine_token_says_who_it_is(tokens: Tokens, mint: TokenMint) -> None:
    token = mint.token("pro", sub="ada", org="acme", role="editor", jti="t1", sid="s1")

    claims = await tokens.verify(bearer(token))

    assert claims.principal == Principal("ada", "acme", "editor", "pro", "t1")
    assert claims.session_id == "s1"
    assert claims.issued_at < claims.expires_at


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
async def test_the_scheme_may_be_written_in_any_case(tokens: Tokens, mint: TokenMint, scheme: str) -> None:
    assert await tokens.verify(f"{scheme} {mint.token()}".encode())


@pytest.mark.parametrize(
    "authorization",
    [
        None,
        b"",
        b"Bearer",
        b"Bearer ",
        b"Basic YWRhOnB3",
        b"Bearer not.a.token",
        b"Bearer \xff\xfe",
        b"Bearer " + b"x" * MAX_TOKEN,
        b"Bearer a.b.c.d",
        b"Bearer eyJhbGciOiJub25lIn0.e30.",
    ],
)
async def test_what_is_no_token_of_ours_is_unauthenticated(tokens: Tokens, authorization: bytes | None) -> None:
    assert (await refused(tokens, authorization)).headers == {"WWW-Authenticate": "Bearer"}


@pytest.mark.parametrize(
    "claims",
    [
        {"typ": "JWT"},
        {"typ": "rt+jwt"},
        {"typ": ""},
        {"aud": "another-api"},
        {"aud": ["another-api"]},
        {"iss": "somebody"},
        {"exp": 1},
        {"iat": "yesterday"},
        {"exp": "never"},
        {"exp": "nan"},
    ],
)
async def test_a_token_with_a_wrong_claim_is_refused(tokens: Tokens, mint: TokenMint, claims: dict[str, Any]) -> None:
    await refused(tokens, bearer(mint.token(**claims)))


@pytest.mark.parametrize("name", ["exp", "iat", "sub", "jti", "org", "role", "plan"])
async def test_a_token_without_one_of_its_claims_is_refused(tokens: Tokens, mint: TokenMint, name: str) -> None:
    await refused(tokens, bearer(mint.token(**{name: None})))


async def test_a_token_signed_by_somebody_else_under_our_key_id_is_refused(tokens: Tokens) -> None:
    await refused(tokens, bearer(TokenMint().token()))


@pytest.mark.parametrize("algorithm", ["HS256", "none"])
async def test_a_token_under_another_algorithm_is_refused(tokens: Tokens, mint: TokenMint, algorithm: str) -> None:
    public = mint.keys["keys"][0]["x"]
    headers = {"typ": "at+jwt", "kid": "test"}
    forged = jwt.encode({"sub": "ada"}, None if algorithm == "none" else public * 2, algorithm, headers=headers)

    await refused(tokens, bearer(forged))


async def test_a_token_that_was_changed_is_refused(tokens: Tokens, mint: TokenMint) -> None:
    head, _, signature = mint.token("free").split(".")
    claims = urlsafe_b64encode(orjson.dumps({"plan": "enterprise"})).rstrip(b"=").decode()

    await refused(tokens, bearer(f"{head}.{claims}.{signature}"))


async def test_what_is_appended_to_a_token_does_not_make_it_another_one(
    tokens: Tokens, mint: TokenMint, revoked: Revoked
) -> None:
    token = mint.token(jti="t1")
    revoked.replace(
        revocations(jtis=[{"id": "t1", "not_before": "2026-01-01T00:00:00Z", "expires_at": "2999-01-01T00:00:00Z"}])
    )

    await refused(tokens, bearer(token + "=="))


# --- expiry


async def test_a_token_ends_when_it_expires_although_it_is_remembered(
    tokens: Tokens, mint: TokenMint, clock: Clock
) -> None:
    authorization = bearer(mint.token(exp=clock.now + 30))
    await tokens.verify(authorization)

    clock.now += 29
    await tokens.verify(authorization)
    clock.now += 2

    await refused(tokens, authorization)


async def test_a_clock_that_is_behind_that_of_auth_service_refuses_no_fresh_token(
    tokens: Tokens, mint: TokenMint, clock: Clock
) -> None:
    assert await tokens.verify(bearer(mint.token(iat=clock.now + TOLERANCE - 1, exp=clock.now + 900)))
    with pytest.raises(ClockSkew):
        await tokens.verify(bearer(mint.token(iat=clock.now + TOLERANCE + 1, exp=clock.now + 900)))


async def test_a_signature_is_checked_again_after_a_minute(revoked: Revoked, clock: Clock) -> None:
    counting = Counting(clock)
    tokens = Tokens(counting, revoked, clock)
    for passed in (0.0, REMEMBERED - 1, 2.0, 1.0):
        clock.now += passed
        await tokens.verify(b"Bearer x")

    assert counting.checks == 2


async def test_a_stream_goes_on_until_its_token_expires_or_is_revoked(
    tokens: Tokens, mint: TokenMint, clock: Clock, revoked: Revoked
) -> None:
    claims = await tokens.verify(bearer(mint.token(exp=clock.now + 100, sub="ada")))

    assert tokens.still_holds(claims)
    clock.now += 101
    assert not tokens.still_holds(claims)
    clock.now -= 101
    revoked.replace(
        revocations(users=[{"id": "ada", "not_before": "2999-01-01T00:00:00Z", "expires_at": "2999-01-01T00:00:00Z"}])
    )
    assert not tokens.still_holds(claims)


# --- revocation


@pytest.mark.parametrize(
    ("kind", "claim"), [("jtis", "jti"), ("sessions", "sid"), ("users", "sub"), ("organizations", "org")]
)
async def test_what_is_revoked_is_refused_at_the_next_request(
    tokens: Tokens, mint: TokenMint, revoked: Revoked, kind: str, claim: str
) -> None:
    authorization = bearer(mint.token(**{claim: "revoked"}))
    other = bearer(mint.token(**{claim: "other"}))
    await tokens.verify(authorization)

    revoked.replace(
        revocations(
            **{kind: [{"id": "revoked", "not_before": "2999-01-01T00:00:00Z", "expires_at": "2999-01-01T00:00:00Z"}]}
        )
    )

    assert "revoked" in (await refused(tokens, authorization)).detail
    assert await tokens.verify(other)


async def test_a_token_issued_after_its_user_was_revoked_is_let_in(
    tokens: Tokens, mint: TokenMint, revoked: Revoked
) -> None:
    revoked.replace(
        revocations(users=[{"id": "ada", "not_before": "2026-01-01T00:00:00Z", "expires_at": "2999-01-01T00:00:00Z"}])
    )

    assert await tokens.verify(bearer(mint.token(sub="ada")))
    await refused(tokens, bearer(mint.token(sub="ada", iat=1)))


async def test_as_long_as_revocations_are_unknown_nobody_is_let_in_and_nobody_blamed(
    published: PublishedDocuments, mint: TokenMint, clock: Clock
) -> None:
    tokens = Tokens(PublishedKeys(published, issuer=ISSUER, audience=AUDIENCE), Revoked(), clock)

    with pytest.raises(CapabilityUnavailable) as found:
        await tokens.verify(bearer(mint.token()))

    assert found.value.capability == "accounts"


async def test_the_last_revocations_are_kept_while_auth_service_is_away(
    published: PublishedDocuments, revoked: Revoked
) -> None:
    feed = RevocationFeed(published, revoked)
    published.revocations = {
        "as_of": "2026-01-01T00:00:00Z",
        "jtis": [{"id": "t1", "not_before": "2026-01-01T00:00:00Z", "expires_at": "2999-01-01T00:00:00Z"}],
    }
    await feed.refresh()
    published.away = True

    with pytest.raises(CapabilityUnavailable):
        await feed.refresh()

    assert revoked.jtis == {"t1"}


# --- keys


async def test_a_key_that_is_new_is_asked_for_and_one_that_nobody_has_only_now_and_then(
    tokens: Tokens, mint: TokenMint, published: PublishedDocuments, clock: Clock
) -> None:
    await tokens.verify(bearer(mint.token()))
    unknown = TokenMint("unknown")
    for _ in range(20):
        await refused(tokens, bearer(unknown.token()))
    asked = published.asked
    clock.now += UNKNOWN_KEY_EVERY + 1
    published.mint = unknown

    assert await tokens.verify(bearer(unknown.token()))
    assert asked == 1
    assert published.asked == 2


async def test_without_any_key_nobody_is_let_in_and_nobody_blamed(
    tokens: Tokens, mint: TokenMint, published: PublishedDocuments, clock: Clock
) -> None:
    published.away = True
    with structlog.testing.capture_logs() as logged, pytest.raises(CapabilityUnavailable):
        await tokens.verify(bearer(mint.token()))
    published.away = False
    clock.now += 2

    assert [line["event"] for line in logged] == ["keys_unavailable"]
    assert await tokens.verify(bearer(mint.token()))


async def test_known_keys_are_kept_while_auth_service_is_away_or_publishes_none(
    mint: TokenMint, published: PublishedDocuments, clock: Clock
) -> None:
    keys = PublishedKeys(published, issuer=ISSUER, audience=AUDIENCE, clock=clock)
    await keys.refresh()
    published.away = True
    with pytest.raises(CapabilityUnavailable):
        await keys.refresh()
    published.away, published.keys = False, {"keys": []}
    await keys.refresh()
    clock.now += KEYS_EVERY

    assert keys.are_known
    assert await keys.check(mint.token())


async def test_keys_of_another_kind_are_overlooked(
    mint: TokenMint, published: PublishedDocuments, clock: Clock
) -> None:
    published.keys = {"keys": [{"kty": "RSA", "kid": "rsa", "n": "x", "e": "AQAB"}, *mint.keys["keys"]]}
    keys = PublishedKeys(published, issuer=ISSUER, audience=AUDIENCE, clock=clock)

    assert await keys.check(mint.token())


async def test_old_and_new_keys_are_good_while_both_are_published(
    tokens: Tokens, published: PublishedDocuments
) -> None:
    old, new = TokenMint("old"), TokenMint("new")
    published.keys = {"keys": old.keys["keys"] + new.keys["keys"]}

    assert await tokens.verify(bearer(old.token()))
    assert await tokens.verify(bearer(new.token()))


# --- what is remembered


async def test_no_more_tokens_are_remembered_than_there_is_room_for(revoked: Revoked, clock: Clock) -> None:
    tokens = Tokens(Counting(clock), revoked, clock)
    for number in range(CACHE_SIZE + 10):
        await tokens.verify(b"Bearer %d" % number)

    assert len(tokens._verified) == CACHE_SIZE
    assert tokens.remembered(b"Bearer 0") is None
    assert tokens.remembered(b"Bearer 10") is not None
    assert tokens.remembered(b"Bearer %d" % (CACHE_SIZE + 9)) is not None


async def test_whose_token_it_was_is_known_by_heart_longer_than_it_is_believed(revoked: Revoked, clock: Clock) -> None:
    counting = Counting(clock)
    tokens = Tokens(counting, revoked, clock)
    assert tokens.remembered(None) is None
    assert tokens.remembered(b"Bearer x") is None
    claims = await tokens.verify(b"Bearer x")
    clock.now += REMEMBERED + 1

    assert tokens.remembered(b"Bearer x") == claims
    await tokens.verify(b"Bearer x")
    assert counting.checks == 2


async def test_a_token_that_was_refused_is_not_remembered(tokens: Tokens, mint: TokenMint) -> None:
    authorization = bearer(mint.token(aud="another-api"))
    await refused(tokens, authorization)

    assert tokens.remembered(authorization) is None


class Counting:
    """A signature check that takes every token and counts."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.checks = 0

    async def check(self, token: str) -> Claims:
        self.checks += 1
        who = Principal(token, "acme", "owner", "free", token)
        return Claims(who, session_id="s", issued_at=self._clock.now, expires_at=self._clock.now + LONG)
