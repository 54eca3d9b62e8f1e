"""`faq`: the command line of MultiDB."""

import sys
from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Annotated

from cli import __version__

if TYPE_CHECKING:
    import typer

COMMANDS = {
    "account": ("register", "login", "logout"),
    "conversation": ("ask", "history", "stats", "dashboard"),
    "chat": ("chat",),
    "tasks": ("analyze", "research", "tasks"),
    "notifications": ("notifications",),
    "knowledge": ("kb",),
    "stack": ("up", "down", "stop", "start", "restart", "status", "logs", "doctor"),
}
"""The commands of each module."""
MODULES = {command: module for module, commands in COMMANDS.items() for command in commands}
EXIT_CODES = (
    "Exit codes: 0 done, 2 usage, 3 not configured, 4 authentication, 5 unreachable, 6 quota or rate, 7 timeout, "
    "8 server error, 9 partly done, 130 interrupted."
)


def build() -> "typer.Typer":
    """The application with every command."""
    import typer

    app = typer.Typer(
        name="faq",
        help="Ask, curate and operate MultiDB.",
        epilog=EXIT_CODES,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
    )

    @app.callback()
    def options(
        context: typer.Context,
        url: Annotated[str | None, typer.Option("--url", help="The server; MULTIDB_URL does the same.")] = None,
        *,
        version: Annotated[bool, typer.Option("--version", help="Show the version.")] = False,
    ) -> None:
        """Ask, curate and operate MultiDB."""
        context.obj = url
        if version:
            _print_version()
            raise typer.Exit

    for name in needed(sys.argv[1:]):
        import_module(f"cli.commands.{name}").add_to(app)
    return app


def needed(words: Sequence[str]) -> Sequence[str]:
    """The modules that a command line needs: one where it names a command, else all. Each takes a while to import."""
    words = words[2:] if words[:1] == ["--url"] else words
    named = MODULES.get(words[0]) if words else None
    return [named] if named else list(COMMANDS)


def _print_version() -> None:
    print(f"faq {__version__}")


def main() -> None:
    """Run a command; every failure is one sentence and an exit code."""
    if sys.argv[1:] == ["--version"]:  # typer alone takes longer to import than this takes to answer
        _print_version()
        return
    from cli.errors import CommandError, Usage
    from cli.output import complain, print_what_can_be_shown

    print_what_can_be_shown()
    try:
        build()()
    except CommandError as error:
        complain(error)
        sys.exit(error.exit_code)
    except UnicodeError:  # of an argument or a password; it is not repeated here
        complain("What you wrote contains a byte that is not UTF-8, so it cannot be sent.")
        sys.exit(Usage.exit_code)


if __name__ == "__main__":
    main()
