"""Registering and logging in."""

import asyncio
from collections import Counter
from datetime import timedelta
from typing import Any

import jwt
import pytest

from auth_service.domain.accounts import Newcomer
from shared.errors import EmailTaken, InvalidCredentials, InvalidRequest, NotFound, RateLimited, ServiceError
from shared.ids import new_id

HOME, ELSEWHERE, FAR = "192.0.2.1", "198.51.100.7", "203.0.113.9"
RIGHT, WRONG = "SecurePass123!", "WrongPass123!"


async def outcome(work: Any) -> str:
    try:
        await work
    except ServiceError as error:
        return error.code
    return "ok"


async def test_who_registers_owns_a_new_organization_and_can_log_in(stores: Any) -> None:
    ada = await stores.newcomer()

    tokens = await stores.accounts.login(ada.email, RIGHT, HOME)

    claims = jwt.decode(tokens.access_token, options={"verify_signature": False})
    assert ada.profile.role == claims["role"] == "owner"
    assert claims["org"] == str(ada.profile.organization_id)
    assert claims["plan"] == "free"
    assert claims["exp"] - claims["iat"] == 900
    assert jwt.get_unverified_header(tokens.access_token)["typ"] == "at+jwt"


async def test_two_people_of_one_organization_name_have_two_organizations(stores: Any) -> None:
    ada, ben = await stores.newcomer(), await stores.newcomer()

    assert ada.profile.organization_name == ben.profile.organization_name
    assert ada.profile.organization_id != ben.profile.organization_id


async def test_an_address_has_one_account(stores: Any) -> None:
    ada = await stores.newcomer()

    with pytest.raises(EmailTaken):
        await stores.newcomer(ada.email)


async def test_of_many_who_register_one_address_at_once_one_succeeds(stores: Any) -> None:
    email = f"{new_id()}@example.com"

    outcomes = Counter(await asyncio.gather(*(outcome(stores.newcomer(email)) for _ in range(8))))

    assert outcomes == {"ok": 1, "email_taken": 7}


async def test_a_wrong_password_and_an_unknown_address_look_the_same(stores: Any) -> None:
    ada = await stores.newcomer()
    refusals = []
    for email in (ada.email, f"{new_id()}@example.com"):
        with pytest.raises(InvalidCredentials) as refusal:
            await stores.accounts.login(email, WRONG, ELSEWHERE)
        refusals.append((refusal.value.code, refusal.value.detail, refusal.value.extra))

    assert refusals[0] == refusals[1]


async def test_a_common_password_is_refused_whatever_its_case(stores: Any) -> None:
    asked = Newcomer("new@example.com", "PassWord1", "free", "Acme", "Ada", sample=True)

    with pytest.raises(InvalidRequest) as refusal:
        await stores.accounts.register(asked, HOME)

    assert [(error.field, error.code) for error in refusal.value.errors] == [("password", "common_password")]


async def test_a_plan_that_is_not_offered_is_refused(stores: Any) -> None:
    asked = Newcomer("new@example.com", RIGHT, "gold", "Acme", "Ada", sample=True)

    with pytest.raises(InvalidRequest) as refusal:
        await stores.accounts.register(asked, HOME)

    assert refusal.value.errors[0].field == "subscription_plan"


async def test_an_organization_is_known_to_neighbours_by_its_id_alone(stores: Any) -> None:
    ada = await stores.newcomer(plan="pro")

    found = await stores.accounts.get_organization(ada.profile.organization_id)

    assert (found.name, found.plan, found.sample) == ("Acme", "pro", True)
    with pytest.raises(NotFound):
        await stores.accounts.get_organization(new_id())


async def test_ten_wrong_logins_close_an_account_for_a_quarter_of_an_hour(stores: Any) -> None:
    ada = await stores.newcomer()
    for _ in range(10):
        assert await outcome(stores.accounts.login(ada.email, WRONG, ELSEWHERE)) == "invalid_credentials"

    with pytest.raises(RateLimited) as refusal:
        await stores.accounts.login(ada.email, RIGHT, FAR)
    stores.watch.forward(timedelta(minutes=14))
    still = await outcome(stores.accounts.login(ada.email, RIGHT, FAR))
    stores.watch.forward(timedelta(minutes=1))

    assert 1 <= (refusal.value.retry_after or 0) <= 60
    assert still == "rate_limited"
    assert await outcome(stores.accounts.login(ada.email, RIGHT, FAR)) == "ok"


