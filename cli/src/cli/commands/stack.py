"""`faq up | down | stop | start | restart | status | logs | doctor`: the stack on this machine.

The stack is a package of its own (`local_stack`), imported when one of its commands runs: the client works without.
"""

import json
import os
import sys
from collections.abc import Callable, Mapping
from functools import wraps
from importlib.util import find_spec
from typing import TYPE_CHECKING, Annotated, Any, ParamSpec

import typer

from cli.commands.options import AsJson
from cli.errors import NotConfigured, ServerFailed, Unreachable, Usage
from cli.output import complain, out, print_json, say
from cli.session import save_login

if TYPE_CHECKING:
    from local_stack.desired import DesiredState
    from local_stack.first_answer import Greeting
    from local_stack.home import Home

PACKAGE = "local_stack"
NOT_INSTALLED = (
    "This machine has the client alone. The stack is the package multidb-local: in a checkout, run `make install`."
)
COLOURS = ("cyan", "green", "magenta", "yellow", "blue", "bright_cyan", "bright_green", "bright_magenta")
STATES = {"ready": "green", "starting": "yellow", "failed": "red", "stopped": "dim"}
P = ParamSpec("P")

Name = Annotated[str, typer.Argument(help="A service or an engine, such as chat-service or postgresql.")]


def up(
    *,
    replicas: Annotated[
        list[str] | None, typer.Option("--replicas", help="NAME=COUNT: more processes of a service; repeatable.")
    ] = None,
    nodes: Annotated[int | None, typer.Option(help="Cassandra nodes: 1 or 3.")] = None,
    foreground: Annotated[bool, typer.Option("--foreground", help="Show the logs and stop all on Ctrl-C.")] = False,
    as_json: AsJson = False,
) -> None:
    """Start engines and services, or change what runs; returns after the first answer."""
    from cli.progress import Progress
    from local_stack import first_answer, stack
    from local_stack.home import find_home

    home, desired = find_home(), _desired(replicas or [], nodes)
    settled: Mapping[str, Any] = {}
    with Progress() as progress:
        for event in stack.up(home, desired):
            if "plan" in event:
                progress.plan(event["plan"])
            elif "settled" in event:
                settled = event
            else:
                progress.event(event)
        progress.doing("asking the first question")
        greeting = first_answer.greet(home, settled["gateway"], settled["problems"])
    if login := greeting.login:
        save_login(greeting.gateway, login.email, login.access_token, login.refresh_token)
    _print_greeting(greeting, as_json=as_json)
    if foreground:
        _stay(home)
    elif greeting.failure:
        raise ServerFailed(f"Everything runs, but the check failed: {greeting.failure}")


def down() -> None:
    """Stop everything; data stays."""
    from local_stack import stack
    from local_stack.home import find_home

    ran = stack.down(find_home())
    _tell("stopped" if ran else "nothing was running")


def stop(name: Name) -> None:
    """Keep a service or an engine down on purpose, every replica of it."""
    _act("stop", name)


def start(name: Name) -> None:
    """Bring back what was stopped; returns when it is ready."""
    _act("start", name)


def restart(name: Name) -> None:
    """Restart one replica after the other, each when the one before is ready."""
    _act("restart", name)


def status(*, as_json: AsJson = False) -> None:
    """Show every process: state, memory, restarts, address."""
    from local_stack import stack
    from local_stack.control import NotRunning
    from local_stack.home import find_home

    home = find_home()
    try:
        found = stack.status(home)
    except NotRunning:
        if as_json:
            print_json({"gateway": None, "processes": []})
        raise
    if as_json:
        print_json(found)
    else:
        _print_status(found)


def logs(
    names: Annotated[list[str] | None, typer.Argument(help="Processes; all when none is named.")] = None,
    *,
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Go on as lines are written.")] = False,
    lines: Annotated[int, typer.Option("-n", "--lines", help="Lines of each log to begin with.")] = 40,
    as_json: AsJson = False,
) -> None:
    """Show the logs of all processes as one, in the order of time."""
    from local_stack import tail
    from local_stack.home import find_home

    folder = find_home().folder / "logs"
    wanted = names or []
    found = tail.logs(folder, wanted)
    if wanted and not found:
        raise typer.BadParameter(f"no log of {', '.join(wanted)} in {folder}")
    for line in tail.last_lines(found, lines):
        _print_line(line, as_json=as_json)
    if follow:
        for line in tail.follow(folder, wanted):
            _print_line(line, as_json=as_json)


