"""Inboxes and the live stream, owned by notification-service."""

from gateway.routes.table import Route

NOTIFICATION = "notification-service"

ROUTES = (
    Route("GET", "/notifications", "list_notifications", NOTIFICATION),
    Route("GET", "/notifications/stream", "stream_notifications", NOTIFICATION, streams=True),
    Route("POST", "/notifications/read-all", "read_all", NOTIFICATION),
    Route("POST", "/notifications/{notification_id}/read", "read_notification", NOTIFICATION),
)
