"""From submission to report, notification and charge, with a real worker process."""

from typing import Any

from shared.testing import eventually


async def test_a_task_runs_to_a_report_is_told_once_and_charged_once(
    person: Any, workers: Any, neighbours: Any
) -> None:
    workers.start()
    task_id = await person.submit("analyze", "Analyze sales trends Q4 2024")

    done = await person.ended(task_id)

    assert done["status"] == "succeeded", done
    assert done["progress"] == {"percent": 100, "step": "succeeded"}
    assert "Q4 2024" in done["result"]["report_markdown"]
    assert len(done["result"]["report_markdown"]) > 200
    organization = person.principal.organization_id

    async def settled() -> bool:
        return neighbours.states(organization) == {"committed": 1} and neighbours.notified[f"task:{task_id}:ended"] == 1

    await eventually(settled)
