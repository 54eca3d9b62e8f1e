"""What the supervisor and the tests need to know of a database engine."""

from typing import Protocol

from local_stack.process import Launch


class EngineUnavailable(RuntimeError):
    """An engine cannot be had on this machine; the message says what is missing, `fix` what to do about it."""

    def __init__(self, missing: str, fix: str) -> None:
        super().__init__(missing)
        self.missing = missing
        self.fix = fix

    def __str__(self) -> str:
        return f"{self.missing}. {self.fix}"


class Engine(Protocol):
    """One server process of an engine."""

    @property
    def name(self) -> str:
        """Such as `postgresql`."""

    @property
    def replica(self) -> int:
        """1 for the first node of several."""

    @property
    def url(self) -> str:
        """Where it listens, without a password."""

    def prepare(self) -> None:
        """Write folders and configuration. May take seconds. Raises EngineUnavailable."""

    def launch(self) -> Launch:
        """How it is started; call `prepare` first."""

    def answers(self) -> bool:
        """Whether it answers its own protocol now; takes at most a second."""
