"""Commands: `serve` (default), `migrate` as a one-shot, `seed` to load the starter knowledge base; all repeatable."""

import asyncio
import sys

from knowledge_service.app import make_app
from knowledge_service.settings import KnowledgeSettings
from shared import logs
from shared.migrations_cql import migrate_cql
from shared.service import serve
from shared.settings import read_settings

SWITCH = 0.001
"""Seconds after which a thread that ranks or builds hands the interpreter to the requests; Python waits 5 ms."""


def main() -> int:
    """Run one command; 2 for an unknown one."""
    command = sys.argv[1] if len(sys.argv) > 1 else "serve"
    settings = read_settings(KnowledgeSettings)
    if command == "serve":
        sys.setswitchinterval(SWITCH)
        serve(make_app(settings), settings)
        return 0
    logs.configure(settings.service, settings.log_level)
    if command == "migrate":
        migrate_cql(settings, "knowledge_service")
        return 0
    if command == "seed":
        from knowledge_service.seeding import seed

        asyncio.run(seed(settings))
        return 0
    print(f"unknown command {command!r}: serve, migrate or seed", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
