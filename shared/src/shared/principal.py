"""Who is asking, as plain values: a person with a role in an organization, and the service that calls for them."""

from dataclasses import dataclass
from typing import Literal

Role = Literal["owner", "admin", "editor", "viewer"]
ROLES: tuple[Role, ...] = ("viewer", "editor", "admin", "owner")
"""Every role, each including the ones before it."""


@dataclass(frozen=True, slots=True)
class Principal:
    """A person who is asking, as the gateway verified them."""

    user_id: str
    organization_id: str
    role: str
    plan: str
    token_id: str

    def has_role(self, at_least: Role) -> bool:
        """Whether this role includes `at_least` (owner > admin > editor > viewer)."""
        return self.role in ROLES and ROLES.index(self.role) >= ROLES.index(at_least)


@dataclass(frozen=True, slots=True)
class Caller:
    """The service that calls, with the person it calls for, if any."""

    service: str
    principal: Principal | None