def doctor(*, as_json: AsJson = False) -> None:
    """Look at everything the stack needs, and say how to fix what is missing."""
    from dataclasses import asdict

    from local_stack.doctor import examine
    from local_stack.home import find_home

    findings = list(examine(find_home(), _desired([], None)))
    if as_json:
        print_json({"findings": [asdict(finding) for finding in findings]})
    for finding in [] if as_json else findings:
        mark = typer.style("ok  ", fg="green") if finding.is_fine else typer.style("FAIL", fg="red")
        fix = f"\n       {finding.fix}" if finding.fix and not finding.is_fine else ""
        typer.echo(f"{mark} {finding.name:<22} {finding.detail}{fix}")
    if not all(finding.is_fine for finding in findings):
        raise typer.Exit(1)


def _when_installed(command: Callable[P, None]) -> Callable[P, None]:
    """The command, with the stack's own errors as those of the command line; one line where the stack is not there."""

    @wraps(command)
    def run(*words: P.args, **options: P.kwargs) -> None:
        if find_spec(PACKAGE) is None:
            raise NotConfigured(NOT_INSTALLED)
        from local_stack.control import NotRunning
        from local_stack.desired import InvalidDesiredState
        from local_stack.stack import Refused, SupervisorFailed

        try:
            command(*words, **options)
        except InvalidDesiredState as error:
            raise Usage(str(error)) from error
        except NotRunning as error:
            raise Unreachable(str(error)) from error
        except (Refused, SupervisorFailed) as error:
            raise ServerFailed(str(error)) from error

    return run


def _desired(replicas: list[str], nodes: int | None) -> "DesiredState":
    from local_stack.desired import gather
    from local_stack.home import checkout

    return gather(os.environ, checkout() / ".env", replicas, nodes)


def _act(command: str, name: str) -> None:
    from local_stack import stack
    from local_stack.home import find_home

    outcome = stack.act(find_home(), command, name)
    _tell(f"{name} is {'stopped' if 'stopped' in outcome else 'ready'}")


def _tell(text: str) -> None:
    """What was done, on standard error: there is no result."""
    complain(text, style="")


def _print_greeting(greeting: "Greeting", *, as_json: bool) -> None:
    """Results: the check, the login, three commands to try, and the address as the very last line."""
    if as_json:
        print_json(greeting.as_json())
        return
    for problem in greeting.problems:
        _tell(f"degraded: {problem}")
    if greeting.health.get("status") != "ok" and not greeting.problems:
        _tell(f"degraded: {json.dumps(greeting.health.get('capabilities', {}))}")
    faq = os.path.relpath(sys.argv[0]) if os.path.sep in sys.argv[0] else "faq"
    if greeting.summary:
        say(greeting.summary)
    if login := greeting.login:
        say(f"Login: {login.email}  {login.password}")
    say("Try:")
    say(f'  {faq} ask "How do I get my money back?"')
    say(f"  {faq} chat")
    say(f"  {faq} {'doctor' if greeting.problems or greeting.failure else 'status'}")
    say(greeting.gateway)


def _stay(home: "Home") -> None:
    """Show the logs until Ctrl-C, then stop everything."""
    from local_stack import stack, tail

    try:
        for line in tail.follow(home.folder / "logs", []):
            _print_line(line, as_json=False)
    except KeyboardInterrupt:
        _tell("stopping")
        stack.down(home)


def _print_line(line: Any, *, as_json: bool) -> None:  # noqa: ANN401 - a Line; its module is imported lazily
    if as_json:
        typer.echo(line.as_json())
        return
    colour = COLOURS[sum(line.process.encode()) % len(COLOURS)]
    typer.echo(f"{typer.style(f'{line.process:<22}', fg=colour)} {line.readable()}")


def _print_status(found: Mapping[str, Any]) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table("process", "state", "pid", "memory", "restarts", "address", box=None, pad_edge=False)
    for row in found["processes"]:
        name = row["name"] if row["replica"] == 1 else f"{row['name']}-{row['replica']}"
        memory = f"{row['rss_mb']:.0f} MB" if row["pid"] else ""
        state = Text(row["state"], style=STATES[row["state"]])
        table.add_row(name, state, str(row["pid"] or ""), memory, str(row["restarts"] or ""), row["url"] or "")
    table.columns[-1].overflow = "fold"  # a narrow terminal shows all of an address
    out().print(table)
    for problem in found["problems"]:
        say(problem, style="red")
    say(found["gateway"] or "")


def add_to(app: typer.Typer) -> None:
    """Register the commands of this module."""
    for command in (up, down, stop, start, restart, status, logs, doctor):
        app.command(rich_help_panel="The stack on this machine")(_when_installed(command))
