"""What every service says of itself."""

from shared.contracts import Contract
from shared.degradation import EngineStatus


class ServiceHealth(Contract):
    """A service's own view of the databases it uses: postgresql, cql, redis_cache, redis_data.

    `clock_skew_ms`: by how much its clock is ahead of its engine's; None while that is not known.
    """

    service: str
    version: str
    databases: dict[str, EngineStatus]
    clock_skew_ms: int | None = None
