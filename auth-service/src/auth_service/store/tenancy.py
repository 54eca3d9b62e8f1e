"""What a transaction says about itself, for row level security to compare with."""

import asyncpg

SAY_LOGIN = "SELECT set_config('app.login', $1, true)"
SAY_REFRESH_TOKEN = "SELECT set_config('app.refresh_token', $1, true)"  # noqa: S105 - a statement, not a secret
SAY_ORGANIZATION = "SELECT set_config('app.organization_id', $1, true)"
SAY_MAINTENANCE = "SELECT set_config('app.scope', 'maintenance', true)"


async def say_maintenance(connection: asyncpg.Connection) -> None:
    """This transaction works over all organizations."""
    await connection.execute(SAY_MAINTENANCE)
