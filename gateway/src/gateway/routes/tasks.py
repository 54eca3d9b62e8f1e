"""Background work, owned by task-worker."""

from gateway.routes.table import FILES, Route

TASK = "task-worker"

ROUTES = (
    Route("POST", "/tasks/analyze", "submit_analysis", TASK, media=FILES),
    Route("POST", "/tasks/research", "submit_research", TASK),
    Route("GET", "/tasks", "list_tasks", TASK),
    Route("GET", "/tasks/{task_id}/status", "get_task", TASK),
    Route("POST", "/tasks/{task_id}/cancel", "cancel_task", TASK),
)
