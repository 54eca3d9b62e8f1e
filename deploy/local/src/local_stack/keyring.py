"""The secrets of a stack: generated once, kept in `secrets.json` for this user alone."""

import json
import secrets
from dataclasses import asdict, dataclass, field, fields

from local_stack.home import Home, write_private


def _secret() -> str:
    return secrets.token_urlsafe(32)


@dataclass(frozen=True, slots=True)
class Keyring:
    """Keys and passwords no user has to choose."""

    postgres_password: str = field(default_factory=_secret)
    auth_postgres_app_password: str = field(default_factory=_secret)
    task_postgres_app_password: str = field(default_factory=_secret)
    internal_identity_key: str = field(default_factory=_secret)
    cursor_key: str = field(default_factory=_secret)
    auth_password_pepper: str = field(default_factory=_secret)
    auth_signing_key_secret: str = field(default_factory=_secret)


def open_keyring(home: Home) -> Keyring:
    """The secrets of this home; those it does not have yet are made and kept."""
    known = json.loads(home.secrets.read_text()) if home.secrets.exists() else {}
    keyring = Keyring(**{entry.name: known[entry.name] for entry in fields(Keyring) if entry.name in known})
    if asdict(keyring) != known:
        write_private(home.secrets, json.dumps({**known, **asdict(keyring)}, indent=1))
    return keyring
