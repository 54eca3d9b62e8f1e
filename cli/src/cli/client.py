"""The Python client of the public API: waits out short rate limits, renews tokens, says what went wrong."""

import time
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Any, NoReturn

import httpx2

from cli.errors import (
    CommandError,
    LimitReached,
    NotAllowed,
    NotConfigured,
    ServerFailed,
    TookTooLong,
    Unreachable,
    Usage,
)
from cli.session import Login, find_login, renewing

Json = dict[str, Any]

PATIENCE = 10
"""Seconds of rate limiting that are waited out, in all."""
TIMEOUT = httpx2.Timeout(30, connect=5)


class Client:
    """One server, and the saved login for it if there is one."""

    def __init__(self, url: str, transport: httpx2.BaseTransport | None = None) -> None:
        self.url = url
        self.login: Login | None = find_login(url)
        self._http = httpx2.Client(base_url=url, timeout=TIMEOUT, transport=transport, trust_env=False)

    def close(self) -> None:
        """Close every connection."""
        self._http.close()

    def require_login(self) -> Login:
        """The login; raises NotConfigured, or Unreachable where there is nobody to log in at."""
        if self.login is None:
            self._send("GET", "/health/live")
            raise NotConfigured(f"Not logged in at {self.url}. Run `faq login`, or `faq register` for a new account.")
        return self.login

    def get(self, path: str, **query: str | int | None) -> Json:
        """GET as the logged-in user."""
        kept = {key: value for key, value in query.items() if value is not None}
        return self._as_user("GET", path, params=kept)

    def post(self, path: str, body: Json | None = None, headers: Mapping[str, str] | None = None) -> Json:
        """POST as the logged-in user."""
        return self._as_user("POST", path, json=body, headers=dict(headers or {}))

    def put(self, path: str, body: Json) -> Json:
        """PUT as the logged-in user."""
        return self._as_user("PUT", path, json=body)

    def patch(self, path: str, body: Json) -> Json:
        """PATCH as the logged-in user."""
        return self._as_user("PATCH", path, json=body)

    def delete(self, path: str) -> Json:
        """DELETE as the logged-in user."""
        return self._as_user("DELETE", path)

    def upload(self, path: str, file: Path, query: Mapping[str, str], fields: Mapping[str, str] | None = None) -> Json:
        """POST a file as multipart form data."""
        name = file.name.encode(errors="replace").decode()  # of a file system that is not UTF-8
        content = {"file": (name, file.read_bytes())}
        return self._as_user("POST", path, files=content, params=dict(query), data=dict(fields or {}))

    def anonymous(self, method: str, path: str, body: Json | None = None) -> Json:
        """A request without a token: registering, logging in, plans, health."""
        return self._read(self._send(method, path, json=body))

    def events(self, path: str, last_event_id: str | None = None) -> Iterator[tuple[str, str, str]]:
        """Server-sent events as (id, event, data) until the stream ends; raises like any other request."""
        headers = {"Accept": "text/event-stream", **self._bearer(self.require_login())}
        if last_event_id is not None:
            headers["Last-Event-ID"] = last_event_id
        try:
            with self._http.stream("GET", path, headers=headers, timeout=httpx2.Timeout(40, connect=5)) as stream:
                if stream.status_code == HTTPStatus.UNAUTHORIZED:
                    self._renew(self.require_login())
                    return
                if stream.is_error:
                    stream.read()
                    self._read(stream)
                yield from _parse_events(stream.iter_lines())
        except httpx2.TimeoutException as error:
            raise TookTooLong(f"{self.url} did not answer in time.") from error
        except httpx2.TransportError as error:
            raise Unreachable(f"Nobody answers at {self.url}.") from error

    def _as_user(self, method: str, path: str, **request: Any) -> Json:  # noqa: ANN401 - httpx2's own options
        login = self.require_login()
        headers = request.pop("headers", {})
        reply = self._send(method, path, headers=headers | self._bearer(login), **request)
        if reply.status_code == HTTPStatus.UNAUTHORIZED:
            login = self._renew(login)
            reply = self._send(method, path, headers=headers | self._bearer(login), **request)
        return self._read(reply)

    def _bearer(self, login: Login) -> dict[str, str]:
        return {"Authorization": f"Bearer {login.access_token}"}

    def _renew(self, login: Login) -> Login:
        """A login with a fresh access token; another process may have renewed it already."""
        with renewing(login) as (current, renewed):
            if current.access_token == login.access_token:
                reply = self._send("POST", "/auth/refresh", json={"refresh_token": current.refresh_token})
                if reply.status_code == HTTPStatus.UNAUTHORIZED:
                    raise NotAllowed("Your login has ended. Run `faq login`.")
                tokens = self._read(reply)
                renewed.append((tokens["access_token"], tokens["refresh_token"]))
        self.login = find_login(self.url) or current
        return self.login

    def _send(self, method: str, path: str, **request: Any) -> httpx2.Response:  # noqa: ANN401 - httpx2's own options
        patience = PATIENCE
        while True:
            try:
                reply = self._http.request(method, path, **request)
            except (httpx2.ConnectError, httpx2.ConnectTimeout) as error:
                raise Unreachable(
                    f"Nobody answers at {self.url}. Is it running? `faq status` tells, `make up` starts it."
                ) from error
            except httpx2.TimeoutException as error:
                raise TookTooLong(f"{self.url} did not answer in time. Try again in a moment.") from error
            except (httpx2.TransportError, httpx2.InvalidURL, httpx2.UnsupportedProtocol) as error:
                raise Unreachable(f"The connection to {self.url} failed.") from error
            wait = _short_wait(reply)
            if wait is None or wait > patience:
                return reply
            patience -= wait
            time.sleep(wait)

    def _read(self, reply: httpx2.Response) -> Json:
        if reply.status_code == HTTPStatus.NO_CONTENT or (reply.is_success and not reply.content):
            return {}
        try:
            body = reply.json()
        except ValueError:
            body = {}
        if not isinstance(body, dict):
            body = {"value": body}
        if reply.is_error or not reply.is_success:
            refuse(reply.status_code, body)
        location = reply.headers.get("location")
        return body | ({"location": location} if location else {})


