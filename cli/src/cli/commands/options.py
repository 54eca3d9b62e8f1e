"""Options that many commands share, and the client they make."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer

from cli.client import Client
from cli.session import chosen_url

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
Limit = Annotated[int, typer.Option("--limit", min=1, max=100, help="How many to show.")]


def server(context: typer.Context) -> str:
    """The server that this call talks to."""
    return chosen_url(context.obj)


@contextmanager
def connected(context: typer.Context) -> Iterator[Client]:
    """A client of that server."""
    client = Client(server(context))
    try:
        yield client
    finally:
        client.close()
