"""What chat-service promises: conversations, answers, quota, idempotency and live analytics, free of any driver."""
