"""What auth-service reads at start."""

from datetime import timedelta
from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import Field, field_validator
from pydantic_settings import NoDecode, SettingsConfigDict

from shared.settings import PostgresSettings, Secret, ServiceSettings


class AuthSettings(ServiceSettings, PostgresSettings):
    """`AUTH_…`, then the deployment-wide names."""

    model_config = SettingsConfigDict(env_prefix="AUTH_")
    service: ClassVar[str] = "auth-service"

    port: int = Field(8001, description="Port the service listens on.")
    postgres_db: str = Field("auth", description="Database of this service.")
    postgres_app_user: str = Field("auth_app", description="Role the service logs in as; made by `migrate`.")
    cursor_key: Secret = Field(description="Key that signs list cursors, 32+ characters.")
    password_pepper: Secret = Field(
        description="Mixed into every password hash; without it the hashes are worthless, to us too. 32+ characters."
    )
    signing_key_secret: Secret = Field(description="Encrypts the private keys of tokens at rest, 32+ characters.")
    token_issuer: str = Field("multidb", description="`iss` of access tokens.")
    token_audience: str = Field("multidb-api", description="`aud` of access tokens.")
    access_token_lifetime: timedelta = Field(timedelta(minutes=15), description="How long an access token is good.")
    refresh_token_lifetime: timedelta = Field(
        timedelta(days=30), description="How long a refresh token is good when it is not used."
    )
    session_lifetime: timedelta = Field(timedelta(days=90), description="After this time a login is needed again.")
    self_service_plans: Annotated[frozenset[str], NoDecode] = Field(
        frozenset({"free", "pro", "enterprise"}),
        description="Plans that anybody may choose when registering, separated by commas.",
    )
    hashing_threads: Annotated[int, Field(ge=1)] = Field(2, description="Threads that hash passwords.")
    hashing_patience: timedelta = Field(
        timedelta(seconds=1),
        description="Longest that a password may wait to be hashed; others get 503 at once.",
    )
    audit_heads: Path | None = Field(
        None,
        description="File outside the database, kept by `verify-audit`: signed heads that chains are compared with.",
    )
    postgres_connections: Annotated[int, Field(ge=1)] = Field(10, description="Connections to PostgreSQL.")

    @field_validator("self_service_plans", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return [plan.strip() for plan in value.split(",") if plan.strip()] if isinstance(value, str) else value
