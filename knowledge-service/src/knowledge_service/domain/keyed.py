"""Requests that carry a key, so that a repeat gets the reply of the first."""

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class KeyedRequest:
    """Which request of whom a key stands for."""

    organization_id: str
    user_id: str
    route: str
    key: str


@dataclass(frozen=True, slots=True)
class KeyedReply:
    """The reply a key was given; `fingerprint` tells whether a repeat is the same request."""

    fingerprint: str
    status: int
    body: bytes
    location: str


class KeyedReplies(Protocol):
    """Replies by key, kept for 24 hours."""

    async def find(self, request: KeyedRequest) -> KeyedReply | None:
        """The reply, unless there is none."""
        ...

    async def save(self, request: KeyedRequest, reply: KeyedReply) -> None:
        """Remember a reply."""
        ...

    async def claim(self, request: KeyedRequest) -> bool:
        """Whether nobody else is working on it; best effort across replicas."""
        ...

    async def release(self, request: KeyedRequest) -> None:
        """It is not worked on any more."""
        ...
