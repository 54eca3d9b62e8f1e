"""What of a neighbour's failures means that it is away, however it put it."""

from collections.abc import Iterator
from contextlib import contextmanager

from shared.errors import CapabilityUnavailable, DeadlineExceeded, InternalError, Overloaded, UpstreamFailed


@contextmanager
def away_as(capability: str) -> Iterator[None]:
    """A neighbour that fails, answers nonsense or is too slow is as good as away, and never a 500 of ours."""
    try:
        yield
    except (CapabilityUnavailable, InternalError, UpstreamFailed, DeadlineExceeded, Overloaded) as error:
        raise CapabilityUnavailable(capability=capability, retry_after=error.retry_after or 2) from error
