"""`faq ask | history | stats | dashboard`: questions and what came of them."""

from typing import Annotated, Any

import typer
from rich.text import Text

from cli.client import Client
from cli.commands.options import AsJson, Limit, connected
from cli.errors import Usage
from cli.output import print_history, print_json, print_reply, print_table, say, short_time, spinner
from cli.piped import piped_text


def ask_question(client: Client, question: str, session: str) -> dict[str, Any]:
    """The reply to a question in a session."""
    return client.post("/chat/message", {"message": question, "session_id": session})


def ask(
    context: typer.Context,
    question: Annotated[
        list[str] | None,
        typer.Argument(help="The question, in your own words; `-`, or nothing in a pipe: all of standard input."),
    ] = None,
    session: Annotated[str | None, typer.Option(help="The conversation it belongs to.")] = None,
    *,
    as_json: AsJson = False,
) -> None:
    """Ask one question."""
    words = " ".join(question or ())
    if words in {"", "-"}:
        words = piped_text(asked_for=words == "-")
    with connected(context) as client:
        own = client.require_login().session
        with spinner("Looking it up…"):
            reply = ask_question(client, words, session or own)
    if as_json:
        print_json(reply)
    else:
        print_reply(reply)


def history(
    context: typer.Context,
    session: Annotated[str | None, typer.Argument(help="A conversation; yours of this login when left out.")] = None,
    limit: Limit = 20,
    cursor: Annotated[str | None, typer.Option(help="Where an earlier page said to go on.")] = None,
    *,
    sessions: Annotated[bool, typer.Option("--sessions", help="List your conversations instead.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show a conversation, or list them."""
    with connected(context) as client:
        own = client.require_login().session
        if sessions:
            _list_sessions(client.get("/chat/sessions", limit=limit, cursor=cursor), as_json=as_json)
            return
        page = _conversation(client, session, own, limit, cursor)
    if as_json:
        print_json(page)
        return
    print_history(page["messages"])
    if not page["messages"]:
        say('Nothing asked yet. Try: faq ask "What is Redis?"', style="dim")
    if page["next_cursor"]:
        say(f"Older messages: faq history --cursor {page['next_cursor']}", style="dim")


def _conversation(client: Client, session: str | None, own: str, limit: int, cursor: str | None) -> dict[str, Any]:
    """A page of a conversation; one's own that has not begun yet is empty rather than an error."""
    try:
        return client.get(f"/chat/history/{session or own}", limit=limit, cursor=cursor)
    except Usage:
        if session is not None or cursor is not None:
            raise
        return {"session_id": own, "messages": [], "next_cursor": None}


def _list_sessions(page: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(page)
        return
    rows = [
        (s.get("session_id") or s.get("id"), short_time(s.get("updated_at") or s.get("created_at")))
        for s in page["sessions"]
    ]
    print_table(("session", "last used"), rows, "No conversations yet.")


def stats(context: typer.Context, *, as_json: AsJson = False) -> None:
    """What your organization's people ask, and how well it is answered."""
    with connected(context) as client:
        summary = client.get("/analytics/summary")
    if as_json:
        print_json(summary)
    else:
        print_stats(summary)


def print_stats(summary: dict[str, Any]) -> None:
    """The analytics summary for a person."""
    latency, feedback = summary["latency_ms"], summary["feedback"]
    rows = [
        ("messages", summary["messages"]),
        *((f"  {outcome}", count) for outcome, count in summary["outcomes"].items()),
        ("cache hit rate", _share(summary["cache"]["hit_rate"])),
        ("feedback", f"{feedback['up']} up, {feedback['down']} down"),
        ("answer time", f"p50 {_milliseconds(latency['p50'])}, p95 {_milliseconds(latency['p95'])}"),
    ]
    print_table(("System statistics", ""), rows, "")
    if summary["popular"]:
        say("")
        popular = [(entry["count"], entry["question"]) for entry in summary["popular"]]
        print_table(("times", "popular question"), popular, "")


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.1%}"


def _milliseconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f} ms"


def dashboard(context: typer.Context, *, as_json: AsJson = False) -> None:
    """Your plan, what of it is used, and how the service is."""
    with connected(context) as client:
        view = read_dashboard(client)
    if as_json:
        print_json(view)
    else:
        print_dashboard(view)


def read_dashboard(client: Client) -> dict[str, Any]:
    """Usage and health together."""
    return {"usage": client.get("/billing/usage"), "health": client.anonymous("GET", "/health")}


def print_dashboard(view: dict[str, Any]) -> None:
    """The dashboard for a person."""
    usage, health = view["usage"], view["health"]
    say(f"Your usage ({usage['plan'].capitalize()} plan)", style="bold")
    for meter in ("messages", "tasks"):
        say(f"  {meter.capitalize()}: {_meter(usage[meter])}")
    say(f"  Starts again: {short_time(usage['period']['end'])}", style="dim")
    colour = "green" if health["status"] == "ok" else "yellow"
    say("Service: ", Text(health["status"], style=colour))
    for name, state in health["capabilities"].items():
        if state != "ok":
            say(f"  {name}: {state}", style="yellow")


def _meter(meter: dict[str, Any]) -> str:
    limit = meter["limit"]
    if limit is None:
        return f"{meter['used']} (unlimited)"
    return f"{meter['used']}/{limit} ({meter['remaining']} left)"


def add_to(app: typer.Typer) -> None:
    """Register the commands of this module."""
    for command in (ask, history, stats, dashboard):
        app.command()(command)
