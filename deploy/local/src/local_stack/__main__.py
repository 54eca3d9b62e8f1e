"""The processes of the local stack itself: `supervise` (the daemon) and `fetch-jars` (its download)."""

import sys
from pathlib import Path


def main(words: list[str]) -> int:
    """Run one of the two; the exit code."""
    match words:
        case ["supervise", home]:
            return _supervise(Path(home))
        case ["fetch-jars"]:
            return _fetch_jars()
    print("usage: python -m local_stack supervise HOME | fetch-jars", file=sys.stderr)
    return 2


def _supervise(folder: Path) -> int:
    from local_stack.home import Home
    from local_stack.supervisor import AlreadyRunning, supervise

    try:
        supervise(Home(folder))
    except AlreadyRunning as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _fetch_jars() -> int:
    from local_stack.engines.engine import EngineUnavailable
    from local_stack.engines.jars import fetch_jars

    try:
        fetch_jars(progress=_tell)
    except EngineUnavailable as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _tell(done: int, total: int) -> None:
    if done % 10 == 0 or done == total:
        print(f"fetched {done} of {total} jars", flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
