"""`faq kb …`: the knowledge base of your organization."""

import time
from pathlib import Path
from typing import Annotated, Any

import typer

from cli.client import Client
from cli.commands.options import AsJson, Limit, connected
from cli.errors import PartlyDone, TookTooLong, Usage
from cli.output import print_json, print_table, say, spinner, verbatim

LOOK_EVERY = 0.3
PATIENCE = 600

kb = typer.Typer(help="The knowledge base of your organization.", no_args_is_help=True)

ArticleId = Annotated[str, typer.Argument(help="An article's id.")]
Question = Annotated[str | None, typer.Option(help="The question it answers.")]
Answer = Annotated[str | None, typer.Option(help="The answer, Markdown.")]
Alternatives = Annotated[list[str] | None, typer.Option("--alternative", help="Another way to ask; may be repeated.")]
Tags = Annotated[list[str] | None, typer.Option("--tag", help="A tag; may be repeated.")]


def _show(article: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(article)
        return
    say(article["question"], style="bold")
    for alternative in article.get("alternatives") or []:
        say(f"  or: {alternative}", style="dim")
    verbatim(article["answer"])
    tags = ", ".join(article.get("tags") or []) or "no tags"
    say(f"{article['id']} · version {article['version']} · {article['status']} · {tags}", style="dim")


@kb.command("list")
def list_articles(
    context: typer.Context,
    query: Annotated[str | None, typer.Option("--q", help="Words to look for.")] = None,
    status: Annotated[str | None, typer.Option(help="draft or published.")] = None,
    tag: Annotated[str | None, typer.Option(help="A tag.")] = None,
    limit: Limit = 20,
    *,
    as_json: AsJson = False,
) -> None:
    """List articles."""
    with connected(context) as client:
        page = client.get("/knowledge/articles", q=query, status=status, tag=tag, limit=limit)
    if as_json:
        print_json(page)
        return
    rows = [(a["id"], a["status"], a["version"], a["question"]) for a in page["articles"]]
    print_table(("id", "status", "version", "question"), rows, "No articles of your own yet: try faq kb add.")


@kb.command()
def show(context: typer.Context, article_id: ArticleId, *, as_json: AsJson = False) -> None:
    """Show an article."""
    with connected(context) as client:
        _show(client.get(f"/knowledge/articles/{article_id}"), as_json=as_json)


@kb.command()
def search(
    context: typer.Context,
    words: Annotated[list[str], typer.Argument(help="What to look for.")],
    limit: Limit = 5,
    *,
    as_json: AsJson = False,
) -> None:
    """Search what is published."""
    with connected(context) as client:
        found = client.get("/knowledge/search", q=" ".join(words), limit=limit)
    if as_json:
        print_json(found)
    else:
        rows = [(f"{hit['score']:.2f}", hit["question"]) for hit in found["results"]]
        print_table(("score", "question"), rows, "Nothing fits.")


@kb.command()
def add(
    context: typer.Context,
    question: Annotated[str, typer.Option(help="The question it answers.")],
    answer: Annotated[str, typer.Option(help="The answer, Markdown.")],
    alternative: Alternatives = None,
    tag: Tags = None,
    *,
    as_json: AsJson = False,
) -> None:
    """Draft an article; it answers once it is published."""
    body = {"question": question, "answer": answer, "alternatives": alternative or [], "tags": tag or []}
    with connected(context) as client:
        _show(client.post("/knowledge/articles", body), as_json=as_json)


@kb.command()
def edit(
    context: typer.Context,
    article_id: ArticleId,
    question: Question = None,
    answer: Answer = None,
    alternative: Alternatives = None,
    tag: Tags = None,
    *,
    as_json: AsJson = False,
) -> None:
    """Change an article; the change answers once it is published."""
    given = {"question": question, "answer": answer, "alternatives": alternative, "tags": tag}
    body = {name: value for name, value in given.items() if value is not None}
    if not body:
        raise Usage("Say what to change: --question, --answer, --alternative or --tag.")
    with connected(context) as client:
        _show(client.patch(f"/knowledge/articles/{article_id}", body), as_json=as_json)


@kb.command()
def delete(context: typer.Context, article_id: ArticleId) -> None:
    """Delete an article; it stops answering at the next publish."""
    with connected(context) as client:
        client.delete(f"/knowledge/articles/{article_id}")
    say("Deleted. It stops answering at the next `faq kb publish`.")


@kb.command()
def publish(context: typer.Context, *, as_json: AsJson = False) -> None:
    """Let the drafts answer from now on."""
    with connected(context) as client:
        published = client.post("/knowledge/publish")
    if as_json:
        print_json(published)
    else:
        say(f"Published {published['articles']} articles as epoch {published['epoch']}.")


@kb.command("import")
def import_file(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="CSV, JSON, JSONL or Markdown.", exists=True, dir_okay=False)],
    *,
    publish_after: Annotated[bool, typer.Option("--publish", help="Publish when it is in.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would happen.")] = False,
    as_json: AsJson = False,
) -> None:
    """Import articles from a file; known ones are updated. Exit code 9: some rows were refused, the others are in."""
    query = {"publish": str(publish_after).lower(), "dry_run": str(dry_run).lower()}
    with connected(context) as client:
        accepted = client.upload("/knowledge/import", file, query)
        with spinner("Importing…"):
            report = _wait(client, accepted["location"])
    if as_json:
        print_json(report)
    else:
        _print_report(report)
    if report["state"] == "failed":
        raise Usage("The import failed; nothing was published.")
    if refused := report["rows"]["failed"]:
        raise PartlyDone(f"{refused} of {report['rows']['total']} rows were refused.")


def _wait(client: Client, location: str) -> dict[str, Any]:
    end = time.monotonic() + PATIENCE
    while (report := client.get(location))["state"] == "running":
        if time.monotonic() > end:
            raise TookTooLong(f"Still importing. Look again at {location}.")
        time.sleep(LOOK_EVERY)
    return report


def _print_report(report: dict[str, Any]) -> None:
    rows = report["rows"]
    parts = ", ".join(f"{rows[name]} {name}" for name in ("created", "updated", "unchanged", "failed"))
    say(f"{rows['total']} rows: {parts}.")
    for error in report["errors"]:
        say(f"  row {error['row']}: {error['message']}", style="yellow")
    if report.get("epoch"):
        say(f"Published as epoch {report['epoch']}.")


def add_to(app: typer.Typer) -> None:
    """Register the commands of this module."""
    app.add_typer(kb, name="kb")
