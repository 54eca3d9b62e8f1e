"""What a keyed request of this service is answered with again."""

from dataclasses import dataclass
from typing import Self

import orjson


@dataclass(frozen=True, slots=True)
class KeptReply:
    """A reply as it was sent."""

    status: int
    location: str
    body: bytes

    def packed(self) -> bytes:
        """As one value, which is what `shared.idempotency` keeps."""
        return orjson.dumps([self.status, self.location]) + b"\n" + self.body

    @classmethod
    def unpacked(cls, packed: bytes) -> Self:
        """The reply in such a value."""
        head, _, body = packed.partition(b"\n")
        status, location = orjson.loads(head)
        return cls(int(status), str(location), body)
