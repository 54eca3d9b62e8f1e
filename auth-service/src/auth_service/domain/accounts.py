"""Accounts: registering and logging in."""

from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

from auth_service.domain.audit import REGISTERED, AuditEvent
from auth_service.domain.passwords import Passwords
from auth_service.domain.people import LoginAccount, NewSession, Organization, Profile, Registration
from auth_service.domain.sessions import Sessions, Tokens
from auth_service.domain.throttle import Throttle
from shared.errors import EmailTaken, FieldError, InvalidCredentials, InvalidRequest, NotFound
from shared.ids import new_id

FIRST_ROLE = "owner"
"""Who founds an organization owns it."""


@dataclass(frozen=True, slots=True)
class Newcomer:
    """What somebody who registers asks for; `email` is normalised."""

    email: str
    password: str
    plan: str
    organization: str
    name: str
    sample: bool

    @property
    def personal(self) -> tuple[str, ...]:
        """What somebody who guesses their password would try first."""
        name, _, domain = self.email.partition("@")
        return (name, domain, self.organization, self.name)


class AccountStore(Protocol):
    """Where people, organizations and their first session are written."""

    async def find_login(self, email: str, address: bytes) -> LoginAccount | None:
        """The account of an address, and whether it was used from this client before."""
        ...

    async def register(self, registration: Registration, event: AuditEvent) -> None:
        """Write person, organization and session together. Raises EmailTaken."""
        ...

    async def open_session(self, session: NewSession, address: bytes, event: AuditEvent) -> Profile:
        """Write a session and remember the client's address; the person as they are now."""
        ...

    async def find_organization(self, organization_id: UUID) -> Organization | None:
        """An organization's profile."""
        ...


class RefusalLog(Protocol):
    """Where wrong logins are noted without waiting: the reply to an unknown address must not come sooner."""

    def note(self, organization_id: UUID, event: AuditEvent) -> None:
        """Remember an event of this moment, to be written into the audit log."""
        ...


class Accounts:
    """What happens when somebody registers or logs in."""

    def __init__(
        self,
        store: AccountStore,
        passwords: Passwords,
        throttle: Throttle,
        sessions: Sessions,
        refusals: RefusalLog,
        *,
        self_service_plans: frozenset[str],
    ) -> None:
        self._store = store
        self._passwords = passwords
        self._throttle = throttle
        self._sessions = sessions
        self._refusals = refusals
        self._self_service_plans = self_service_plans

    async def register(self, newcomer: Newcomer, address: str) -> tuple[Profile, Tokens]:
        """A new organization with its owner, logged in.

        Raises EmailTaken (409), InvalidRequest (422) for a plan that is not offered or a weak password, and
        RateLimited (429) for too many from one address.
        """
        self._refuse_plan(newcomer.plan)
        await self._throttle.count_registration(address)
        await self._passwords.refuse_weak(newcomer.password, newcomer.personal)
        address_key = self._throttle.address_key(address)
        if await self._store.find_login(newcomer.email, address_key):
            await self._throttle.count_email_taken(address)
            raise EmailTaken
        password_hash = await self._passwords.hash(newcomer.password)
        profile = Profile(
            new_id(), newcomer.email, newcomer.name, FIRST_ROLE, new_id(), newcomer.organization, newcomer.plan
        )
        session, refresh_token = self._sessions.prepare(profile.organization_id, profile.user_id)
        tokens = self._sessions.tokens(profile, session.id, refresh_token)
        await self._store.register(
            Registration(profile, password_hash, newcomer.sample, address_key, session),
            AuditEvent(REGISTERED, profile.user_id, str(profile.user_id), {"plan": profile.plan}),
        )
        return profile, tokens

    async def login(self, email: str, password: str, address: str) -> Tokens:
        """A new session. Raises InvalidCredentials (401), the same for an unknown address, and RateLimited (429)."""
        self._passwords.refuse_full()
        address_key = self._throttle.address_key(address)
        account = await self._store.find_login(email, address_key)
        is_known = account is not None and account.is_known_here
        await self._throttle.admit_login(email, address, is_known=is_known)
        matches = await self._passwords.verify(password, account.password_hash if account else None, is_known=is_known)
        if account is None or not matches:
            await self._throttle.count_wrong_login(email, address, is_known=is_known)
            self._note_wrong(account)
            raise InvalidCredentials
        # Of many guesses sent at once, those after the last allowed wrong one must not learn that they were right.
        await self._throttle.admit_login(email, address, is_known=is_known)
        session, refresh_token = self._sessions.prepare(account.organization_id, account.user_id)
        event = AuditEvent("session.opened", account.user_id, str(session.id))
        profile = await self._store.open_session(session, address_key, event)
        return self._sessions.tokens(profile, session.id, refresh_token)

    async def get_organization(self, organization_id: UUID) -> Organization:
        """An organization's profile. Raises NotFound."""
        organization = await self._store.find_organization(organization_id)
        if organization is None:
            raise NotFound
        return organization

    def _refuse_plan(self, plan: str) -> None:
        if plan not in self._self_service_plans:
            message = "This plan is not open to everybody: choose another or ask for it."
            raise InvalidRequest(errors=(FieldError("subscription_plan", "plan_not_offered", message),))

    def _note_wrong(self, account: LoginAccount | None) -> None:
        if account is not None:
            self._refusals.note(account.organization_id, AuditEvent("login.refused", None, str(account.user_id)))
