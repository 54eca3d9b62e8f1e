"""`python -m task_worker`: serve (the default), migrate, or work."""

import asyncio
import sys

from shared import logs
from shared.migrations_postgres import migrate_postgres
from shared.service import serve
from shared.settings import read_settings
from task_worker.app import make_app
from task_worker.settings import TaskSettings

COMMANDS = ("serve", "migrate", "work")


def main(arguments: list[str]) -> int:
    """Run one command; 2 for a command that does not exist."""
    command = arguments[0] if arguments else "serve"
    if command not in COMMANDS or len(arguments) > 1:
        print(f"usage: python -m task_worker [{'|'.join(COMMANDS)}]", file=sys.stderr)
        return 2
    settings = read_settings(TaskSettings)
    if command == "serve":
        serve(make_app(settings), settings)
    elif command == "migrate":
        logs.configure(settings.service, settings.log_level)
        asyncio.run(migrate_postgres(settings, "task_worker"))
    else:
        from task_worker.worker import work  # procrastinate is needed by workers alone and takes 40 MiB

        logs.configure(settings.service, settings.log_level)
        work(settings)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
