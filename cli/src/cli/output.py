"""What a command shows: results on standard output, everything else on standard error."""

import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import cache
from typing import Any

from rich.console import Console
from rich.markdown import Markdown
from rich.table import Table
from rich.text import Text


@cache
def out() -> Console:
    """Results."""
    return Console(highlight=False)


@cache
def err() -> Console:
    """Progress and errors."""
    return Console(stderr=True, highlight=False)


def print_json(value: Any) -> None:  # noqa: ANN401 - any JSON
    """One JSON document, for programs."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False, indent=2 if sys.stdout.isatty() else None) + "\n")


@contextmanager
def spinner(words: str) -> Iterator[None]:
    """A spinner on a terminal, nothing elsewhere."""
    if err().is_terminal:
        with err().status(words):
            yield
    else:
        yield


def print_reply(reply: dict[str, Any]) -> None:
    """A chat reply for a person: the text, how sure it is, where it comes from, what else might fit."""
    out().print(Markdown(reply["reply"]) if out().is_terminal else Text(reply["reply"]))
    answer = reply.get("answer")
    notes = []
    if answer:
        notes.append(f"{reply['confidence']:.0%} sure")
        notes.append(f"from: {answer['question']} (version {answer['version']})")
    if reply.get("degraded"):
        notes.append(f"degraded: {', '.join(reply['degraded'])}")
    if notes:
        out().print(Text(" · ".join(notes), style="dim"))
    if reply.get("suggestions") and not answer:
        out().print(Text("Perhaps you meant:", style="dim"))
        for suggestion in reply["suggestions"]:
            out().print(Text(f"  • {suggestion['question']}"))


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]], empty: str) -> None:
    """A table, or a sentence when there is nothing in it."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(Text(str(cell)) for cell in row))
    if table.row_count:
        out().print(table)
    else:
        out().print(Text(empty, style="dim"))


def print_history(messages: Iterable[dict[str, Any]]) -> None:
    """A conversation, oldest first."""
    for message in messages:
        mine = message["role"] == "user"
        out().print(Text("You: " if mine else "Bot: ", style="bold cyan" if mine else "bold green"), end="")
        rated = {"up": "  👍", "down": "  👎"}.get(message.get("rating") or "", "")
        out().print(Text(message["text"] + rated), Text(f"  {short_time(message['created_at'])}", style="dim"))


def short_time(text: str | None) -> str:
    """A server time as local date and minute."""
    return datetime.fromisoformat(text).astimezone().strftime("%Y-%m-%d %H:%M") if text else ""
