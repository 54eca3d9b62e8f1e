"""Saved logins: one per server, in a file that only its owner can read."""

import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

DEFAULT_PORT = "8000"


@dataclass(frozen=True, slots=True)
class Login:
    """Who is logged in at a server; `session` is the conversation that `faq ask` and `faq chat` go on with."""

    url: str
    email: str
    access_token: str
    refresh_token: str
    session: str


def folder() -> Path:
    """Where logins and the line history are kept (`XDG_CONFIG_HOME/multidb`)."""
    from platformdirs import user_config_path

    return user_config_path("multidb")


def chosen_url(option: str | None = None) -> str:
    """The server to talk to: the option, MULTIDB_URL, GATEWAY_PORT, the newest login, else the local default."""
    port = os.environ.get("GATEWAY_PORT")
    url = option or os.environ.get("MULTIDB_URL") or (f"http://127.0.0.1:{port}" if port else None)
    return (url or _read().get("newest") or f"http://127.0.0.1:{DEFAULT_PORT}").rstrip("/")


def find_login(url: str) -> Login | None:
    """The saved login for a server."""
    entry = _read()["logins"].get(url)
    return Login(url=url, **entry) if entry else None


def save_login(base_url: str, email: str, access_token: str, refresh_token: str) -> Login:
    """Remember a login and make its server the default one; the same person keeps their conversation."""
    url = base_url.rstrip("/")
    with _locked() as logins:
        known = logins["logins"].get(url, {})
        session = known["session"] if known.get("email") == email else f"cli-{secrets.token_hex(8)}"
        login = Login(url, email, access_token, refresh_token, session)
        _put(logins, login)
        logins["newest"] = url
    return login


def forget_login(url: str) -> None:
    """Remove the login for a server."""
    with _locked() as logins:
        logins["logins"].pop(url, None)


@contextmanager
def renewing(login: Login) -> Iterator[tuple[Login, list[tuple[str, str]]]]:
    """The newest state of a login, alone: two commands at once must not use the same refresh token.

    Append (access token, refresh token) to the list to save them.
    """
    with _locked() as logins:
        entry = logins["logins"].get(login.url)
        renewed: list[tuple[str, str]] = []
        yield (Login(url=login.url, **entry) if entry else login), renewed
        for access_token, refresh_token in renewed:
            current = Login(url=login.url, **logins["logins"][login.url]) if entry else login
            _put(logins, replace(current, access_token=access_token, refresh_token=refresh_token))


def _put(logins: dict[str, Any], login: Login) -> None:
    logins["logins"][login.url] = {key: value for key, value in asdict(login).items() if key != "url"}


def _path() -> Path:
    return folder() / "logins.json"


def _read() -> dict[str, Any]:
    try:
        logins = json.loads(_path().read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {"newest": None, "logins": {}}
    return dict(logins)


@contextmanager
def _locked() -> Iterator[dict[str, Any]]:
    from filelock import FileLock

    path = _path()
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with FileLock(path.with_suffix(".lock"), timeout=30):
        logins = _read()
        yield logins
        temporary = path.with_suffix(f".{os.getpid()}")
        temporary.touch(mode=0o600)
        temporary.write_text(json.dumps(logins), encoding="utf-8")
        temporary.replace(path)
