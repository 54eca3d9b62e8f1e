"""Accounts, tokens and billing, owned by auth-service."""

from gateway.routes.table import Route

AUTH = "auth-service"

ROUTES = (
    Route("POST", "/auth/register", "register", AUTH, "public", work="login"),
    Route("POST", "/auth/login", "login", AUTH, "public", work="login"),
    Route("POST", "/auth/refresh", "refresh", AUTH, "public", work="login"),
    Route("POST", "/auth/logout", "logout", AUTH, work="always"),
    Route("GET", "/auth/me", "get_me", AUTH),
    Route("GET", "/.well-known/jwks.json", "get_keys", AUTH, "public"),
    Route("GET", "/billing/plans", "list_plans", AUTH, "public"),
    Route("GET", "/billing/usage", "get_usage", AUTH, work="analytics"),
    Route("GET", "/audit", "list_audit", AUTH, work="analytics"),
)
