"""The jars of Apache Cassandra: fetched once by the committed lock, checked, kept in the user's cache folder."""

import hashlib
import os
import platform
import ssl
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock
from platformdirs import user_cache_path

from local_stack.engines.engine import EngineUnavailable

LOCK = Path(__file__).with_name("cassandra-5.0.8.lock")
THREADS = 8
REQUEST_LIMIT = 10  # seconds without a byte before one download is given up
FIX = "Connect this machine to its package registry once and run `faq up` again, or set SCYLLA_HOST in .env"
FOREIGN = ("osx", "windows", "linux")  # classifiers that name a platform start so

Progress = Callable[[int, int], None]


class WrongChecksum(OSError):
    """A downloaded jar is not the one that was locked."""


@dataclass(frozen=True, slots=True)
class Jar:
    """One line of the lock."""

    group: str
    artifact: str
    packaging: str
    classifier: str
    version: str
    sha256: str

    @property
    def filename(self) -> str:
        """The name Maven gives the file."""
        tail = f"-{self.classifier}" if self.classifier else ""
        return f"{self.artifact}-{self.version}{tail}.{self.packaging}"


def locked_jars(machine: str | None = None) -> list[Jar]:
    """What this platform needs of the lock; natives for other platforms are left out."""
    lines = [line for line in LOCK.read_text().splitlines() if line and not line.startswith("#")]
    return [jar for jar in map(_parse, lines) if _fits(jar, machine or _machine())]


def jar_folder() -> Path:
    """Where the jars are kept; `MULTIDB_CACHE` moves it."""
    named = os.environ.get("MULTIDB_CACHE")
    return (Path(named) if named else user_cache_path("multidb")) / LOCK.stem


def missing_jars(folder: Path) -> list[Jar]:
    """What has to be fetched still. A file under its own name has passed its checksum."""
    return [jar for jar in locked_jars() if not (folder / jar.filename).exists()]


def fetch_jars(folder: Path | None = None, progress: Progress | None = None) -> Path:
    """The folder with all jars, fetched where missing; progress hears (done, all). Raises EngineUnavailable."""
    folder = folder or jar_folder()
    if not missing_jars(folder):
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / ".lock"):  # two stacks may start at once
        try:
            _fetch_missing(folder, progress)
        except OSError as error:
            raise EngineUnavailable(
                f"The jars of Apache Cassandra could not be fetched ({_brief(error)})", FIX
            ) from error
    return folder


def _trust_what_the_machine_trusts() -> None:
    """Behind a company's proxy the list that comes with the HTTP client is too short."""
    trusted = ssl.get_default_verify_paths()
    if found := trusted.cafile or trusted.capath:
        os.environ.setdefault("REQUESTS_CA_BUNDLE", found)


def _fetch_missing(folder: Path, progress: Progress | None) -> None:
    _trust_what_the_machine_trusts()
    missing = missing_jars(folder)
    total = len(locked_jars())
    with tempfile.TemporaryDirectory(dir=folder) as temporary, ThreadPoolExecutor(THREADS) as pool:
        waiting = [pool.submit(_fetch, jar, folder, Path(temporary)) for jar in missing]
        try:
            for number, done in enumerate(as_completed(waiting), start=total - len(missing) + 1):
                done.result()
                if progress:
                    progress(number, total)
        except OSError:
            pool.shutdown(cancel_futures=True)
            raise


def _fetch(jar: Jar, folder: Path, temporary: Path) -> None:
    from jgo.maven import MavenContext

    context = MavenContext(repo_cache=temporary, local_repos=[], timeout=REQUEST_LIMIT)
    component = context.project(jar.group, jar.artifact).at_version(jar.version)
    try:
        got = Path(component.artifact(classifier=jar.classifier, packaging=jar.packaging).resolve())
    except RuntimeError as error:
        raise OSError(str(error)) from error
    if hashlib.sha256(got.read_bytes()).hexdigest() != jar.sha256:
        raise WrongChecksum(f"{jar.filename} is not the file that was locked")
    got.replace(folder / jar.filename)


def _parse(line: str) -> Jar:
    coordinates, sha256 = line.split()
    group, artifact, packaging, *classifier, version = coordinates.split(":")
    return Jar(group, artifact, packaging, classifier[0] if classifier else "", version, sha256)


def _fits(jar: Jar, machine: str) -> bool:
    return not jar.classifier.startswith(FOREIGN) or jar.classifier == machine


def _machine() -> str:
    system = {"darwin": "osx", "win32": "windows"}.get(sys.platform, "linux")
    processor = {"arm64": "aarch_64", "aarch64": "aarch_64"}.get(platform.machine(), "x86_64")
    return f"{system}-{processor}"


def _brief(error: OSError) -> str:
    text = str(error)
    return text if len(text) < 120 else type(error).__name__  # noqa: PLR2004 - one line on a terminal
