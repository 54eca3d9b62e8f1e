"""Which error replies of Redis mean that it cannot serve, and which that we asked wrongly."""

import pytest
from redis._parsers.base import BaseParser
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError

from shared.redis import OURS, code_of

CANNOT_SERVE = {
    "OOM command not allowed when used memory > 'maxmemory'.": "OOM",
    "READONLY You can't write against a read only replica.": "READONLY",
    "MISCONF Valkey is configured to save RDB snapshots, but it's currently unable to persist to disk.": "MISCONF",
    "CLUSTERDOWN Hash slot not served": "CLUSTERDOWN",
    "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.": "MASTERDOWN",
    "NOREPLICAS Not enough good replicas to write.": "NOREPLICAS",
    "NOPERM User default has no permissions to run the 'set' command": "NOPERM",
    "BUSY Valkey is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.": "BUSY",
    "UNBLOCKED force unblock from blocking operation, instance state changed": "UNBLOCKED",
    "TRYAGAIN Multiple keys request during rehashing of slot": "TRYAGAIN",
    "EXECABORT Transaction discarded because of: OOM command not allowed when used memory > 'maxmemory'.": "OOM",
    "ERR Error running script: @user_script:1: -OOM command not allowed when used memory > 'maxmemory'.": "OOM",
}
NO_CONNECTION = (
    "LOADING Valkey is loading the dataset in memory",
    "NOAUTH Authentication required.",
    "WRONGPASS invalid username-password pair or user is disabled.",
    "ERR max number of clients reached",
)
ASKED_WRONGLY = (
    "ERR syntax error",
    "ERR value is not an integer or out of range",
    "WRONGTYPE Operation against a key holding the wrong kind of value",
    "NOSCRIPT No matching script. Please use EVAL.",
    "BUSYGROUP Consumer Group name already exists",
    "NOGROUP No such key 'x' or consumer group 'y'",
    "wrong number of arguments",
)


def in_a_pipeline(text: str) -> ResponseError:
    """As redis-py words it: around the arguments of the error that the server sent."""
    return ResponseError(f"Command # 2 (SET key value) of pipeline caused error: {(text,)}")


@pytest.mark.parametrize(("text", "code"), CANNOT_SERVE.items())
def test_a_server_that_says_it_cannot_serve_is_understood(text: str, code: str) -> None:
    error = BaseParser.parse_error(text)

    assert isinstance(error, ResponseError)
    assert code_of(error) == code
    assert code not in OURS


@pytest.mark.parametrize("text", [text for text in CANNOT_SERVE if not text.startswith("EXECABORT")])
def test_it_is_understood_from_inside_a_pipeline_too(text: str) -> None:
    assert code_of(in_a_pipeline(text)) not in OURS


@pytest.mark.parametrize("text", NO_CONNECTION)
def test_a_server_that_lets_nobody_in_counts_as_not_reached(text: str) -> None:
    assert isinstance(BaseParser.parse_error(text), RedisConnectionError)


@pytest.mark.parametrize("text", ASKED_WRONGLY)
def test_a_mistake_of_ours_stays_a_mistake(text: str) -> None:
    assert code_of(BaseParser.parse_error(text)) in OURS
    assert code_of(in_a_pipeline(text)) in OURS
