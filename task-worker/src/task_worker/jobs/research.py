"""`research`: sub-questions against the organization's knowledge base."""

from task_worker.domain.execution import Progress
from task_worker.domain.report import Report
from task_worker.domain.research import PER_QUERY, Knowledge, research_report, sub_questions
from task_worker.domain.task import Attempt


class Research:
    """Looks every sub-question up and reports what is there and what is missing."""

    def __init__(self, knowledge: Knowledge) -> None:
        self._knowledge = knowledge

    async def __call__(self, attempt: Attempt, progress: Progress) -> Report:
        """Research the description of a task."""
        questions = sub_questions(attempt.description)
        await progress(20, f"looking up {len(questions)} sub-questions")
        lookup = await self._knowledge.look_up(
            attempt.organization_id, [question.text for question in questions], PER_QUERY
        )
        await progress(80, "writing the report")
        return research_report(attempt.description, questions, lookup)
