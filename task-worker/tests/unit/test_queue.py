"""procrastinate is kept with some of its methods replaced (ADR 0007): what we replace is there, as we know it."""

import inspect
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from procrastinate import connector, exceptions, jobs, manager, retry
from procrastinate.worker import Worker

from task_worker.store.queue import AsyncpgConnector, FencedJobs, _numbered, _row
from task_worker.worker import Again, TryAgain

JOB = jobs.Job(id=1, queue="tasks", lock=None, queueing_lock=None, task_name="run_task")


def replaced(ours: type, theirs: type) -> list[str]:
    return [name for name, member in vars(ours).items() if inspect.isfunction(member) and hasattr(theirs, name)]


@pytest.mark.parametrize(
    ("ours", "theirs", "names"),
    [
        (
            AsyncpgConnector,
            connector.BaseAsyncConnector,
            {"open_async", "close_async", "execute_query_async", "execute_query_one_async", "execute_query_all_async"}
            | {"listen_notify"},
        ),
        (FencedJobs, manager.JobManager, {"finish_job", "retry_job", "update_heartbeat"}),
        (Again, retry.BaseRetryStrategy, {"get_retry_decision"}),
    ],
)
def test_every_method_that_we_replace_is_still_one_of_procrastinates(ours: type, theirs: type, names: set[str]) -> None:
    assert names <= set(replaced(ours, theirs))
    for name in names:
        wanted = list(inspect.signature(getattr(theirs, name)).parameters)
        assert list(inspect.signature(getattr(ours, name)).parameters) == wanted, name


def test_the_worker_takes_the_times_that_we_give_it() -> None:
    taken = set(inspect.signature(Worker.__init__).parameters)

    assert {
        "fetch_job_polling_interval",
        "abort_job_polling_interval",
        "shutdown_graceful_timeout",
        "delete_jobs",
        "install_signal_handlers",
        "update_heartbeat_interval",
        "stalled_worker_timeout",
    } <= taken


@pytest.mark.parametrize(
    ("query", "numbered", "names"),
    [
        ("SELECT 1", "SELECT 1", ()),
        ("SELECT %(a)s", "SELECT $1", ("a",)),
        ("SELECT %(b)s, %(a)s, %(b)s", "SELECT $1, $2, $1", ("b", "a")),
    ],
)
def test_statements_of_procrastinate_are_numbered_for_asyncpg(
    query: str, numbered: str, names: tuple[str, ...]
) -> None:
    assert _numbered(query) == (numbered, names)


def test_arguments_of_a_job_come_back_as_data() -> None:
    record: Any = {"id": 1, "args": '{"task_id": "x"}'}

    assert _row(record) == {"id": 1, "args": {"task_id": "x"}}


@pytest.mark.parametrize(
    ("error", "seconds"),
    [(TryAgain(timedelta(seconds=4)), 4.0), (TryAgain(timedelta(0)), 0.0), (LookupError("lost"), 1.0)],
)
def test_a_job_comes_back_after_the_wait_it_named(error: Exception, seconds: float) -> None:
    decision = Again().get_retry_decision(exception=error, job=JOB)

    assert decision.retry_at is not None
    wait = (decision.retry_at - datetime.now(UTC)).total_seconds()
    assert wait == pytest.approx(seconds, abs=0.5)


async def test_a_query_without_rows_says_so_as_procrastinate_expects() -> None:
    class Empty(AsyncpgConnector):
        async def execute_query_all_async(self, query: str, **arguments: Any) -> list[dict[str, Any]]:
            assert (query, arguments) == ("SELECT", {})
            return []

    with pytest.raises(exceptions.NoResult):
        await Empty(None, None).execute_query_one_async("SELECT")  # type: ignore[arg-type]
