"""The gateway's own calls to the services: signed, small, complete."""

from dataclasses import dataclass
from datetime import timedelta

from gateway.clients.connection import Reply
from gateway.clients.upstream import PooledUpstream, Replica
from gateway.domain.forwarding import Request
from shared.errors import UpstreamFailed
from shared.identity import IdentitySigner

PROBE = timedelta(seconds=1).total_seconds()
CALL = timedelta(seconds=2).total_seconds()


@dataclass(frozen=True, slots=True)
class OwnCalls:
    """GETs in the gateway's own name to one service."""

    upstream: PooledUpstream
    signer: IdentitySigner

    async def get(self, path: str) -> bytes:
        """The body of a 200; raises what `Upstream.send` raises, and UpstreamFailed for any other status."""
        reply = await self.upstream.send(self._request(path, CALL))
        return await self._read(reply)

    async def probe(self, replica: Replica, path: str) -> bytes:
        """The same from one replica, within a second; raises ReplicaFailed, Overloaded or UpstreamFailed."""
        return await self._read(await self.upstream.probe(replica, self._request(path, PROBE)))

    def _request(self, path: str, seconds: float) -> Request:
        identity = self.signer.sign(self.upstream.service)
        head = b"accept: application/json\r\nx-internal-identity: " + identity + b"\r\n"
        return Request("GET", path.encode(), head, seconds, repeatable=True)

    async def _read(self, reply: Reply) -> bytes:
        body = await reply.read()
        if reply.status != 200:  # noqa: PLR2004 - the one status that these calls expect
            raise UpstreamFailed(f"{self.upstream.service} answered {reply.status}.")
        return body
