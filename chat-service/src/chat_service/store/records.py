"""Turns and feedback as JSON lines, for the queue and the journals that carry them while CQL is away."""

from datetime import timedelta
from typing import Any
from uuid import UUID

import orjson

from chat_service.domain.turns import Feedback, Owner, Turn


def encode(record: Turn | Feedback) -> bytes:
    """One line of JSON."""
    kind = "turn" if isinstance(record, Turn) else "feedback"
    values = {name: getattr(record, name) for name in record.__dataclass_fields__ if name not in ("owner", "retention")}
    return orjson.dumps(
        {
            "kind": kind,
            "organization_id": record.owner.organization_id,
            "user_id": record.owner.user_id,
            "retention": int(record.retention.total_seconds()),
            **values,
        }
    )


def decode(line: bytes) -> Turn | Feedback:
    """What was encoded. Raises ValueError or KeyError for anything else, such as the torn last line of a journal."""
    values: dict[str, Any] = orjson.loads(line)
    kind = values.pop("kind")
    values["owner"] = Owner(values.pop("organization_id"), values.pop("user_id"))
    values["retention"] = timedelta(seconds=values["retention"])
    values["message_id"] = UUID(values["message_id"])
    try:
        return Turn(**values) if kind == "turn" else Feedback(**values)
    except TypeError as error:
        raise ValueError("not a record of ours") from error
