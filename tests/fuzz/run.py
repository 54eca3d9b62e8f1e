"""`make fuzz`: every operation of the public document under all checks of schemathesis, with three seeds.

    .venv/bin/python tests/fuzz/run.py [--seeds 1 2 3] [--examples 30] [--url URL] [-- options of schemathesis]

Starts a stack of its own unless `--url` names one. Exits 1 when document and behaviour disagree anywhere.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from local_stack.testing import running_stack

FOLDER = Path(__file__).parent
ENDLESS = "/notifications/stream"
"""Has no end to wait for; its own tests read it."""


@contextmanager
def target(url: str | None) -> Iterator[str]:
    """The address to fuzz."""
    if url is not None:
        yield url
        return
    with tempfile.TemporaryDirectory() as folder, running_stack(Path(folder)) as stack:
        yield stack.url


def fuzz(url: str, seed: int, examples: int, more: list[str]) -> bool:
    """One run; whether it was clean."""
    command = [
        str(Path(sys.executable).with_name("schemathesis")),
        "--config-file",
        str(FOLDER / "schemathesis.toml"),
        "run",
        f"{url}/openapi.json",
        "--checks=all",
        f"--seed={seed}",
        f"--max-examples={examples}",
        "--continue-on-failure",
        "--rate-limit=auto",
        "--request-timeout=20",
        f"--exclude-path={ENDLESS}",
        *more,
    ]
    environment = os.environ | {"FUZZ_URL": url, "SCHEMATHESIS_HOOKS": "hooks", "PYTHONPATH": str(FOLDER)}
    return subprocess.run(command, env=environment, check=False).returncode == 0


def main() -> None:
    """Run every seed, also after one that was not clean."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--examples", type=int, default=30)
    parser.add_argument("--url")
    options, more = parser.parse_known_args()
    with target(options.url) as url:
        clean = [fuzz(url, seed, options.examples, more) for seed in options.seeds]
    print(f"{sum(clean)} of {len(clean)} seeds clean")
    sys.exit(0 if all(clean) else 1)


if __name__ == "__main__":
    main()
