"""Personal access tokens: `kba_` and 256 random bits, of which only the SHA-256 is stored.

The hash is what a token is looked up by. How long that takes tells nothing of use: nobody can choose a
token whose hash begins like another's.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import secrets
import time
from collections.abc import Callable

from django.db import DatabaseError, InterfaceError, connection
from django.utils import timezone

from apps.accounts.models import PersonalToken, User
from apps.common.fetching import shape
from apps.configuration.store import AUTH_ENABLED
from apps.events.bus import atomically

logger = logging.getLogger(__name__)

PREFIX = "kba_"
# Every write makes all kept answers stale, so the time of the last use is to the minute.
NOTE_EVERY_S = 60.0
_MOST_NOTED = 4_096

ProjectCheck = Callable[[User, int], bool]

_checks: list[ProjectCheck] = []
_noted: dict[int, float] = {}


def project_check(check: ProjectCheck) -> ProjectCheck:
    """Register who knows which projects a person reaches."""
    _checks.append(check)
    return check


def reaches(user: User, project_id: int) -> bool:
    return any(check(user, project_id) for check in _checks)


def new() -> str:
    return PREFIX + secrets.token_urlsafe(32)


def is_one(token: str | None) -> bool:
    return token is not None and token.startswith(PREFIX)


def digest_of(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def look_up(token: str) -> tuple[bool, PersonalToken, User] | None:
    """Whether accounts are on, the token and its owner; None for one that is unknown. One statement."""
    digest = digest_of(token)
    tokens, users = shape(PersonalToken), shape(User)
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT {AUTH_ENABLED.stored}, {tokens.columns('t')}, {users.columns('u')}"
            " FROM accounts_personaltoken t JOIN accounts_user u ON u.id = t.user_id"
            " WHERE t.digest = %s AND u.is_active",
            [digest],
        )
        row = cursor.fetchone()
    if row is None:
        return None
    stored, values = row[0], row[1:]
    found = tokens.made(values[: tokens.width])
    if not hmac.compare_digest(found.digest, digest):
        return None
    return AUTH_ENABLED.of(stored), found, users.made(values[tokens.width :])


def note_use(token_id: int) -> None:
    """Store that the token is used just now, at most once a minute; that it can't be stored harms nobody."""
    now = time.time()
    if now < noted_until(token_id):
        return
    if len(_noted) >= _MOST_NOTED:
        _noted.clear()
    _noted[token_id] = now
    try:
        _store_use(token_id)
    except (DatabaseError, InterfaceError) as error:
        logger.warning("the use of a token can't be noted: %s", error)


def noted_until(token_id: int) -> float:
    """Until when its use counts as noted, in seconds since the epoch."""
    return _noted.get(token_id, float("-inf")) + NOTE_EVERY_S


def forget_uses() -> None:
    _noted.clear()


@atomically
def _store_use(token_id: int) -> None:
    PersonalToken.objects.filter(pk=token_id).update(last_used_at=timezone.now())
