"""Listening sockets that outlive the processes serving them: while those restart, callers wait and are not refused."""

import socket

from local_stack.ports import family_of

Address = tuple[str, int]
BACKLOG = 2048


class Listeners:
    """One socket per address, handed to every replica that serves it; closed when the last one is gone for good."""

    def __init__(self) -> None:
        self._sockets: dict[Address, socket.socket] = {}
        self._holders: dict[Address, set[str]] = {}

    def hold(self, address: Address, holder: str) -> socket.socket:
        """The socket of an address, inheritable. Raises OSError when somebody else listens there."""
        listener = self._sockets.get(address)
        if listener is None:
            host = address[0]
            listener = socket.create_server(
                address,
                family=family_of(host),
                backlog=BACKLOG,
                dualstack_ipv6=host == "::" and socket.has_dualstack_ipv6(),
            )
            listener.set_inheritable(True)
            self._sockets[address] = listener
        self._holders.setdefault(address, set()).add(holder)
        return listener

    def release(self, holder: str) -> None:
        """`holder` serves nothing any more."""
        for address, holders in list(self._holders.items()):
            holders.discard(holder)
            if not holders:
                del self._holders[address]
                self._sockets.pop(address).close()
