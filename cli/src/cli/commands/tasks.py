"""`faq analyze | research | tasks`: work in the background, watched until its report."""

import time
from pathlib import Path
from typing import Annotated, Any

import typer

from cli.client import Client
from cli.commands.options import AsJson, Limit, connected
from cli.errors import ServerFailed, TookTooLong
from cli.output import err, print_json, print_markdown, print_table, say, short_time

ENDED = ("succeeded", "failed", "cancelled")
LOOK_EVERY = 0.5
PATIENCE = 600
"""Seconds between looks at a task, and seconds a task is watched at most."""

Words = Annotated[list[str], typer.Argument(help="What to find out, in your own words.")]
Wait = Annotated[bool, typer.Option("--wait/--no-wait", help="Wait for the report.")]


def submit(client: Client, kind: str, description: str, file: Path | None = None) -> dict[str, Any]:
    """A new task of a kind: analyze (with a CSV file, if any) or research."""
    if file is not None:
        return client.upload(f"/tasks/{kind}", file, {}, {"description": description})
    return client.post(f"/tasks/{kind}", {"description": description})


def watch(client: Client, task_id: str) -> dict[str, Any]:
    """The task once it has ended, its progress shown on the way."""
    end = time.monotonic() + PATIENCE
    with err().status("Queued…") as status:
        while True:
            task = client.get(f"/tasks/{task_id}/status")
            if task["status"] in ENDED:
                return task
            if time.monotonic() > end:
                raise TookTooLong(f"Still running. Look again with: faq tasks {task_id}")
            progress = task.get("progress") or {}
            status.update(f"{progress.get('step') or task['status']} · {progress.get('percent') or 0} %")
            time.sleep(LOOK_EVERY)


def print_task(task: dict[str, Any]) -> None:
    """A task for a person: its report when it has one."""
    result, error = task.get("result"), task.get("error")
    if result:
        print_markdown(result["report_markdown"])
    elif error:
        say(f"Failed: {error['detail']}", style="red")
    else:
        progress = task.get("progress") or {}
        say(f"{task['kind']}: {task['status']}, {progress.get('percent') or 0} % {progress.get('step') or ''}")


def run(client: Client, kind: str, description: str, file: Path | None, *, wait: bool, as_json: bool) -> None:
    """Submit a task, and show its report once it is there."""
    task = submit(client, kind, description, file)
    if wait:
        task = watch(client, task["task_id"])
    if as_json:
        print_json(task)
    elif wait:
        print_task(task)
    else:
        say(f"Submitted. Look at it with: faq tasks {task['task_id']}")
    if task["status"] == "failed":
        raise ServerFailed(task["error"]["detail"])


def analyze(
    context: typer.Context,
    description: Words,
    file: Annotated[
        Path | None, typer.Option(help="A CSV file to analyze.", exists=True, dir_okay=False, readable=True)
    ] = None,
    *,
    wait: Wait = True,
    as_json: AsJson = False,
) -> None:
    """Analyze your conversations, or a CSV file."""
    with connected(context) as client:
        run(client, "analyze", " ".join(description), file, wait=wait, as_json=as_json)


def research(context: typer.Context, description: Words, *, wait: Wait = True, as_json: AsJson = False) -> None:
    """Collect what the knowledge base says about a topic, and what it lacks."""
    with connected(context) as client:
        run(client, "research", " ".join(description), None, wait=wait, as_json=as_json)


def tasks(
    context: typer.Context,
    task_id: Annotated[str | None, typer.Argument(help="A task; all of them when left out.")] = None,
    limit: Limit = 20,
    *,
    cancel: Annotated[bool, typer.Option("--cancel", help="Cancel the task.")] = False,
    as_json: AsJson = False,
) -> None:
    """List your tasks, or show or cancel one."""
    with connected(context) as client:
        if task_id is None:
            _list(client.get("/tasks", limit=limit), as_json=as_json)
            return
        if cancel:
            client.post(f"/tasks/{task_id}/cancel")
        task = client.get(f"/tasks/{task_id}/status")
    if as_json:
        print_json(task)
    else:
        print_task(task)


def _list(page: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(page)
    else:
        print_tasks(page)


def print_tasks(page: dict[str, Any]) -> None:
    """A list of tasks for a person."""
    rows = [(t["task_id"], t["kind"], t["status"], short_time(t["created_at"])) for t in page["tasks"]]
    print_table(("task", "kind", "status", "submitted"), rows, "No tasks yet. Try: faq analyze volume last month")


def add_to(app: typer.Typer) -> None:
    """Register the commands of this module."""
    for command in (analyze, research, tasks):
        app.command()(command)
