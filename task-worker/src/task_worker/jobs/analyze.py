"""`analyze`: the organization's conversations, or the CSV that came with the task."""

from collections.abc import AsyncIterator
from typing import Protocol

from task_worker.domain.execution import Progress
from task_worker.domain.period import parse_period
from task_worker.domain.report import Report
from task_worker.domain.task import Attempt
from task_worker.jobs.conversations import ConversationAnalysis
from task_worker.jobs.tables.sandbox import TableAnalysis


class Uploads(Protocol):
    """Where uploaded files are."""

    def upload_of(self, attempt: Attempt) -> AsyncIterator[bytes]:
        """The pieces of the file of a task."""
        ...


class Analyze:
    """Chooses what is analysed."""

    def __init__(
        self,
        conversations: ConversationAnalysis,
        tables: TableAnalysis,
        uploads: Uploads,
    ) -> None:
        self._conversations = conversations
        self._tables = tables
        self._uploads = uploads

    async def __call__(self, attempt: Attempt, progress: Progress) -> Report:
        """Analyse; "last month" means the month before the task was submitted, however late it runs."""
        period = parse_period(attempt.description, attempt.created_at)
        if attempt.upload_name is None:
            return await self._conversations.report(attempt, period, progress)
        return await self._tables.report(attempt, period, self._uploads.upload_of(attempt), progress)
