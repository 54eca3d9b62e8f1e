"""Text from standard input. A byte that is not UTF-8 costs one character and a note, never the rest of the input."""

import sys
from collections.abc import Iterator

from cli.errors import Usage
from cli.output import complain

REPLACED = "\N{REPLACEMENT CHARACTER}"


def piped_text(*, asked_for: bool) -> str:
    """All of standard input as one text. Raises Usage where there is none; a terminal is read when `asked_for`."""
    if sys.stdin.isatty() and not asked_for:
        raise Usage('Say what to ask: faq ask "What is Redis?", or pipe it: faq ask < question.txt')
    text = "\n".join(piped_lines()).strip()
    if not text:
        raise Usage("Standard input is empty: nothing to ask.")
    return text


def piped_lines() -> Iterator[str]:
    """Each line of standard input as it comes, without its end."""
    for number, raw in enumerate(sys.stdin.buffer, start=1):
        line = raw.decode("utf-8-sig" if number == 1 else "utf-8", errors="replace")
        if REPLACED in line:
            complain(f"Line {number} is not UTF-8: what cannot be read there is replaced by {REPLACED}", style="yellow")
        yield line.rstrip("\r\n")
