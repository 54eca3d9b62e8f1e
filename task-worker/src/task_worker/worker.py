"""The worker process: procrastinate's loop over our queue, delivery of what is due, the search for lost work."""

import asyncio
import contextlib
import os
import signal
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from uuid import UUID

import procrastinate
import structlog
from procrastinate import jobs, retry
from procrastinate.worker import Worker as ProcrastinateWorker

from shared.background import Background, start_all
from shared.errors import ServiceError
from shared.http_client import ServiceClient
from shared.identity import IdentitySigner
from shared.ids import new_id
from shared.postgres import Postgres
from task_worker.clients.conversations import ChatConversations
from task_worker.clients.knowledge import ServiceKnowledge
from task_worker.clients.notifications import ServiceNotifications
from task_worker.clients.quota import AuthQuota
from task_worker.domain.delivery import BATCH, Delivery
from task_worker.domain.execution import Execution, Handler, Retries
from task_worker.domain.task import Kind
from task_worker.jobs.analyze import Analyze
from task_worker.jobs.conversations import ConversationAnalysis
from task_worker.jobs.research import Research
from task_worker.jobs.tables.sandbox import TableAnalysis
from task_worker.settings import TaskSettings
from task_worker.store.delivery import PostgresDelivery
from task_worker.store.queue import AsyncpgConnector, FencedJobs, Rescue
from task_worker.store.tasks import JOB, QUEUE
from task_worker.store.work import PostgresWork

log = structlog.get_logger()

SPARE_CONNECTIONS = 4
"""Beside one per running task: heartbeat, fetching, delivery and search."""
RESTART_PAUSE = timedelta(seconds=1)
FORGET_EVERY = timedelta(minutes=10)


class TryAgain(Exception):
    """The job has to run again after `wait`."""

    def __init__(self, wait: timedelta) -> None:
        super().__init__(f"in {wait.total_seconds():.1f} s")
        self.wait = wait


class Again(retry.BaseRetryStrategy):
    """Every job that did not end by itself comes back; whether a task is given up is the domain's decision alone."""

    def get_retry_decision(self, *, exception: BaseException, job: jobs.Job) -> retry.RetryDecision:  # noqa: ARG002 - procrastinate's signature
        """When a job that raised has to run again: at once when its worker stops, else after the wait it named."""
        if isinstance(exception, asyncio.CancelledError):
            return retry.RetryDecision(retry_in={"seconds": 0})
        wait = exception.wait if isinstance(exception, TryAgain) else RESTART_PAUSE
        return retry.RetryDecision(retry_in={"milliseconds": int(wait.total_seconds() * 1000)})


@dataclass(frozen=True, slots=True)
class _Neighbours:
    auth: ServiceClient
    chat: ServiceClient
    knowledge: ServiceClient
    notifications: ServiceClient

    @classmethod
    def of(cls, settings: TaskSettings) -> "_Neighbours":
        signer = IdentitySigner(settings.identity_key, settings.service)
        return cls(
            ServiceClient("auth-service", settings.auth_service_url, signer, capability="accounts"),
            ServiceClient("chat-service", settings.chat_service_url, signer, capability="conversations"),
            ServiceClient("knowledge-service", settings.knowledge_service_url, signer, capability="knowledge"),
            ServiceClient(
                "notification-service", settings.notification_service_url, signer, capability="notifications"
            ),
        )

    def __iter__(self) -> Iterator[ServiceClient]:
        return iter((self.auth, self.chat, self.knowledge, self.notifications))


