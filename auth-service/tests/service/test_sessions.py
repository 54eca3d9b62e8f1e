"""Refreshing and ending sessions."""

import asyncio
from datetime import timedelta
from typing import Any

import jwt
import pytest

from auth_service.domain.sessions import RevocationList
from auth_service.store.sessions import PostgresSessions
from auth_service.store.tenancy import say_maintenance
from auth_service.testing import Watch
from shared.errors import InvalidRefreshToken, Unauthenticated
from shared.ids import new_id


def token_id(access_token: str) -> str:
    return str(jwt.decode(access_token, options={"verify_signature": False})["jti"])


async def revoked(stores: Any) -> set[tuple[str, str]]:
    _, refused = await RevocationList(stores.sessions_store, stores.watch).current()
    return {(one.kind, one.id) for one in refused}


async def whoami(stores: Any, person: Any, access_token: str) -> Any:
    who = person.profile
    return await stores.sessions.whoami(who.organization_id, who.user_id, token_id(access_token))


async def logout(stores: Any, person: Any, access_token: str, refresh_token: str | None = None) -> None:
    who = person.profile
    await stores.sessions.logout(who.organization_id, who.user_id, token_id(access_token), refresh_token)


async def test_a_refresh_gives_a_new_pair_in_the_same_session(stores: Any) -> None:
    ada = await stores.newcomer()

    fresh = await stores.sessions.refresh(ada.tokens.refresh_token)

    assert fresh.refresh_token != ada.tokens.refresh_token
    assert token_id(fresh.access_token) != token_id(ada.tokens.access_token)
    assert token_id(fresh.access_token).split(".")[0] == token_id(ada.tokens.access_token).split(".")[0]
    assert await stores.sessions.refresh(fresh.refresh_token)


async def test_a_repeated_refresh_gives_the_same_successor_for_ten_seconds(stores: Any) -> None:
    ada = await stores.newcomer()
    first = await stores.sessions.refresh(ada.tokens.refresh_token)
    stores.watch.forward(timedelta(seconds=10))

    again = await stores.sessions.refresh(ada.tokens.refresh_token)

    assert again.refresh_token == first.refresh_token
    assert await stores.sessions.refresh(again.refresh_token)


async def test_a_refresh_sent_many_times_at_once_has_one_successor(stores: Any) -> None:
    ada = await stores.newcomer()

    pairs = await asyncio.gather(*(stores.sessions.refresh(ada.tokens.refresh_token) for _ in range(8)))

    assert len({pair.refresh_token for pair in pairs}) == 1


async def test_a_refresh_token_used_again_later_ends_its_session(stores: Any) -> None:
    ada = await stores.newcomer()
    thief = await stores.sessions.refresh(ada.tokens.refresh_token)
    stores.watch.forward(timedelta(seconds=11))

    with pytest.raises(InvalidRefreshToken):
        await stores.sessions.refresh(ada.tokens.refresh_token)

    with pytest.raises(InvalidRefreshToken):
        await stores.sessions.refresh(thief.refresh_token)
    assert ("session", token_id(thief.access_token).split(".")[0]) in await revoked(stores)
    with pytest.raises(Unauthenticated):
        await whoami(stores, ada, thief.access_token)
    newest = (await stores.audit.page(ada.profile.organization_id, None, 1))[0]
    assert newest.action == "session.reuse_detected"


async def test_an_unknown_refresh_token_is_refused(stores: Any) -> None:
    with pytest.raises(InvalidRefreshToken):
        await stores.sessions.refresh("not one of ours")


async def test_an_unused_refresh_token_expires(stores: Any) -> None:
    ada = await stores.newcomer()
    stores.watch.forward(timedelta(days=30))

    with pytest.raises(InvalidRefreshToken):
        await stores.sessions.refresh(ada.tokens.refresh_token)


async def test_a_session_ends_some_day_however_often_it_is_refreshed(stores: Any) -> None:
    ada = await stores.newcomer()
    tokens = ada.tokens
    for _ in range(4):
        stores.watch.forward(timedelta(days=20))
        tokens = await stores.sessions.refresh(tokens.refresh_token)
    stores.watch.forward(timedelta(days=10))

    with pytest.raises(InvalidRefreshToken):
        await stores.sessions.refresh(tokens.refresh_token)


async def test_logout_ends_the_session_and_refuses_its_access_token(stores: Any) -> None:
    ada = await stores.newcomer()

    await logout(stores, ada, ada.tokens.access_token)

    jti = token_id(ada.tokens.access_token)
    assert {("token", jti), ("session", jti.split(".")[0])} <= await revoked(stores)
    with pytest.raises(InvalidRefreshToken):
        await stores.sessions.refresh(ada.tokens.refresh_token)


async def test_logout_with_a_refresh_token_ends_that_session_alone(stores: Any) -> None:
    ada = await stores.newcomer()
    other = await stores.accounts.login(ada.email, "SecurePass123!", "192.0.2.1")

    await logout(stores, ada, ada.tokens.access_token, other.refresh_token)

    assert (await whoami(stores, ada, ada.tokens.access_token)).email == ada.email
    with pytest.raises(Unauthenticated):
        await whoami(stores, ada, other.access_token)


async def test_nobody_ends_a_foreign_session(stores: Any) -> None:
    ada, ben = await stores.newcomer(), await stores.newcomer()

    with pytest.raises(InvalidRefreshToken):
        await logout(stores, ada, ada.tokens.access_token, ben.tokens.refresh_token)

    assert await stores.sessions.refresh(ben.tokens.refresh_token)


async def test_an_ended_session_cannot_be_ended_again_by_its_refresh_token(stores: Any) -> None:
    ada = await stores.newcomer()
    await logout(stores, ada, ada.tokens.access_token, ada.tokens.refresh_token)

    with pytest.raises(InvalidRefreshToken):
        await logout(stores, ada, ada.tokens.access_token, ada.tokens.refresh_token)


async def test_a_revocation_is_forgotten_once_no_token_could_be_good_any_more(stores: Any) -> None:
    ada = await stores.newcomer()
    await logout(stores, ada, ada.tokens.access_token)
    stores.watch.forward(timedelta(minutes=15))

    assert ("token", token_id(ada.tokens.access_token)) not in await revoked(stores)


async def test_a_person_is_known_in_their_own_organization_alone(stores: Any) -> None:
    ada, ben = await stores.newcomer(), await stores.newcomer()

    with pytest.raises(Unauthenticated):
        await stores.sessions.whoami(
            ben.profile.organization_id, ada.profile.user_id, token_id(ada.tokens.access_token)
        )
    with pytest.raises(Unauthenticated):
        await stores.sessions.whoami(ada.profile.organization_id, ada.profile.user_id, str(new_id()))


@pytest.mark.engines
async def test_expired_refresh_tokens_take_no_room(postgres: Any) -> None:
    watch = Watch()
    store = PostgresSessions(postgres, watch)

    await store.forget(watch.now + timedelta(days=91))

    async with postgres.transaction() as connection:
        await say_maintenance(connection)
        left = [await connection.fetchval(f"SELECT count(*) FROM {name}") for name in ("refresh_tokens", "sessions")]  # noqa: S608 - our names
    assert left == [0, 0]
