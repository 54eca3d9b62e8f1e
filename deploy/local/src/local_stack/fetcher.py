"""Fetches the jars in a process of its own, so that the supervisor stays small and `down` can interrupt it."""

import subprocess
import sys
import threading
from collections.abc import Callable

from local_stack.engines.engine import EngineUnavailable
from local_stack.engines.jars import FIX, jar_folder, missing_jars


class JarFetcher:
    """One download at a time, told about by `tell`; its methods may be called from any thread."""

    def __init__(self, tell: Callable[[str], object]) -> None:
        self._tell = tell
        self._one_at_a_time = threading.Lock()
        self._process: subprocess.Popen[str] | None = None

    def before(self, prepare: Callable[[], None]) -> Callable[[], None]:
        """`prepare` with the jars fetched first."""

        def fetch_and_prepare() -> None:
            with self._one_at_a_time:
                if missing_jars(jar_folder()):
                    self._fetch()
            prepare()

        return fetch_and_prepare

    def stop(self) -> None:
        """Interrupt a running download; what is complete is kept."""
        process = self._process
        if process is not None and process.poll() is None:
            process.kill()

    def _fetch(self) -> None:
        """Raises EngineUnavailable with the reason that the download gave."""
        command = [sys.executable, "-m", "local_stack", "fetch-jars"]
        with subprocess.Popen(  # noqa: S603 - our own command line
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as process:
            self._process = process
            for line in process.stdout or ():
                self._tell(line.strip())
            errors = process.stderr.read().strip() if process.stderr else ""
        if process.returncode:
            reason = errors.splitlines()[-1] if errors else "The jars of Apache Cassandra could not be fetched"
            raise EngineUnavailable(reason.removesuffix(f". {FIX}"), FIX)
