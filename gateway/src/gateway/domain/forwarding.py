"""What is passed on to a service and what comes back; the connections that carry it are in `clients`."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Protocol

Header = tuple[bytes, bytes]


@dataclass(slots=True)
class Request:
    """A request as it goes to a replica, but for the Host line.

    `head` is every header line with its line end, the framing of `body` included. `repeatable`: a second copy does no
    harm. `body` as an iterator is streamed, and such a request is never repeated once it began.
    """

    method: str
    target: bytes
    head: bytes
    deadline: float
    body: bytes | AsyncIterator[bytes] = b""
    repeatable: bool = False


class Reply(Protocol):
    """A reply whose body may still be coming. Read it to the end or `close` it."""

    status: int
    headers: list[Header]
    is_sized: bool
    complete: bool
    heard_at: float

    @property
    def is_event_stream(self) -> bool:
        """Whether this is a reply without a foreseeable end."""

    @property
    def body(self) -> bytes:
        """The body of a complete reply."""

    def chunks(self) -> AsyncIterator[bytes]:
        """The body as it comes; UpstreamFailed when it breaks off, DeadlineExceeded when time is up."""

    def close(self) -> None:
        """Give up on the rest."""

    def lift_deadline(self) -> None:
        """Let this reply take as long as it wants."""

    def stop(self) -> None:
        """Let the reader of `chunks` come to an end now, as if the body were over."""


class Upstream(Protocol):
    """How the gateway reaches one service."""

    async def send(self, request: Request) -> Reply:
        """The service's reply, whatever its status.

        Raises CapabilityUnavailable when no replica answers, DeadlineExceeded when one did not in time, and Overloaded
        when too much is under way.
        """
