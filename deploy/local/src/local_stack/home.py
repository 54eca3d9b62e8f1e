"""Where a stack keeps its files: `MULTIDB_HOME`, else `.multidb` in the checkout."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Home:
    """The files of one stack."""

    folder: Path

    @property
    def state(self) -> Path:
        """What the supervisor remembers: ports, processes, migrations that ran."""
        return self.folder / "state.json"

    @property
    def lock(self) -> Path:
        """Held by the supervisor as long as it lives."""
        return self.folder / "supervisor.lock"

    @property
    def socket(self) -> Path:
        """Where the supervisor takes commands."""
        return self.folder / "control.sock"

    @property
    def secrets(self) -> Path:
        """Passwords and keys, generated once."""
        return self.folder / "secrets.json"

    @property
    def credentials(self) -> Path:
        """E-mail address and password of the demo organization's owner."""
        return self.folder / "credentials.json"

    def log(self, key: str) -> Path:
        """The log of one process."""
        return self.folder / "logs" / f"{key}.log"

    def data(self, key: str) -> Path:
        """The data folder of an engine."""
        return self.folder / "engines" / key

    def service_state(self, key: str) -> Path:
        """The folder for journals and snapshots of one replica of a service."""
        return self.folder / "services" / key

    def create(self) -> None:
        """Make the folder, for this user alone."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)


def find_home(environment: Mapping[str, str] = os.environ) -> Home:
    """The home named by the environment, else the checkout's."""
    named = environment.get("MULTIDB_HOME")
    return Home(Path(named).expanduser().resolve() if named else checkout() / ".multidb")


def checkout() -> Path:
    """The folder with the lock of the workspace; the working directory when installed elsewhere."""
    for folder in Path(__file__).resolve().parents:
        if (folder / "requirements.lock").exists():
            return folder
    return Path.cwd()


def write_private(path: Path, text: str) -> None:
    """Write a file for this user alone, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    unfinished = path.with_name(f".{path.name}.new")
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(path)
