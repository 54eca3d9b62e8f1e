"""The rule of which publication is current: what is believed, for how long, and who answers where there is none.

Pure: no await, no clock and no store. `current_publications` is the machinery around it.
"""

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Literal

from knowledge_service.domain.publications import Publication

FRESH = timedelta(seconds=1)
"""How long the current epoch is believed before it is asked for again: publishes are seen within 2 s without Redis."""
NEVER = datetime.fromtimestamp(0, UTC)

Source = Literal["own", "starter", "nothing", "unreachable"]


@dataclass(frozen=True, slots=True)
class Known:
    """What was last heard of an organization's publications; the epoch never goes back."""

    publication: Publication | None = None
    checked_at: float = float("-inf")

    def is_fresh(self, now: float) -> bool:
        """Whether it is believed without asking."""
        return now - self.checked_at < FRESH.total_seconds()

    def told(self, head: Publication | None, at: float) -> "Known":
        """The store said so; an answer from before a publish that we know of is out of date."""
        is_older = self.publication is not None and (head is None or head.epoch < self.publication.epoch)
        return Known(self.publication if is_older else head, at)

    def kept(self, snapshot: Publication | None) -> "Known":
        """The store is away: what is on the disk will do where nothing better is known. It was not checked."""
        return self if self.publication is not None else replace(self, publication=snapshot)

    def installed(self, publication: Publication, at: float) -> "Known":
        """We made it ourselves a moment ago."""
        if self.publication is not None and self.publication.epoch >= publication.epoch:
            return self
        return Known(publication, at)

    def announced(self, epoch: int) -> "Known":
        """Somebody says that there is this epoch: ask again, unless we have it."""
        if self.publication is not None and self.publication.epoch >= epoch:
            return self
        return replace(self, checked_at=float("-inf"))


def source(publication: Publication | None, *, announced: int | None, wants_sample: bool) -> Source:
    """Who answers. `announced` is the epoch others told of while the store could not be asked.

    An organization that is known to have published is never answered for by the starter base.
    """
    if publication is not None:
        return "own"
    if announced:
        return "unreachable"
    return "starter" if wants_sample else "nothing"


@dataclass(frozen=True, slots=True)
class Head:
    """What answers now: the publication to load (None for an empty base), under which epoch and scorer.

    `epoch` is 0 when it is not the organization's own; `degraded` when that could not be made sure of.
    """

    epoch: int
    scorer: str
    publication: Publication | None
    degraded: bool

    @property
    def published_at(self) -> datetime:
        """When it was published; long ago for an empty base."""
        return NEVER if self.publication is None else self.publication.published_at
