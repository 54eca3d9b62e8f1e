"""`python -m auth_service [serve|migrate|rotate-keys|verify-audit]`."""

import argparse
import asyncio
import sys

from auth_service import commands
from auth_service.app import make_app
from auth_service.settings import AuthSettings
from shared import logs
from shared.errors import ServiceError
from shared.service import serve
from shared.settings import read_settings


def main() -> int:
    """Run one command; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m auth_service", description=__doc__)
    parser.add_argument("command", nargs="?", default="serve", choices=["serve", *commands.COMMANDS])
    command = parser.parse_args().command
    settings = read_settings(AuthSettings)
    if command == "serve":
        serve(make_app(settings), settings)
        return 0
    logs.configure(settings.service, settings.log_level)
    try:
        return asyncio.run(commands.COMMANDS[command](settings))
    except ServiceError as error:
        print(f"{command}: {error.detail}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
