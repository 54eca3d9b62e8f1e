"""`faq register | login | logout`: who is talking."""

import getpass
import os
import sys
from typing import Annotated

import typer

from cli.commands.options import AsJson, connected
from cli.errors import CommandError, Usage
from cli.output import complain, print_json, say
from cli.session import forget_login, save_login

Email = Annotated[str, typer.Argument(help="Your e-mail address.")]
FromStdin = Annotated[bool, typer.Option("--password-stdin", help="Read the password from standard input.")]


def _password(*, from_stdin: bool, twice: bool = False) -> str:
    """The password from FAQ_PASSWORD, standard input or a prompt; never from the command line."""
    given = os.environ.get("FAQ_PASSWORD")
    if given:
        return given
    if from_stdin or not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\n")
    first = getpass.getpass("Password: ")
    if twice and getpass.getpass("Again: ") != first:
        raise Usage("The two passwords differ.")
    return first


def register(
    context: typer.Context,
    email: Email,
    plan: Annotated[str, typer.Option(help="free, pro or enterprise.")] = "free",
    organization: Annotated[str | None, typer.Option(help="Name of your organization.")] = None,
    *,
    password_stdin: FromStdin = False,
    sample: Annotated[bool, typer.Option(help="Answer from the starter knowledge base at first.")] = True,
    as_json: AsJson = False,
) -> None:
    """Make an account and an organization, and log in."""
    body = {
        "email": email,
        "password": _password(from_stdin=password_stdin, twice=True),
        "subscription_plan": plan,
        "sample": sample,
    }
    with connected(context) as client:
        made = client.anonymous(
            "POST", "/auth/register", body | ({"organization": organization} if organization else {})
        )
        save_login(client.url, email, made["access_token"], made["refresh_token"])
    if as_json:
        print_json({"user": made["user"], "organization": made["organization"]})
    else:
        say(f"Welcome. You own {made['organization']['name']} on the {made['organization']['plan']} plan.")
        say('Try: faq ask "What is Redis?"')


def login(context: typer.Context, email: Email, *, password_stdin: FromStdin = False, as_json: AsJson = False) -> None:
    """Log in; the login is kept until `faq logout`."""
    with connected(context) as client:
        body = {"email": email, "password": _password(from_stdin=password_stdin)}
        tokens = client.anonymous("POST", "/auth/login", body)
        save_login(client.url, email, tokens["access_token"], tokens["refresh_token"])
        url = client.url
    if as_json:
        print_json({"url": url, "email": email})
    else:
        say(f"Logged in at {url} as {email}.")


def logout(context: typer.Context) -> None:
    """End the login, here and on the server."""
    with connected(context) as client:
        if client.login is None:
            say(f"You are not logged in at {client.url}.")
            return
        try:
            client.post("/auth/logout", {"refresh_token": client.login.refresh_token})
        except CommandError as error:
            complain(f"The server was not told: {error}", style="yellow")
        forget_login(client.url)
        say(f"Logged out of {client.url}.")


def add_to(app: typer.Typer) -> None:
    """Register the commands of this module."""
    for command in (register, login, logout):
        app.command()(command)
