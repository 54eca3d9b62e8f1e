"""What can go wrong for a user of the command line, each with its own exit code."""

from typing import ClassVar


class CommandError(Exception):
    """The command could not do what was asked; the message says what to do."""

    exit_code: ClassVar[int] = 8


class Usage(CommandError):
    """The request was refused for what it says: a wrong value, an unknown thing, a conflict."""

    exit_code = 2


class NotConfigured(CommandError):
    """There is no saved login for this server."""

    exit_code = 3


class NotAllowed(CommandError):
    """The server did not accept the login, or the role does not allow this."""

    exit_code = 4


class Unreachable(CommandError):
    """Nobody answers at this address."""

    exit_code = 5


class LimitReached(CommandError):
    """A rate limit or the plan's quota."""

    exit_code = 6


class TookTooLong(CommandError):
    """The server did not answer in time."""

    exit_code = 7


class ServerFailed(CommandError):
    """The server answered that it cannot do this now."""

    exit_code = 8


class PartlyDone(CommandError):
    """A part of what was asked for is done, the rest was refused."""

    exit_code = 9
