"""What the gateway answers itself: health and the API's documentation."""

from gateway.routes.table import Route

ROUTES = (
    Route("GET", "/", "home", access="public"),
    Route("GET", "/health", "health", access="public"),
    Route("GET", "/health/live", "live", access="public"),
    Route("GET", "/health/ready", "ready", access="public"),
    Route("GET", "/openapi.json", "openapi", access="public"),
    Route("GET", "/docs", "docs", access="public"),
    Route("GET", "/docs/{asset}", "docs_asset", access="public"),
)
