"""PostgreSQL: tasks, attempts, results, uploads, outbox, settlements and procrastinate's queue."""
