"""Ports: free ones below the range the kernel hands out to clients, and why one cannot be had."""

import errno
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
    return all(obstacle(port, host) is None for host in hosts)


def obstacle(port: int, host: str = "127.0.0.1") -> str | None:
    """Why nobody can begin to listen there, in words; None when it can be done."""
    with socket.socket(family_of(host), socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            return _in_words(error, port, host)
    return None


def family_of(host: str) -> socket.AddressFamily:
    """IPv6 for an address with colons."""
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def reachable(host: str) -> str:
    """The address, as a URL has it, under which a process on this machine finds what listens on `host`."""
    if host in {"", "0.0.0.0", "::"}:
        return "127.0.0.1"  # an IPv6 socket for every address takes IPv4 as well
    return f"[{host}]" if ":" in host else host


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


def _in_words(error: OSError, port: int, host: str) -> str:
    match error.errno:
        case errno.EADDRINUSE:
            holder = holder_of(port)
            return f"port {port} is taken by {holder}" if holder else f"port {port} is taken"
        case errno.EACCES:
            return f"port {port} needs rights that this user does not have"
        case errno.EADDRNOTAVAIL | errno.EAFNOSUPPORT:
            return f"{host} is no address of this machine"
    return f"port {port} on {host} cannot be had ({error.strerror or error})"
