"""Signing keys: rotation, and tokens that are verified with what is published."""

from datetime import timedelta
from typing import Any

import jwt
import pytest

from auth_service.domain.keys import KeyRing, KeySafe
from auth_service.testing import MemoryKeys, Watch
from shared.errors import CapabilityUnavailable
from shared.ids import new_id

LIFETIME = timedelta(minutes=15)


@pytest.fixture
async def ring(empty_stores: Any) -> KeyRing:
    await empty_stores.keys.remove([key.id for key in await empty_stores.keys.all()])
    await empty_stores.ring.reload()
    ring: KeyRing = empty_stores.ring
    return ring


def published(ring: KeyRing) -> set[str]:
    return {key["kid"] for key in ring.jwks()["keys"]}


async def test_a_token_is_verified_with_the_published_key(stores: Any) -> None:
    ada = await stores.newcomer()
    token = ada.tokens.access_token
    header = jwt.get_unverified_header(token)

    jwk = next(key for key in stores.ring.jwks()["keys"] if key["kid"] == header["kid"])
    claims = jwt.decode(
        token,
        jwt.PyJWK(jwk),
        algorithms=["EdDSA"],
        audience="multidb-api",
        issuer="multidb",
        options={"verify_exp": False, "verify_iat": False},
    )

    assert claims["sub"] == str(ada.profile.user_id)
    assert claims["jti"].startswith(claims["sid"])


async def test_replicas_that_start_together_make_one_key(empty_stores: Any) -> None:
    await empty_stores.keys.remove([key.id for key in await empty_stores.keys.all()])
    safe = KeySafe(b"a secret for tests only, never used outside them")
    rings = [KeyRing(empty_stores.keys, safe, empty_stores.watch, LIFETIME) for _ in range(3)]

    for ring in rings:
        await ring.reload()

    assert len(await empty_stores.keys.all()) == 1
    assert len({ring.signer()[0] for ring in rings}) == 1


async def test_a_new_key_is_published_before_it_signs_and_the_old_one_stays_as_long_as_needed(
    empty_stores: Any, ring: KeyRing
) -> None:
    watch = empty_stores.watch
    old = ring.signer()[0]

    new = (await ring.rotate()).id
    await ring.reload()
    at_first = (ring.signer()[0], published(ring))
    watch.forward(timedelta(minutes=3))
    await ring.reload()
    after_three_minutes = (ring.signer()[0], published(ring))
    watch.forward(timedelta(minutes=16))
    await ring.reload()

    assert at_first == (old, {old, new})
    assert after_three_minutes == (new, {old, new})
    assert published(ring) == {new}


async def test_a_private_key_cannot_be_read_without_the_secret(empty_stores: Any, ring: KeyRing) -> None:
    key = (await empty_stores.keys.all())[0]
    opened = KeySafe(b"a secret for tests only, never used outside them").open(key)

    assert opened is not None
    assert opened.private_bytes_raw() not in key.private_key
    assert KeySafe(b"another secret").open(key) is None
    assert ring.signer()[0] == key.id


async def test_under_a_new_secret_a_new_key_signs_and_the_old_one_still_verifies(
    empty_stores: Any, ring: KeyRing
) -> None:
    old = ring.signer()[0]
    empty_stores.watch.forward(timedelta(seconds=1))
    changed = KeyRing(empty_stores.keys, KeySafe(str(new_id()).encode()), empty_stores.watch, LIFETIME)

    await changed.reload()

    assert changed.signer()[0] != old
    assert old in published(changed)


async def test_without_any_key_nothing_is_published_or_signed() -> None:
    ring = KeyRing(MemoryKeys(), KeySafe(b"secret"), Watch(), LIFETIME)

    with pytest.raises(CapabilityUnavailable):
        ring.jwks()
    with pytest.raises(CapabilityUnavailable):
        ring.signer()
