"""What survives the supervisor: ports, processes to clean up after, one-shots that have run."""

import json
from dataclasses import asdict, dataclass, field
from typing import Any

from local_stack.home import Home, write_private


@dataclass(frozen=True, slots=True)
class RecordedProcess:
    """A process the supervisor started, told apart from a later one with the same id by its time of birth."""

    key: str
    pid: int
    born: float


@dataclass(slots=True)
class State:
    """The contents of `state.json`."""

    nodes: int | None = None
    gateway_port: int | None = None
    ports: dict[str, int] = field(default_factory=dict)
    finished: dict[str, str] = field(default_factory=dict)
    processes: list[RecordedProcess] = field(default_factory=list)
    control: dict[str, Any] = field(default_factory=dict)


def load_state(home: Home) -> State:
    """The state of this home; empty when there is none or it cannot be read."""
    try:
        raw = dict(json.loads(home.state.read_text()))
        raw["processes"] = [RecordedProcess(**entry) for entry in raw.get("processes", [])]
        return State(**raw)
    except (OSError, ValueError, TypeError):
        return State()


def save_state(home: Home, state: State) -> None:
    """Keep the state, whole or not at all."""
    write_private(home.state, json.dumps(asdict(state), indent=1))
