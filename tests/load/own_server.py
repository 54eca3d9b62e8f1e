"""The gateway's own server protocol against uvicorn's, the same application and the same rules behind both.

CPU is user+system time of the serving process per request at saturation, median of interleaved rounds; the yardstick
for docs/adr/0010. `python tests/load/own_server.py [--rounds N --seconds S]`.
"""

import argparse
import asyncio
import contextlib
import multiprocessing
import statistics
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import psutil
import uvicorn
from generator import Call, saturate
from starlette.types import Receive, Scope, Send

from gateway.server import head
from gateway.server.running import server_for
from local_stack.ports import free_port

BODY = b'{"message":"What is Redis?","session_id":"bench"}'
REPLY = b'{"ok":true}'
CALLS = {
    "GET": Call("GET", "/health/live", None, {"Authorization": "Bearer " + "x" * 600, "Accept": "application/json"}),
    "POST of 49 bytes": Call("POST", "/chat/message", BODY, {"Authorization": "Bearer " + "x" * 600}),
}


async def application(scope: Scope, receive: Receive, send: Send) -> None:
    """Reads the body, answers in a few bytes."""
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
        return
    while (await receive()).get("more_body"):
        pass
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(REPLY))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": REPLY})


async def guarded(scope: Scope, receive: Receive, send: Send) -> None:
    """The rules of the gateway's protocol as a middleware, as far as a middleware can keep them."""
    if scope["type"] == "http":
        headers = scope["headers"]
        target = scope["raw_path"] + (b"?" + scope["query_string"] if scope["query_string"] else b"")
        fields, refusal = head.read(headers)
        refusal = refusal or head.refusal(head.origin_form(target, fields.get(b"host")), fields, scope["http_version"])
        if refusal or len(headers) > head.MAX_FIELDS or head.size(target, headers) > head.MAX_HEAD_BYTES:
            await send({"type": "http.response.start", "status": 400, "headers": [(b"content-length", b"0")]})
            await send({"type": "http.response.body", "body": b""})
            return
        scope["fields"] = fields
    await application(scope, receive, send)


def serve_own(port: int) -> None:
    """The gateway's protocol."""
    server_for(application, host="127.0.0.1", port=port, drain=timedelta(seconds=1)).run()


def serve_uvicorn(port: int) -> None:
    """uvicorn's, on the same loop and parser."""
    options: dict[str, Any] = {"loop": "uvloop", "http": "httptools", "ws": "none", "access_log": False}
    options |= {"log_config": None, "server_header": False, "proxy_headers": False, "backlog": 1024}
    uvicorn.Server(uvicorn.Config(guarded, host="127.0.0.1", port=port, **options)).run()


SERVERS: dict[str, Callable[[int], None]] = {"own protocol": serve_own, "uvicorn, httptools": serve_uvicorn}


@contextlib.contextmanager
def serving(serve: Callable[[int], None]) -> Iterator[tuple[str, psutil.Process]]:
    """A server in a process of its own, once it listens."""
    port = free_port()
    process = multiprocessing.get_context("spawn").Process(target=serve, args=(port,), daemon=True)
    process.start()
    asyncio.run(_until_open(port))
    try:
        yield f"http://127.0.0.1:{port}", psutil.Process(process.pid)
    finally:
        process.terminate()
        process.join(5)


async def _until_open(port: int) -> None:
    async with asyncio.timeout(20):
        while True:
            with contextlib.suppress(OSError):
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.close()
                return
            await asyncio.sleep(0.05)


def microseconds(url: str, process: psutil.Process, call: Call, seconds: float) -> float:
    """CPU per request at saturation; raises when a request failed."""
    before = sum(process.cpu_times()[:2])
    outcome = saturate(url, [call], seconds)
    if outcome.failed or not outcome.count:
        raise RuntimeError(f"{outcome.failed} of {outcome.count} failed")
    return (sum(process.cpu_times()[:2]) - before) / outcome.count * 1e6


def main() -> None:
    """Measure both, interleaved, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3)
    options = parser.parse_args()
    found: dict[tuple[str, str], list[float]] = {}
    with contextlib.ExitStack() as stack:
        running = {name: stack.enter_context(serving(serve)) for name, serve in SERVERS.items()}
        for number in range(options.rounds + 1):
            for name, (url, process) in running.items():
                for kind, call in CALLS.items():
                    used = microseconds(url, process, call, options.seconds)
                    if number:  # the first round only warms up
                        found.setdefault((name, kind), []).append(used)
    print(f"{'CPU us per request':24}" + "".join(f"{kind:>20}" for kind in CALLS))
    for name in SERVERS:
        print(f"{name:24}" + "".join(f"{statistics.median(found[name, kind]):20.1f}" for kind in CALLS))


if __name__ == "__main__":
    main()
