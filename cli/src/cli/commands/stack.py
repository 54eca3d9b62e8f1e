"""The commands that run the stack: `faq up|down|stop|start|restart|status|logs|doctor`. Cheap to import."""

import json
import os
import sys
from collections.abc import Callable, Mapping
from functools import wraps
from typing import TYPE_CHECKING, Annotated, Any, ParamSpec

import typer

if TYPE_CHECKING:
    from local_stack.desired import DesiredState
    from local_stack.home import Home
    from local_stack.progress import Progress

OK, USAGE, UNREACHABLE, SERVER = 0, 2, 5, 8
COLOURS = ("cyan", "green", "magenta", "yellow", "blue", "bright_cyan", "bright_green", "bright_magenta")
HEALING = 45.0  # seconds for a whole stack to answer and to call itself well
WIDE = 160
LOST = 10.0  # seconds for one that is known to lack something: what it can do, it does by then
P = ParamSpec("P")

Name = Annotated[str, typer.Argument(help="A service or an engine, such as chat-service or postgresql.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def register(app: typer.Typer) -> None:
    """Add the commands to an application."""
    for command in (up, down, stop, start, restart, status, logs, doctor):
        app.command(rich_help_panel="The stack on this machine")(_with_exit_codes(command))


def up(
    *,
    replicas: Annotated[
        list[str] | None, typer.Option("--replicas", help="NAME=COUNT: more processes of a service; repeatable.")
    ] = None,
    nodes: Annotated[int | None, typer.Option(help="Cassandra nodes: 1 or 3.")] = None,
    foreground: Annotated[bool, typer.Option("--foreground", help="Show the logs and stop all on Ctrl-C.")] = False,
    json_: AsJson = False,
) -> None:
    """Start engines and services, or change what runs; returns after the first answer."""
    from local_stack import stack
    from local_stack.home import find_home
    from local_stack.progress import Progress

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
        found = _greet(home, settled, progress)
    _print_greeting(found, as_json=json_)
    if foreground:
        _stay(home)


def down() -> None:
    """Stop everything; data stays."""
    from local_stack import stack
    from local_stack.home import find_home

    ran = stack.down(find_home())
    _say("stopped" if ran else "nothing was running")


def stop(name: Name) -> None:
    """Keep a service or an engine down on purpose, every replica of it."""
    _act("stop", name)


def start(name: Name) -> None:
    """Bring back what was stopped; returns when it is ready."""
    _act("start", name)


def restart(name: Name) -> None:
    """Restart one replica after the other, each when the one before is ready."""
    _act("restart", name)


def status(*, json_: AsJson = False) -> None:
    """Show every process: state, memory, restarts, address."""
    from local_stack import stack
    from local_stack.control import NotRunning
    from local_stack.home import find_home

    home = find_home()
    try:
        found = stack.status(home)
    except NotRunning:
        if json_:
            typer.echo(json.dumps({"gateway": None, "processes": []}))
        raise
    if json_:
        typer.echo(json.dumps(found))
    else:
        _print_table(found)


def logs(
    names: Annotated[list[str] | None, typer.Argument(help="Processes; all when none is named.")] = None,
    *,
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Go on as lines are written.")] = False,
    lines: Annotated[int, typer.Option("-n", "--lines", help="Lines of each log to begin with.")] = 40,
    json_: AsJson = False,
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
        _print_line(line, as_json=json_)
    if follow:
        for line in tail.follow(folder, wanted):
            _print_line(line, as_json=json_)


def doctor(*, json_: AsJson = False) -> None:
    """Look at everything the stack needs, and say how to fix what is missing."""
    from dataclasses import asdict

    from local_stack.doctor import examine
    from local_stack.home import find_home

    findings = list(examine(find_home(), _desired([], None)))
    if json_:
        typer.echo(json.dumps({"findings": [asdict(finding) for finding in findings]}))
    for finding in [] if json_ else findings:
        mark = typer.style("ok  ", fg="green") if finding.is_fine else typer.style("FAIL", fg="red")
        fix = f"\n       {finding.fix}" if finding.fix and not finding.is_fine else ""
        typer.echo(f"{mark} {finding.name:<22} {finding.detail}{fix}")
    if not all(finding.is_fine for finding in findings):
        raise typer.Exit(1)


def _with_exit_codes(command: Callable[P, None]) -> Callable[P, None]:
    """Every failure is one line on stderr and the exit code the command line documents."""

    @wraps(command)
    def run(*words: P.args, **options: P.kwargs) -> None:
        from local_stack.control import NotRunning
        from local_stack.desired import InvalidDesiredState
        from local_stack.first_answer import NoFirstAnswer
        from local_stack.stack import Refused, SupervisorFailed

        codes = {
            InvalidDesiredState: USAGE,
            NotRunning: UNREACHABLE,
            Refused: SERVER,
            SupervisorFailed: SERVER,
            NoFirstAnswer: SERVER,
        }
        try:
            command(*words, **options)
        except tuple(codes) as error:
            _say(str(error))
            raise typer.Exit(next(code for kind, code in codes.items() if isinstance(error, kind))) from error

    return run


def _desired(replicas: list[str], nodes: int | None) -> "DesiredState":
    from local_stack.desired import gather
    from local_stack.home import checkout

    return gather(os.environ, checkout() / ".env", replicas, nodes)


def _act(command: str, name: str) -> None:
    from local_stack import stack
    from local_stack.home import find_home

    outcome = stack.act(find_home(), command, name)
    _say(f"{name} is {'stopped' if 'stopped' in outcome else 'ready'}")


def _greet(home: "Home", settled: Mapping[str, Any], progress: "Progress") -> dict[str, Any]:
    """Log in, ask the first question, and collect what a newcomer needs to know."""
    from local_stack.first_answer import NoFirstAnswer, first_answer, log_in, wait_until_whole

    gateway = str(settled["gateway"])
    problems = list(settled["problems"])
    patience = LOST if problems else HEALING
    login, answer = None, None
    progress.doing("asking the first question")
    try:
        login = log_in(home, gateway, patience)
        _remember(gateway, login.email, login.access_token, login.refresh_token)
        answer = first_answer(gateway, login.access_token, patience)
    except NoFirstAnswer as error:
        if not problems:
            raise
        problems.append(str(error))
    health = wait_until_whole(gateway, 0.0 if problems else HEALING)
    return {"gateway": gateway, "login": login, "answer": answer, "health": health, "problems": problems}


def _remember(base_url: str, email: str, access_token: str, refresh_token: str) -> None:
    """Log the command line in; without the `faq` package there is nothing to log in."""
    try:
        from cli.session import save_login
    except ModuleNotFoundError:
        return
    save_login(base_url, email, access_token, refresh_token)


def _print_greeting(found: Mapping[str, Any], *, as_json: bool) -> None:
    """Results: the check, the login, three commands to try, and the address as the very last line."""
    answer, health, login, problems = found["answer"], found["health"], found["login"], found["problems"]
    if as_json:
        email = login.email if login else None
        typer.echo(json.dumps({"gateway": found["gateway"], "email": email, "answer": answer, "problems": problems}))
        return
    for problem in problems:
        _say(f"degraded: {problem}")
    if health.get("status") != "ok" and not problems:
        _say(f"degraded: {json.dumps(health.get('capabilities', {}))}")
    faq = os.path.relpath(sys.argv[0]) if os.path.sep in sys.argv[0] else "faq"
    if answer:
        typer.echo(f"First answer, {answer['confidence']:.0%} sure: {answer['reply'].splitlines()[0]}")
    if login:
        typer.echo(f"Login: {login.email}  {login.password}")
    typer.echo("Try:")
    typer.echo(f'  {faq} ask "How do I get my money back?"')
    typer.echo(f"  {faq} chat")
    typer.echo(f"  {faq} {'doctor' if problems else 'status'}")
    typer.echo(found["gateway"])


def _stay(home: "Home") -> None:
    """Show the logs until Ctrl-C, then stop everything."""
    from local_stack import stack, tail

    try:
        for line in tail.follow(home.folder / "logs", []):
            _print_line(line, as_json=False)
    except KeyboardInterrupt:
        _say("stopping")
        stack.down(home)


def _print_line(line: Any, *, as_json: bool) -> None:  # noqa: ANN401 - a Line; its module is imported lazily
    if as_json:
        typer.echo(line.as_json())
        return
    colour = COLOURS[sum(line.process.encode()) % len(COLOURS)]
    typer.echo(f"{typer.style(f'{line.process:<22}', fg=colour)} {line.readable()}")


def _print_table(found: Mapping[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("process", "state", "pid", "memory", "restarts", "address", box=None, pad_edge=False)
    colours = {"ready": "green", "starting": "yellow", "failed": "red", "stopped": "dim"}
    for row in found["processes"]:
        name = row["name"] if row["replica"] == 1 else f"{row['name']}-{row['replica']}"
        memory = f"{row['rss_mb']:.0f} MB" if row["pid"] else ""
        state = f"[{colours[row['state']]}]{row['state']}[/]"
        table.add_row(name, state, str(row["pid"] or ""), memory, str(row["restarts"] or ""), row["url"] or "")
    console = Console()
    if not console.is_terminal:
        console.width = WIDE  # nothing is cut off in a pipe
    console.print(table)
    for problem in found["problems"]:
        console.print(problem, style="red", markup=False, soft_wrap=True)
    console.print(found["gateway"] or "")


def _say(text: str) -> None:
    typer.echo(text, err=True)