async def test_an_account_is_closed_for_a_minute_at_most_where_it_was_used_before(stores: Any) -> None:
    ada = await stores.newcomer(address=HOME)
    for _ in range(10):
        await outcome(stores.accounts.login(ada.email, WRONG, ELSEWHERE))

    at_first = await outcome(stores.accounts.login(ada.email, RIGHT, HOME))
    stores.watch.forward(timedelta(seconds=60))

    assert at_first == "rate_limited"
    assert await outcome(stores.accounts.login(ada.email, RIGHT, HOME)) == "ok"
    assert await outcome(stores.accounts.login(ada.email, RIGHT, FAR)) == "rate_limited"


async def test_an_address_nobody_has_is_closed_like_an_account(stores: Any) -> None:
    email = f"{new_id()}@example.com"

    outcomes = [await outcome(stores.accounts.login(email, WRONG, ELSEWHERE)) for _ in range(11)]

    assert outcomes == ["invalid_credentials"] * 10 + ["rate_limited"]


async def test_right_logins_do_not_count(stores: Any) -> None:
    ada = await stores.newcomer()

    outcomes = [await outcome(stores.accounts.login(ada.email, RIGHT, HOME)) for _ in range(40)]

    assert set(outcomes) == {"ok"}


async def test_thirty_wrong_logins_close_an_address(stores: Any) -> None:
    for number in range(30):
        assert await outcome(stores.accounts.login(f"{number}@x.example.com", WRONG, FAR)) == "invalid_credentials"

    assert await outcome(stores.accounts.login("31@x.example.com", WRONG, FAR)) == "rate_limited"
    assert await outcome(stores.accounts.login("31@x.example.com", WRONG, ELSEWHERE)) == "invalid_credentials"


async def test_guesses_sent_at_once_learn_ten_verdicts_like_those_sent_in_turn(stores: Any) -> None:
    ada = await stores.newcomer()

    guesses = [stores.accounts.login(ada.email, f"{WRONG}{number}", ELSEWHERE) for number in range(28)]
    outcomes = Counter(await asyncio.gather(*(outcome(guess) for guess in guesses)))

    assert outcomes == {"invalid_credentials": 10, "rate_limited": 18}


async def test_an_ipv6_customer_is_one_address(stores: Any) -> None:
    for number in range(30):
        await outcome(stores.accounts.login(f"{number}@y.example.com", WRONG, f"2001:db8::{number:x}"))

    assert await outcome(stores.accounts.login("z@y.example.com", WRONG, "2001:db8::ffff")) == "rate_limited"


async def test_who_asks_for_taken_addresses_is_stopped_after_ten(stores: Any) -> None:
    ada = await stores.newcomer()

    outcomes = [await outcome(stores.newcomer(ada.email)) for _ in range(12)]

    assert outcomes == ["email_taken"] * 10 + ["rate_limited"] * 2


async def test_an_address_registers_sixty_a_minute(stores: Any) -> None:
    outcomes = [await outcome(stores.newcomer()) for _ in range(61)]
    stores.watch.forward(timedelta(minutes=1))

    assert outcomes == ["ok"] * 60 + ["rate_limited"]
    assert await outcome(stores.newcomer()) == "ok"


async def test_a_wrong_login_is_in_the_audit_log_after_the_reply(stores: Any) -> None:
    ada = await stores.newcomer()

    assert await outcome(stores.accounts.login(ada.email, WRONG, FAR)) == "invalid_credentials"
    before = await stores.audit.page(ada.profile.organization_id, None, 1)
    await stores.refusals.write()
    after = await stores.audit.page(ada.profile.organization_id, None, 1)

    assert [entry.action for entry in (*before, *after)] == ["organization.registered", "login.refused"]
