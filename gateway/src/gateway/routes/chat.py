"""Conversations and their analytics, owned by chat-service."""

from gateway.routes.table import Route

CHAT = "chat-service"

ROUTES = (
    Route("POST", "/chat/message", "send_message", CHAT, streams=True, retry_key=True, work="chat"),
    Route("GET", "/chat/history/{session_id}", "get_history", CHAT, work="chat"),
    Route("GET", "/chat/sessions", "list_sessions", CHAT, work="chat"),
    Route("DELETE", "/chat/sessions/{session_id}", "delete_session", CHAT, work="chat"),
    Route("PUT", "/chat/sessions/{session_id}/messages/{message_id}/feedback", "rate_message", CHAT, work="chat"),
    Route("GET", "/analytics/summary", "get_summary", CHAT, work="analytics"),
)
