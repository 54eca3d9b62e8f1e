"""Registering, logging in and out, and who one is."""

from typing import Any, Literal

from fastapi import APIRouter, Response
from pydantic import BaseModel

from auth_service.domain.accounts import Accounts, Newcomer
from auth_service.domain.idempotency import Repeatable
from auth_service.domain.people import Profile
from auth_service.domain.sessions import Sessions, Tokens
from auth_service.routes.fields import Email, Name, NewPassword, RefreshToken, ShownPassword
from auth_service.routes.parameters import ClientAddress, IdempotencyKey, known_id
from shared.bodies import StrictRoute
from shared.callers import CurrentPrincipal
from shared.contracts import PublicRequest
from shared.contracts.auth import Plan
from shared.idempotency import KEY_PARAMETER, REPLAYED, REPLAYED_HEADER
from shared.parts import Part
from shared.principal import Role
from shared.problems import responses

router = APIRouter(prefix="/auth", tags=["accounts"], route_class=StrictRoute)


class RegisterIn(PublicRequest):
    """Who registers; a new organization is made for them, whatever its name."""

    email: Email
    password: NewPassword
    subscription_plan: Plan = "free"
    organization: Name | None = None
    name: Name | None = None
    sample: bool = True


class LoginIn(PublicRequest):
    """Who logs in."""

    email: Email
    password: ShownPassword


class RefreshIn(PublicRequest):
    """The refresh token to spend."""

    refresh_token: RefreshToken


class LogoutIn(PublicRequest):
    """The session to end, by its refresh token; without one, the session of the access token."""

    refresh_token: RefreshToken | None = None


class UserOut(BaseModel):
    """A person."""

    id: str
    email: str
    name: str
    role: Role


class OrganizationOut(BaseModel):
    """An organization."""

    id: str
    name: str
    plan: Plan


class TokensOut(BaseModel):
    """An access token for `expires_in` seconds, and a refresh token for the next one."""

    access_token: str
    refresh_token: str
    token_type: Literal["bearer"] = "bearer"  # noqa: S105 - a kind of token
    expires_in: int


class RegisteredOut(TokensOut):
    """A new person, their organization, and a session."""

    user: UserOut
    organization: OrganizationOut


class MeOut(BaseModel):
    """Who one is."""

    user: UserOut
    organization: OrganizationOut
    role: Role
    plan: Plan


@router.post(
    "/register",
    status_code=201,
    response_model=RegisteredOut,
    responses={**responses(400, 409, 415, 422, 429, 503), 201: {"headers": REPLAYED_HEADER}},
    openapi_extra={"parameters": [KEY_PARAMETER]},
)
async def register(
    body: RegisterIn,
    accounts: Part[Accounts],
    repeatable: Part[Repeatable],
    address: ClientAddress = "unknown",
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Register: a new organization with its owner, logged in."""

    async def work() -> bytes:
        profile, tokens = await accounts.register(_newcomer(body), address)
        registered = RegisteredOut(user=_user(profile), organization=_organization(profile), **_tokens(tokens))
        return registered.model_dump_json().encode()

    reply = await repeatable.once("register", idempotency_key, body.model_dump_json().encode(), work)
    headers = {REPLAYED: "true"} if reply.is_replayed else {}
    return Response(reply.reply, 201, headers, "application/json")


@router.post("/login", responses=responses(400, 401, 415, 422, 429, 503))
async def login(body: LoginIn, accounts: Part[Accounts], address: ClientAddress = "unknown") -> TokensOut:
    """Log in: a new session."""
    return TokensOut(**_tokens(await accounts.login(body.email, body.password, address)))


@router.post("/refresh", responses=responses(400, 401, 415, 422, 503))
async def refresh(body: RefreshIn, sessions: Part[Sessions]) -> TokensOut:
    """Spend a refresh token for a new pair. Using one twice ends its session, but for 10 seconds of grace."""
    return TokensOut(**_tokens(await sessions.refresh(body.refresh_token)))


@router.post("/logout", status_code=204, responses=responses(400, 401, 415, 422, 503))
async def logout(principal: CurrentPrincipal, sessions: Part[Sessions], body: LogoutIn | None = None) -> None:
    """End the session of the refresh token given, else that of the access token."""
    await sessions.logout(
        known_id(principal.organization_id),
        known_id(principal.user_id),
        principal.token_id,
        body.refresh_token if body else None,
    )


@router.get("/me", responses=responses(401, 503))
async def get_me(principal: CurrentPrincipal, sessions: Part[Sessions]) -> MeOut:
    """Who one is, as of now."""
    profile = await sessions.whoami(
        known_id(principal.organization_id), known_id(principal.user_id), principal.token_id
    )
    return MeOut.model_validate(
        {
            "user": _user(profile),
            "organization": _organization(profile),
            "role": profile.role,
            "plan": profile.plan,
        }
    )


def _newcomer(body: RegisterIn) -> Newcomer:
    local_part = body.email.partition("@")[0]
    return Newcomer(
        email=body.email,
        password=body.password,
        plan=body.subscription_plan,
        organization=body.organization or body.name or local_part,
        name=body.name or local_part,
        sample=body.sample,
    )


def _user(profile: Profile) -> UserOut:
    return UserOut.model_validate(
        {"id": str(profile.user_id), "email": profile.email, "name": profile.name, "role": profile.role}
    )


def _organization(profile: Profile) -> OrganizationOut:
    return OrganizationOut.model_validate(
        {"id": str(profile.organization_id), "name": profile.organization_name, "plan": profile.plan}
    )


def _tokens(tokens: Tokens) -> dict[str, Any]:
    return {
        "access_token": tokens.access_token,
        "refresh_token": tokens.refresh_token,
        "expires_in": int(tokens.expires_in.total_seconds()),
    }