def _short_wait(reply: httpx2.Response) -> int | None:
    """Seconds to wait when this is a rate limit and not a spent quota."""
    if reply.status_code != HTTPStatus.TOO_MANY_REQUESTS or b'"rate_limited"' not in reply.content:
        return None
    after = reply.headers.get("retry-after", "1")
    return int(after) if after.isdigit() else None


def refuse(status: int, problem: Json) -> NoReturn:
    """Raise what a problem document means to the user of a command."""
    detail = str(problem.get("detail") or problem.get("title") or f"The server answered {status}.")
    fields = "".join(f"\n  {e.get('field')}: {e.get('message')}" for e in problem.get("errors") or [])
    resets = f" It starts again at {problem['resets_at']}." if problem.get("resets_at") else ""
    kinds: dict[int, type[CommandError]] = {
        HTTPStatus.UNAUTHORIZED: NotAllowed,
        HTTPStatus.FORBIDDEN: NotAllowed,
        HTTPStatus.TOO_MANY_REQUESTS: LimitReached,
        HTTPStatus.REQUEST_TIMEOUT: TookTooLong,
        HTTPStatus.GATEWAY_TIMEOUT: TookTooLong,
    }
    kind = kinds.get(status, Usage if status < HTTPStatus.INTERNAL_SERVER_ERROR else ServerFailed)
    raise kind(f"{detail}{resets}{fields}")


def _parse_events(lines: Iterator[str]) -> Iterator[tuple[str, str, str]]:
    event_id, event, data = "", "message", ""
    for line in lines:
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if not line:
            if data:
                yield event_id, event, data
            event, data = "message", ""
        elif name == "id":
            event_id = value
        elif name == "event":
            event = value
        elif name == "data":
            data = f"{data}\n{value}" if data else value
