"""The table of public paths."""

import pytest

from gateway.app import ROUTES
from gateway.routes.table import RouteTable
from shared.errors import MethodNotAllowed, NotFound

TABLE = RouteTable(ROUTES)
PUBLIC = {
    "POST /auth/register",
    "POST /auth/login",
    "POST /auth/refresh",
    "GET /.well-known/jwks.json",
    "GET /billing/plans",
    "GET /",
    "GET /health",
    "GET /health/live",
    "GET /health/ready",
    "GET /openapi.json",
    "GET /docs",
    "GET /docs/{asset}",
}


def test_nothing_is_public_but_what_has_to_be() -> None:
    assert {f"{route.method} {route.path}" for route in ROUTES if route.access == "public"} == PUBLIC


def test_nothing_internal_is_in_the_table() -> None:
    assert not [route.path for route in ROUTES if "internal" in route.path]


def test_every_operation_has_one_name_and_every_path_one_meaning() -> None:
    assert len({(route.method, route.path) for route in ROUTES}) == len(ROUTES)
    assert len({(route.service, route.operation) for route in ROUTES}) == len(ROUTES)


def test_a_parameter_is_passed_on_as_it_was_matched() -> None:
    match = TABLE.match("GET", b"/chat/history/a%3Ab%3ac")

    assert (match.route.operation, match.path) == ("get_history", b"/chat/history/a:b:c")


def test_a_fixed_path_wins_over_a_parameter() -> None:
    assert TABLE.match("GET", b"/notifications/stream").route.operation == "stream_notifications"
    assert TABLE.match("POST", b"/notifications/read-all").route.operation == "read_all"


@pytest.mark.parametrize(
    "path",
    [b"//", b"", b"/chat", b"/chat/history", b"/chat/history/", b"/chat/history/.", b"/chat/history/" + b"x" * 129],
)
def test_what_is_not_in_the_table_does_not_exist(path: bytes) -> None:
    with pytest.raises(NotFound):
        TABLE.match("GET", path)


def test_another_method_is_told_which_are_allowed() -> None:
    with pytest.raises(MethodNotAllowed) as refused:
        TABLE.match("POST", b"/knowledge/articles/a1")

    assert refused.value.headers == {"Allow": "DELETE, GET, PATCH, HEAD"}
