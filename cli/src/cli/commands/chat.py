"""`faq chat`: a conversation on the terminal, with background work and live notifications."""

import shlex
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated

import typer
from rich.text import Text

from cli.client import Client
from cli.commands.conversation import (
    ask_question,
    print_dashboard,
    print_stats,
    read_dashboard,
)
from cli.commands.notifications import follow, print_inbox
from cli.commands.options import connected
from cli.commands.tasks import print_task, print_tasks, submit, watch
from cli.errors import CommandError, NotAllowed, NotConfigured, Unreachable
from cli.output import complain, print_history, print_reply, say, spinner
from cli.piped import piped_lines
from cli.session import folder

HELP = (
    ("/analyze TEXT", "analyze your conversations in the background, then show the report"),
    ("/research TEXT", "collect what the knowledge base says about a topic"),
    ("/tasks [ID]", "list your tasks, or show one"),
    ("/notifications", "what has happened"),
    ("/history", "this conversation"),
    ("/feedback up|down [COMMENT]", "rate the last answer"),
    ("/stats", "system statistics"),
    ("/dashboard", "your usage and the service's health"),
    ("/help", "this list"),
    ("/quit", "leave (also Ctrl-D)"),
)


ENDING = (NotAllowed, NotConfigured, Unreachable)
"""After these the next question would fare no better."""


class Left(Exception):
    """The user is done."""


@dataclass
class Conversation:
    """A session on the terminal; `watched` are tasks whose report is shown here anyway."""

    client: Client
    session: str
    last_message_id: str | None = None
    watched: set[str] = field(default_factory=set)

    def handle(self, line: str) -> None:
        """Answer a line: a question, or a command that begins with a slash."""
        line = line.strip()
        if not line:
            return
        if not line.startswith("/"):
            self.ask(line)
            return
        word, _, rest = line[1:].partition(" ")
        command = self.commands().get(word.lower())
        if command is None:
            say(f"There is no /{word}. /help lists the commands.", style="yellow")
        else:
            command(rest.strip())

    def commands(self) -> dict[str, Callable[[str], None]]:
        """What each slash command does with the rest of its line."""
        return {
            "help": lambda _: print_help(),
            "history": lambda _: self.history(),
            "stats": lambda _: print_stats(self.client.get("/analytics/summary")),
            "dashboard": lambda _: print_dashboard(read_dashboard(self.client)),
            "feedback": self.feedback,
            "analyze": lambda text: self.work("analyze", text),
            "research": lambda text: self.work("research", text),
            "tasks": self.tasks,
            "notifications": lambda _: self.notifications(),
            "quit": lambda _: leave(),
            "exit": lambda _: leave(),
        }

    def ask(self, question: str) -> None:
        """Ask and show the reply."""
        with spinner("Looking it up…"):
            reply = ask_question(self.client, question, self.session)
        self.last_message_id = reply["message_id"]
        print_reply(reply)

    def history(self) -> None:
        """Show this conversation's latest messages."""
        if self.last_message_id is None:
            say("Nothing asked yet in this conversation.", style="dim")
            return
        print_history(self.client.get(f"/chat/history/{self.session}", limit=50)["messages"])

    def feedback(self, text: str) -> None:
        """Rate the last answer."""
        words = shlex.split(text) if text.count('"') % 2 == 0 and text.count("'") % 2 == 0 else text.split()
        if self.last_message_id is None or not words or words[0] not in ("up", "down"):
            say("After an answer: /feedback up, or /feedback down too short", style="yellow")
            return
        body = {"rating": words[0]} | ({"comment": " ".join(words[1:])} if words[1:] else {})
        self.client.put(f"/chat/sessions/{self.session}/messages/{self.last_message_id}/feedback", body)
        say("Thank you.", style="green")

    def work(self, kind: str, description: str) -> None:
        """Submit a task, show its progress and then its report."""
        if not description:
            say(f"Say what about: /{kind} volume last month", style="yellow")
            return
        task = submit(self.client, kind, description)
        self.watched.add(task["task_id"])
        say(f"{kind.capitalize()} task submitted. Ctrl-C leaves it running.", style="dim")
        try:
            print_task(watch(self.client, task["task_id"]))
        except KeyboardInterrupt:
            self.watched.discard(task["task_id"])
            say(f"It goes on in the background: /tasks {task['task_id']}", style="dim")

    def tasks(self, task_id: str) -> None:
        """List tasks, or show one."""
        if task_id:
            print_task(self.client.get(f"/tasks/{task_id}/status"))
        else:
            print_tasks(self.client.get("/tasks"))

    def notifications(self) -> None:
        """Show the inbox and mark it as read."""
        page = self.client.get("/notifications")
        print_inbox(page)
        if page["unread"]:
            self.client.post("/notifications/read-all")


def leave() -> None:
    """End the conversation."""
    raise Left


def print_help() -> None:
    """The slash commands."""
    for command, meaning in HELP:
        say(Text(f"  {command:30}", style="bold"), Text(meaning))


def _announce(conversation: Conversation, url: str) -> None:
    """Say in one line what happens while the user types; runs in a thread with a client of its own."""
    client = Client(url)
    try:
        for note in follow(client):
            task_id = (note.get("data") or {}).get("task_id")
            if task_id not in conversation.watched:
                say(Text("● ", style="bold cyan") + Text(f"{note['title']} (/tasks {task_id})"))
    except CommandError:
        return  # logged out: the next question says so
    finally:
        client.close()


def _read_from_pipe(conversation: Conversation) -> None:
    """One answer for each line of standard input; a refused one does not keep the next from being asked."""
    refused: CommandError | None = None
    for line in piped_lines():
        try:
            conversation.handle(line)
        except Left:
            break
        except ENDING:
            raise
        except CommandError as error:
            complain(error)
            refused = error
    if refused:
        raise typer.Exit(refused.exit_code)


def _read_from_terminal(conversation: Conversation) -> None:
    from prompt_toolkit import PromptSession
    from prompt_toolkit.completion import WordCompleter
    from prompt_toolkit.history import FileHistory
    from prompt_toolkit.patch_stdout import patch_stdout

    folder().mkdir(parents=True, exist_ok=True, mode=0o700)
    prompt: PromptSession[str] = PromptSession(
        history=FileHistory(str(folder() / "history")),
        completer=WordCompleter([words.split()[0] for words, _ in HELP], sentence=True),
        complete_while_typing=False,
    )
    say("Ask in your own words. /help lists the commands, /quit leaves.", style="dim")
    while True:
        try:
            with patch_stdout(raw=True):
                line = prompt.prompt("You: ")
            conversation.handle(line)
        except (EOFError, Left):
            return
        except ENDING:
            raise
        except CommandError as error:
            complain(error)


def chat(
    context: typer.Context,
    session: Annotated[str | None, typer.Option(help="The conversation to go on with.")] = None,
) -> None:
    """Talk on the terminal; reads questions from standard input when there is none."""
    with connected(context) as client:
        conversation = Conversation(client, session or client.require_login().session)
        if not sys.stdin.isatty():
            _read_from_pipe(conversation)
            return
        threading.Thread(target=_announce, args=(conversation, client.url), daemon=True).start()
        _read_from_terminal(conversation)


def add_to(app: typer.Typer) -> None:
    """Register the commands of this module."""
    app.command()(chat)
