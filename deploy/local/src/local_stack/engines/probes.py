"""Readiness by protocol: the smallest exchange that proves a server answers, without its driver."""

import socket
import struct
from contextlib import suppress

TIMEOUT = 1.0  # seconds for one probe
CQL_HEADER = 9
CQL_STARTUP, CQL_READY, CQL_OPTIONS, CQL_SUPPORTED, CQL_QUERY, CQL_RESULT = 0x01, 0x02, 0x05, 0x06, 0x07, 0x08
CONSISTENCY_ONE = 1
SKIP_METADATA = 0x02
ROWS = 2


class ProtocolError(ConnectionError):
    """The server answered something else than was asked."""


def postgresql_answers(host: str, port: int) -> bool:
    """Whether the server asks for a password; while it starts or recovers it sends an error instead."""
    body = struct.pack("!I", 3 << 16) + b"user\0probe\0database\0postgres\0\0"
    with suppress(OSError), socket.create_connection((host, port), TIMEOUT) as link:
        link.sendall(struct.pack("!I", len(body) + 4) + body)
        return link.recv(1) == b"R"
    return False


def valkey_answers(host: str, port: int) -> bool:
    """Whether the server answers PING; while it loads its file it sends an error instead."""
    with suppress(OSError), socket.create_connection((host, port), TIMEOUT) as link:
        link.sendall(b"PING\r\n")
        return link.recv(5) == b"+PONG"
    return False


def cql_answers(host: str, port: int) -> bool:
    """Whether the server answers an OPTIONS frame."""
    with suppress(OSError), socket.create_connection((host, port), TIMEOUT) as link:
        opcode, _ = _ask_cql(link, CQL_OPTIONS, b"")
        return opcode == CQL_SUPPORTED
    return False


def cql_ring_agrees(host: str, port: int, nodes: int) -> bool:
    """Whether this node sees all the others and every schema version is the same."""
    with suppress(OSError), socket.create_connection((host, port), TIMEOUT) as link:
        opcode, _ = _ask_cql(link, CQL_STARTUP, _string_map({"CQL_VERSION": "3.0.0"}))
        if opcode != CQL_READY:
            return False
        peers = _first_column(link, "SELECT schema_version FROM system.peers_v2")
        own = _first_column(link, "SELECT schema_version FROM system.local")
        return len(peers) == nodes - 1 and len({*peers, *own}) == 1
    return False


def run_cql(host: str, port: int, statement: str, timeout: float = 30.0) -> None:
    """Run one statement without the driver. Raises ProtocolError with the server's message."""
    with socket.create_connection((host, port), timeout) as link:
        opcode, _ = _ask_cql(link, CQL_STARTUP, _string_map({"CQL_VERSION": "3.0.0"}))
        if opcode != CQL_READY:
            raise ProtocolError("the server asks for a login")
        text = statement.encode()
        opcode, body = _ask_cql(
            link, CQL_QUERY, struct.pack("!I", len(text)) + text + struct.pack("!HB", CONSISTENCY_ONE, 0)
        )
        if opcode != CQL_RESULT:
            raise ProtocolError(body[6:].decode(errors="replace"))


def _first_column(link: socket.socket, query: str) -> list[bytes | None]:
    """The values of a query with one column."""
    text = query.encode()
    opcode, body = _ask_cql(
        link, CQL_QUERY, struct.pack("!I", len(text)) + text + struct.pack("!HB", CONSISTENCY_ONE, SKIP_METADATA)
    )
    if opcode != CQL_RESULT or struct.unpack_from("!I", body)[0] != ROWS:
        raise ProtocolError(f"no rows for {query}")
    offset = 12  # kind, metadata flags, column count
    (count,) = struct.unpack_from("!I", body, offset)
    offset += 4
    values: list[bytes | None] = []
    for _ in range(count):
        (size,) = struct.unpack_from("!i", body, offset)
        offset += 4
        values.append(None if size < 0 else body[offset : offset + size])
        offset += max(size, 0)
    return values


def _ask_cql(link: socket.socket, opcode: int, body: bytes) -> tuple[int, bytes]:
    """Send one protocol 4 frame and read the reply: its opcode and body."""
    link.sendall(struct.pack("!BBHBI", 0x04, 0, 0, opcode, len(body)) + body)
    header = _read(link, CQL_HEADER)
    (size,) = struct.unpack_from("!I", header, 5)
    return header[4], _read(link, size)


def _read(link: socket.socket, size: int) -> bytes:
    got = b""
    while len(got) < size:
        piece = link.recv(size - len(got))
        if not piece:
            raise ProtocolError("the connection was closed")
        got += piece
    return got


def _string_map(pairs: dict[str, str]) -> bytes:
    packed = struct.pack("!H", len(pairs))
    for text in (part for pair in pairs.items() for part in pair):
        packed += struct.pack("!H", len(text)) + text.encode()
    return packed
