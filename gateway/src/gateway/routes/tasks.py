"""Background work, owned by task-worker."""

from gateway.routes.table import FILE_DEADLINE, FILES, MEBIBYTE, Route

TASK = "task-worker"
FORM_OVERHEAD = 64 * 1024
"""What boundaries, part headers and the description may take beside a file of 10 MiB."""

ROUTES = (
    Route(
        "POST",
        "/tasks/analyze",
        "submit_analysis",
        TASK,
        media=FILES,
        max_body=10 * MEBIBYTE + FORM_OVERHEAD,
        deadline=FILE_DEADLINE,
        work="background",
    ),
    Route("POST", "/tasks/research", "submit_research", TASK, work="background"),
    Route("GET", "/tasks", "list_tasks", TASK),
    Route("GET", "/tasks/{task_id}/status", "get_task", TASK),
    Route("POST", "/tasks/{task_id}/cancel", "cancel_task", TASK),
)
