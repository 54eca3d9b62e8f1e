"""What a reader of the report has to know about how the file was read: what was assumed, and what is in doubt."""

from collections.abc import Iterable
from dataclasses import dataclass

from task_worker.domain.report import escape
from task_worker.domain.task import TaskImpossible

SHOWN = 5
"""Examples that a remark names."""
LONGEST = 40


@dataclass(frozen=True, slots=True)
class Remark:
    """An assumption in one sentence, as Markdown; a doubt is one that may well be wrong."""

    text: str
    is_doubt: bool = False


class TableRefused(TaskImpossible):
    """The file cannot be analysed: why, and what to do about it. The task fails and is not charged."""

    def __init__(self, detail: str) -> None:
        super().__init__("unreadable_table", detail)


def code(text: str) -> str:
    """Somebody else's text as Markdown code: short, in one line, and unable to end the code."""
    flat = " ".join(text.replace("`", "'").split())
    return f"`{escape(flat[: LONGEST - 1] + '…' if len(flat) > LONGEST else flat)}`"


def examples(texts: Iterable[str]) -> str:
    """The first few of some texts as Markdown code, and how many more there are."""
    found = list(dict.fromkeys(texts))
    more = f" and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
    return ", ".join(code(text) for text in found[:SHOWN]) + more


def counted(count: int, noun: str) -> str:
    """A number with its noun in the right form."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"
