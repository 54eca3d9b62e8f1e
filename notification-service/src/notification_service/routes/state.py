"""What the composition root made, as dependencies of the routes."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, cast

from fastapi import Depends, Request

from notification_service.domain.inbox import Inboxes, Owner
from notification_service.domain.live import Listeners
from shared.cursors import Cursors
from shared.principal import Principal


@dataclass(frozen=True, slots=True)
class Pace:
    """How long a live stream may be silent, and how long its reader may take nothing."""

    heartbeat: timedelta
    slowest_reader: timedelta


def _inboxes(request: Request) -> Inboxes:
    return cast("Inboxes", request.app.state.inboxes)


def _listeners(request: Request) -> Listeners:
    return cast("Listeners", request.app.state.listeners)


def _cursors(request: Request) -> Cursors:
    return cast("Cursors", request.app.state.cursors)


def _pace(request: Request) -> Pace:
    return cast("Pace", request.app.state.pace)


TheInboxes = Annotated[Inboxes, Depends(_inboxes)]
TheListeners = Annotated[Listeners, Depends(_listeners)]
TheCursors = Annotated[Cursors, Depends(_cursors)]
ThePace = Annotated[Pace, Depends(_pace)]


def owner_of(principal: Principal) -> Owner:
    """The inbox of the person who asks."""
    return Owner(principal.organization_id, principal.user_id)