class WorkerProcess:
    """Everything that one worker process does between start and SIGTERM."""

    def __init__(self, settings: TaskSettings) -> None:
        self._settings = settings
        self._name = f"{settings.worker_name}:{os.getpid()}:{str(new_id())[-12:]}"
        self._stopping = asyncio.Event()
        self._deliver_now = asyncio.Event()
        self._postgres = Postgres(
            settings, capability="tasks", connections=settings.worker_concurrency + SPARE_CONNECTIONS
        )
        self._neighbours = _Neighbours.of(settings)
        self._store = PostgresDelivery(self._postgres)
        self._rescue = Rescue(self._postgres, settings.stalled_after)
        self._delivery = Delivery(
            self._store,
            self._store,
            ServiceNotifications(self._neighbours.notifications),
            AuthQuota(self._neighbours.auth),
        )
        self._queue = self._make_queue(self._make_execution())
        self._current: ProcrastinateWorker | None = None

    def _make_execution(self) -> Execution:
        settings = self._settings
        work = PostgresWork(self._postgres)
        analyze = Analyze(
            ConversationAnalysis(ChatConversations(self._neighbours.chat), settings.analysis_memory),
            TableAnalysis(settings.analysis_memory, settings.analysis_limit),
            work,
        )
        retries = Retries(settings.retry_base, settings.retry_cap, settings.max_failures, settings.patience)
        handlers: Mapping[Kind, Handler] = {
            "analyze": analyze,
            "research": Research(ServiceKnowledge(self._neighbours.knowledge)),
        }
        return Execution(work, handlers, retries, worker=self._name, ended=self._deliver_now.set)

    def _make_queue(self, execution: Execution) -> procrastinate.App:
        connector = AsyncpgConnector(self._postgres, self._settings)
        app = procrastinate.App(connector=connector)
        app.job_manager = FencedJobs(connector, self._postgres)

        @app.task(name=JOB, queue=QUEUE, retry=Again())
        async def run_task(organization_id: str, task_id: str) -> None:
            wait = await execution.run_task(organization_id, UUID(task_id))
            if wait is not None:
                raise TryAgain(wait)

        return app

    async def run(self) -> None:
        """Work until SIGTERM or SIGINT; running tasks get `hand_back` to end, then go back to the queue."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop)
        async with AsyncExitStack() as stack:
            await start_all(stack, self._postgres, *self._neighbours)
            background = await stack.enter_async_context(Background())
            log.info("worker_started", worker=self._name, concurrency=self._settings.worker_concurrency)
            background.keep(partial(self._repeat, self._deliver, self._deliver_now), "delivery")
            background.keep(partial(self._repeat, self._search, asyncio.Event()), "search for lost tasks")
            background.keep(partial(self._repeat, self._forget, asyncio.Event(), FORGET_EVERY), "forgetting")
            await self._keep_working()
            with contextlib.suppress(ServiceError):
                await self._deliver()
        log.info("worker_stopped", worker=self._name)

    def _stop(self) -> None:
        self._stopping.set()
        if self._current is not None:
            self._current.stop()  # type: ignore[no-untyped-call]  # procrastinate leaves it bare

    async def _keep_working(self) -> None:
        """Run procrastinate's loop and run it again when it ended because the database was away."""
        while not self._stopping.is_set():
            settings = self._settings
            self._current = ProcrastinateWorker(
                self._queue,
                queues=[QUEUE],
                name=self._name,
                concurrency=settings.worker_concurrency,
                fetch_job_polling_interval=settings.sweep.total_seconds(),
                abort_job_polling_interval=settings.sweep.total_seconds(),
                shutdown_graceful_timeout=settings.hand_back.total_seconds(),
                delete_jobs="always",
                install_signal_handlers=False,
                update_heartbeat_interval=settings.heartbeat.total_seconds(),
                stalled_worker_timeout=settings.stalled_after.total_seconds(),
            )
            try:
                await self._current.run()  # type: ignore[no-untyped-call]  # procrastinate leaves it bare
            except Exception as error:  # noqa: BLE001 - the outermost loop of the worker: it goes on once it can
                log.warning("worker_interrupted", error=repr(error))
                await self._pause(RESTART_PAUSE)

    async def _repeat(
        self, work: Callable[[], Awaitable[None]], wake: asyncio.Event, every: timedelta | None = None
    ) -> None:
        """Do `work` now and then, and at once when woken; a failed round is the next one's business."""
        while True:
            try:
                await work()
            except Exception as error:  # noqa: BLE001 - an outermost loop of the worker
                log.warning("round_failed", work=work.__name__, error=repr(error))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout((every or self._settings.sweep).total_seconds()):
                    await wake.wait()
            wake.clear()

    async def _deliver(self) -> None:
        while await self._delivery.deliver_due() >= BATCH:
            pass

    async def _search(self) -> None:
        found = await self._rescue.rescue_lost()
        if found:
            log.warning("lost_tasks_found", count=found)

    async def _forget(self) -> None:
        await self._store.forget(self._settings.kept)

    async def _pause(self, time: timedelta) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(time.total_seconds()):
                await self._stopping.wait()


def work(settings: TaskSettings) -> None:
    """Run a worker process until it is asked to stop."""

    async def run() -> None:
        await WorkerProcess(settings).run()

    asyncio.run(run())
