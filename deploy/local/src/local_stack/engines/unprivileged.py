"""The account PostgreSQL runs as when we are root, and the folders it has to reach."""

import os
import pwd
import stat
from dataclasses import dataclass
from pathlib import Path

CANDIDATES = ("postgres", "nobody")  # initdb wants an account with an entry in the password file


@dataclass(frozen=True, slots=True)
class Account:
    """A user and its group."""

    uid: int
    gid: int


class NoUnprivilegedAccount(RuntimeError):
    """PostgreSQL refuses to run as root, and this machine has neither an account `postgres` nor `nobody`."""


def unprivileged_account() -> Account | None:
    """The account to drop to, or None when we are not root anyway."""
    if os.geteuid() != 0:
        return None
    for name in CANDIDATES:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(entry.pw_uid, entry.pw_gid)
    raise NoUnprivilegedAccount(NoUnprivilegedAccount.__doc__)


def make_reachable(path: Path) -> None:
    """Let other accounts pass through (not list) every parent of path; only root may need this."""
    for folder in path.resolve().parents:
        mode = folder.stat().st_mode
        if not mode & stat.S_IXOTH:
            folder.chmod(stat.S_IMODE(mode) | stat.S_IXOTH)


def give(path: Path, account: Account) -> None:
    """Hand a folder with everything in it to the account."""
    os.chown(path, account.uid, account.gid)
    for entry in path.rglob("*"):
        os.chown(entry, account.uid, account.gid, follow_symlinks=False)
