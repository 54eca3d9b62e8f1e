"""What the routes of a person's inbox have in common."""

from dataclasses import dataclass
from datetime import timedelta

from notification_service.domain.inbox import Owner
from shared.principal import Principal


@dataclass(frozen=True, slots=True)
class Pace:
    """How long a live stream may be silent, and how long its reader may take nothing."""

    heartbeat: timedelta
    slowest_reader: timedelta


def owner_of(principal: Principal) -> Owner:
    """The inbox of the person who asks."""
    return Owner(principal.organization_id, principal.user_id)
