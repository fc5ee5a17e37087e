"""Sign-in tokens: HS256 JWTs that live seven days and die early with the user's token version."""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass

import jwt
from django.conf import settings

from apps.accounts.models import User
from kanban_agents.secrets import derive

LIFETIME_S = 7 * 24 * 3600


@dataclass(frozen=True)
class Claims:
    user_id: int
    token_version: int
    expires_at: float


def _key() -> bytes:
    return derive(str(settings.SERVER_SECRET), "jwt")


def issue(user: User) -> str:
    now = int(time.time())
    claims = {
        "sub": str(user.pk),
        "tv": user.token_version,
        "iat": now,
        "exp": now + LIFETIME_S,
        # Two sign-ins within a second still get two tokens.
        "jti": secrets.token_hex(8),
    }
    return jwt.encode(claims, _key(), algorithm="HS256")


# More digits overflow SQLite's integers.
_LONGEST_ID = 18

# A signature stays as good as it is; only the clock ends it.
_verified: dict[str, Claims] = {}
_MOST_VERIFIED = 4_096


def read(token: str) -> Claims | None:
    """What the token claims, if we signed it and it has not expired; says nothing about the user."""
    claims = _verified.get(token)
    if claims is None:
        claims = _verify(token)
        if claims is None:
            return None
        if len(_verified) >= _MOST_VERIFIED:
            _verified.clear()
        _verified[token] = claims
    return claims if time.time() < claims.expires_at else None


def _verify(token: str) -> Claims | None:
    try:
        claims = jwt.decode(
            token,
            _key(),
            algorithms=["HS256"],
            # Our other hosts issue tokens too, and their clocks may be ahead.
            options={"require": ["sub", "tv", "iat", "exp"], "verify_iat": False},
        )
    except (jwt.InvalidTokenError, ValueError):
        return None
    subject, version = claims["sub"], claims["tv"]
    if not subject.isascii() or not subject.isdigit() or len(subject) > _LONGEST_ID:
        return None
    if not isinstance(version, int):
        return None
    return Claims(int(subject), version, float(claims["exp"]))
