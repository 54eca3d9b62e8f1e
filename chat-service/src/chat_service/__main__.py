"""`python -m chat_service` serves the API, `python -m chat_service migrate` brings the keyspace up to date."""

import sys

from chat_service.app import make_app
from chat_service.settings import ChatSettings
from shared import logs
from shared.migrations_cql import migrate_cql
from shared.service import serve
from shared.settings import read_settings


def main() -> None:
    """Do what the first argument says."""
    command = sys.argv[1] if len(sys.argv) > 1 else "serve"
    settings = read_settings(ChatSettings)
    if command == "migrate":
        logs.configure(settings.service, settings.log_level)
        migrate_cql(settings, "chat_service")
    elif command == "serve":
        serve(make_app(settings), settings)
    else:
        print("usage: python -m chat_service [serve|migrate]", file=sys.stderr)
        raise SystemExit(2)


if __name__ == "__main__":
    main()
