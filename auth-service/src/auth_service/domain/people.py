"""People and their organizations."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID


@dataclass(frozen=True, slots=True)
class Profile:
    """A person in an organization."""

    user_id: UUID
    email: str
    name: str
    role: str
    organization_id: UUID
    organization_name: str
    plan: str


@dataclass(frozen=True, slots=True)
class Organization:
    """What neighbours may know of an organization."""

    id: UUID
    name: str
    plan: str
    sample: bool


@dataclass(frozen=True, slots=True)
class LoginAccount:
    """What a login is checked against; `is_known_here`: the account was used from this address before."""

    user_id: UUID
    organization_id: UUID
    password_hash: str
    is_known_here: bool


@dataclass(frozen=True, slots=True)
class NewSession:
    """A session about to be opened, with its first refresh token."""

    id: UUID
    organization_id: UUID
    user_id: UUID
    refresh_hash: str
    created_at: datetime
    token_expires_at: datetime
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Registration:
    """A person and their new organization, about to be written."""

    profile: Profile
    password_hash: str
    sample: bool
    address: bytes
    session: NewSession
