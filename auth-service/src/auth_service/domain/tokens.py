"""Access tokens (EdDSA JWTs of RFC 9068) and refresh tokens (opaque, 256 bit)."""

import hashlib
import hmac
import secrets
from base64 import urlsafe_b64encode
from datetime import datetime, timedelta
from uuid import UUID

import jwt

from auth_service.domain.keys import KeyRing
from auth_service.domain.people import Profile

REFRESH_BYTES = 32
NONCE_BYTES = 9


class AccessTokens:
    """Signs what the gateway verifies: who, in which organization, with which role and plan, in which session."""

    def __init__(self, keys: KeyRing, *, issuer: str, audience: str, lifetime: timedelta) -> None:
        self._keys = keys
        self._issuer = issuer
        self._audience = audience
        self.lifetime = lifetime

    def issue(self, profile: Profile, session_id: UUID, now: datetime) -> str:
        """A token for this person; its id starts with the session's, so that a logout knows both."""
        key_id, private = self._keys.signer()
        issued_at = int(now.timestamp())
        claims = {
            "iss": self._issuer,
            "aud": self._audience,
            "sub": str(profile.user_id),
            "org": str(profile.organization_id),
            "role": profile.role,
            "plan": profile.plan,
            "sid": str(session_id),
            "jti": f"{session_id}.{secrets.token_urlsafe(NONCE_BYTES)}",
            "iat": issued_at,
            "exp": issued_at + int(self.lifetime.total_seconds()),
        }
        return jwt.encode(claims, private, algorithm="EdDSA", headers={"kid": key_id, "typ": "at+jwt"})


def session_of(token_id: str) -> UUID | None:
    """The session in an access token's id, or None when the id is not one of ours."""
    try:
        return UUID(token_id.partition(".")[0])
    except ValueError:
        return None


class RefreshTokens:
    """Makes refresh tokens. A successor follows from its predecessor and our key, so it can be repeated unkept."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    @staticmethod
    def first() -> str:
        """A fresh token."""
        return _text(secrets.token_bytes(REFRESH_BYTES))

    def successor(self, token: str) -> str:
        """The one token that follows this one."""
        return _text(hmac.digest(self._key, b"refresh token after\x00" + token.encode(), hashlib.sha256))


def token_hash(token: str) -> str:
    """What is stored of a refresh token: 256 random bits need no slow hash."""
    return hashlib.sha256(token.encode()).hexdigest()


def _text(raw: bytes) -> str:
    return urlsafe_b64encode(raw).rstrip(b"=").decode()
