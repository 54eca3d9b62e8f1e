from datetime import UTC, datetime, timedelta

import pytest

from chat_service.clients.accounts import lifetime_of
from shared.contracts.auth import Lease


def a_lease(*, expires_in: int, lifetime_seconds: float | None) -> Lease:
    now = datetime.now(UTC)
    return Lease(
        lease_id="lease",
        granted=20,
        used=0,
        limit=1_000,
        expires_at=now + timedelta(seconds=expires_in),
        resets_at=now,
        plan="free",
        lifetime_seconds=lifetime_seconds,
    )


@pytest.mark.parametrize("apart", [-90, 0, 90])
def test_a_lease_lives_as_long_as_auth_service_says_whatever_the_clocks(apart: int) -> None:
    assert lifetime_of(a_lease(expires_in=60 + apart, lifetime_seconds=60)) == timedelta(seconds=60)


def test_an_older_auth_service_says_only_until_when() -> None:
    assert timedelta(seconds=59) < lifetime_of(a_lease(expires_in=60, lifetime_seconds=None)) <= timedelta(seconds=60)
