"""`faq notifications`: what has happened."""

import json
import time
from collections.abc import Iterator
from typing import Annotated, Any

import typer
from rich.text import Text

from cli.client import Client
from cli.commands.options import AsJson, Limit, connected
from cli.errors import CommandError, NotAllowed, NotConfigured
from cli.output import complain, print_json, say, short_time

RECONNECT = 2


def follow(client: Client, last_event_id: str | None = None) -> Iterator[dict[str, Any]]:
    """New notifications for ever; a broken stream is resumed where it ended."""
    while True:
        try:
            for event_id, event, data in client.events("/notifications/stream", last_event_id):
                last_event_id = event_id or last_event_id
                if event == "notification":
                    yield json.loads(data)
        except (NotAllowed, NotConfigured):
            raise
        except CommandError as error:
            complain(f"{error} Trying again…", style="dim")
        time.sleep(RECONNECT)


def print_notification(note: dict[str, Any]) -> None:
    """One notification for a person."""
    mark = Text("  ") if note.get("read") else Text("● ", style="bold cyan")
    say(mark + Text(note["title"], style="bold") + Text(f"  {short_time(note['created_at'])}", style="dim"))
    if note.get("body"):
        say(f"  {note['body']}")
    if (note.get("data") or {}).get("task_id"):
        say(f"  faq tasks {note['data']['task_id']}", style="dim")


def print_inbox(page: dict[str, Any]) -> None:
    """The newest notifications for a person."""
    for note in page["notifications"]:
        print_notification(note)
    count = page["unread"]
    say(f"{count} unread" if page["notifications"] else "No notifications.", style="dim")


def notifications(
    context: typer.Context,
    limit: Limit = 20,
    *,
    unread: Annotated[bool, typer.Option("--unread", help="Only those you have not read.")] = False,
    read_all: Annotated[bool, typer.Option("--read-all", help="Mark all of them as read.")] = False,
    follow_on: Annotated[bool, typer.Option("--follow", "-f", help="Wait for new ones.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show your notifications, newest first."""
    with connected(context) as client:
        if follow_on:
            for note in follow(client):
                (print_json if as_json else print_notification)(note)
            return
        page = client.get("/notifications", limit=limit, unread="true" if unread else None)
        if read_all:
            client.post("/notifications/read-all")
    if as_json:
        print_json(page)
    else:
        print_inbox(page)


def add_to(app: typer.Typer) -> None:
    """Register the commands of this module."""
    app.command()(notifications)
