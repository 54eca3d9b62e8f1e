"""Free ports on loopback, below the range the kernel hands out to clients."""

import random
import socket
from collections.abc import Collection, Iterable
from contextlib import suppress

LOWEST, HIGHEST = 20_000, 32_000  # Linux gives 32768 and up to outgoing connections: a port of ours there may be lost
ATTEMPTS = 2_000


class NoFreePort(RuntimeError):
    """No port below 32768 is free on this machine."""


def is_free(port: int, hosts: Iterable[str] = ("127.0.0.1",)) -> bool:
    """Whether nobody listens on the port; a connection in TIME_WAIT does not count."""
    return all(_binds(host, port) for host in hosts)


def free_port(taken: Collection[int] = (), hosts: Iterable[str] = ("127.0.0.1",)) -> int:
    """A free port, chosen at random so that two stacks that start at once rarely meet. Raises NoFreePort."""
    hosts = tuple(hosts)
    for _ in range(ATTEMPTS):
        port = random.randrange(LOWEST, HIGHEST)  # noqa: S311 - guards nothing
        if port not in taken and is_free(port, hosts):
            return port
    raise NoFreePort(NoFreePort.__doc__)


def assign_ports(
    names: Iterable[str], remembered: dict[str, int], hosts: Iterable[str] = ("127.0.0.1",)
) -> dict[str, int]:
    """A port for every name: the one it had before while that is free, else another."""
    hosts = tuple(hosts)
    given: dict[str, int] = {}
    for name in names:
        before = remembered.get(name)
        usable = before is not None and before not in given.values() and is_free(before, hosts)
        given[name] = (
            before if usable and before is not None else free_port({*given.values(), *remembered.values()}, hosts)
        )
    return given


def holder_of(port: int) -> str | None:
    """`name (pid 123)` of the process that listens on the port, when we may see it."""
    import psutil

    with suppress(psutil.Error, OSError):
        for link in psutil.net_connections(kind="tcp"):
            if link.status == psutil.CONN_LISTEN and link.laddr.port == port and link.pid:
                return f"{psutil.Process(link.pid).name()} (pid {link.pid})"
    return None


def _binds(host: str, port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True
