"""Who a caller is: the bearer of a token or, while accounts are switched off, the server's owner."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple, TypeVar

from django.conf import settings
from django.db import connection
from rest_framework.authentication import BaseAuthentication, get_authorization_header
from rest_framework.exceptions import AuthenticationFailed, NotAuthenticated
from rest_framework.request import Request

from apps.accounts import personal_tokens, tokens
from apps.accounts.models import Role, User
from apps.accounts.reach import Grant, allow
from apps.common.errors import Forbidden
from apps.common.fetching import shape
from apps.common.kept import Version, version_of
from apps.configuration.store import AUTH_ENABLED
from apps.events.bus import atomically

# How long a process may go on believing what it read, where it can't tell whether the database has changed
# since: after that, a revoked token is refused.
REMEMBER_S = 1.0
_MOST_REMEMBERED = 4_096

LOCAL_EMAIL = "local@localhost"
FORWARDING_HEADERS = ("Forwarded", "Via", "X-Forwarded-For", "X-Forwarded-Host", "X-Real-IP")


class Identity(NamedTuple):
    """`expires_at` is in seconds since the epoch; None for never, and while accounts are off.

    `grant` is what a personal token was made for; None for somebody who signed in.
    """

    user: User
    expires_at: float | None
    grant: Grant | None = None

    @property
    def kept_until(self) -> float | None:
        """How long its answers may go out unseen: the next use of a token has to be noted."""
        if self.grant is None:
            return self.expires_at
        noted = personal_tokens.noted_until(self.grant.token_id)
        return noted if self.expires_at is None else min(noted, self.expires_at)


class _Remembered(NamedTuple):
    identity: Identity
    accounts_off: bool
    until: float
    version: Version | None


_remembered: dict[str, _Remembered] = {}
_OFF = ""

R = TypeVar("R")


def forget_all() -> None:
    """Look everybody up again; for when somebody was revoked or accounts were switched on or off."""
    _remembered.clear()


def auth_enabled() -> bool:
    """Off counts on a loopback address only, whatever was stored before the server moved to another."""
    if settings.AUTH_FIXED_OFF:
        return False
    return not settings.LOOPBACK or AUTH_ENABLED.get()


def user_for_token(token: str | None, *, forwarded: bool = False) -> Identity | None:
    """Whom the token speaks for, or None; while accounts are off a sign-in token is ignored.

    May be up to `REMEMBER_S` old. The user is the caller's own copy, to read from: services read the
    row again before they change it. `forwarded` says that a proxy passed this on (see `is_forwarded`):
    with accounts off nobody is let in that way.
    """
    found = _identify(token)
    if found is None or (forwarded and found.accounts_off):
        return None
    return found.identity


def _identify(token: str | None, version: Version | None = None) -> _Remembered | None:
    """With the database's version what is remembered counts under that one alone."""
    now = time.monotonic()
    personal = personal_tokens.is_one(token)
    for key in (token or _OFF,) if personal else (_OFF, token or _OFF):
        found = _remembered.get(key)
        if found is not None and (
            now < found.until if version is None else version == found.version
        ):
            expires_at = found.identity.expires_at
            if expires_at is not None and expires_at <= time.time():
                return None
            return _own_copy(found)
    enabled, identity = _look_up_personal(token or "") if personal else _look_up(token)
    if not enabled and not personal:
        identity = Identity(acting_user(), None)
    if identity is None:
        return None
    found = _Remembered(identity, accounts_off=not enabled, until=now + REMEMBER_S, version=version)
    if len(_remembered) >= _MOST_REMEMBERED:
        _remembered.clear()
    _remembered[_OFF if found.accounts_off and not personal else token or _OFF] = found
    return _own_copy(found)


def _own_copy(found: _Remembered) -> _Remembered:
    """And note that a personal token is used."""
    identity = found.identity
    if identity.grant is not None:
        personal_tokens.note_use(identity.grant.token_id)
    return found._replace(identity=identity._replace(user=copy.copy(identity.user)))


def _look_up(token: str | None) -> tuple[bool, Identity | None]:
    """Whether accounts are on, and who the token's bearer is: one statement, for every change asks."""
    claims = None if settings.AUTH_FIXED_OFF or not token else tokens.read(token)
    if claims is None:
        return auth_enabled(), None
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT {AUTH_ENABLED.stored}, {shape(User).columns('u')} FROM accounts_user u"
            " WHERE u.id = %s AND u.token_version = %s AND u.is_active",
            [claims.user_id, claims.token_version],
        )
        row = cursor.fetchone()
    if row is None:
        return auth_enabled(), None
    stored, *values = row
    identity = Identity(shape(User).made(values), claims.expires_at)
    return not settings.LOOPBACK or AUTH_ENABLED.of(stored), identity


def _look_up_personal(token: str) -> tuple[bool, Identity | None]:
    """The same for a personal token, which still limits its bearer while accounts are off."""
    found = personal_tokens.look_up(token)
    if found is None:
        return True, None
    stored, row, user = found
    expires_at = None if row.expires_at is None else row.expires_at.timestamp()
    if expires_at is not None and expires_at <= time.time():
        return True, None
    user.only_project = row.project_id
    grant = Grant(row.pk, row.project_id, row.may_write)
    enabled = not settings.AUTH_FIXED_OFF and (not settings.LOOPBACK or stored)
    return enabled, Identity(user, expires_at, grant)


def acting_user() -> User:
    """Who acts while accounts are off: the first super admin, else a stored stand-in."""
    admins = User.objects.filter(role=Role.SUPER_ADMIN, is_active=True)
    first = admins.order_by("is_local", "pk").first()
    return first or local_user()


def local_user() -> User:
    user, _ = User.objects.get_or_create(
        email=LOCAL_EMAIL,
        defaults={
            "display_name": "Local user",
            "role": Role.SUPER_ADMIN,
            "is_local": True,
            "password": "!",
        },
    )
    return user


def hold_signed_in(user: User) -> User:
    """The row of a caller who signed in, held; a 401 if that sign-in was revoked since it was looked up.

    For whatever outlives the sign-in: a process may believe one that was revoked elsewhere for a second, and
    one may end while a password is hashed. Comes before event streams in the lock order.
    """
    held = User.objects.select_for_update(no_key=True).filter(pk=user.pk, is_active=True).first()
    if held is None or (held.token_version != user.token_version and auth_enabled()):
        raise _not_valid()
    return held


@atomically
def as_signed_in(user: User, act: Callable[[], R]) -> R:
    """Do it in one transaction, and only while the caller's sign-in counts (see `hold_signed_in`)."""
    hold_signed_in(user)
    return act()


def _not_valid() -> AuthenticationFailed:
    return AuthenticationFailed("This token is not valid, or no longer. Sign in again.")


def is_forwarded(headers: Mapping[str, str]) -> bool:
    return any(name in headers for name in FORWARDING_HEADERS)


def _forwarded_without_accounts() -> Forbidden:
    return Forbidden(
        "Accounts are switched off, so this server answers only its own machine: a proxy would open"
        " it to everybody. Switch accounts on to use one.",
        code="forwarded_without_accounts",
    )


def bearer(header: bytes) -> str | None:
    """The token in an Authorization header; None for an empty header or one of another scheme."""
    scheme, _, token = header.partition(b" ")
    if scheme.lower() != b"bearer":
        return None
    return token.strip().decode("latin-1") or None


class BearerAuthentication(BaseAuthentication):
    def authenticate(self, request: Request) -> tuple[User, Identity] | None:
        header = get_authorization_header(request)
        found = _identify(bearer(header), version_of(request, REMEMBER_S))
        if found is None:
            if header:
                raise _not_valid()
            return None
        if found.accounts_off and is_forwarded(request.headers):
            raise _forwarded_without_accounts()
        if found.identity.grant is not None:
            allow(found.identity.grant, request)
        return found.identity.user, found.identity

    def authenticate_header(self, request: Request) -> str:
        return 'Bearer realm="kanban-agents"'


class OpenAuthentication(BearerAuthentication):
    """For what needs no account: reads no token, so that a stale one can't keep anybody from signing in."""

    def authenticate(self, request: Request) -> None:
        if is_forwarded(request.headers) and not auth_enabled():
            raise _forwarded_without_accounts()


def caller(request: Request) -> User:
    """The signed-in user, in a view that lets nobody else in."""
    if not isinstance(request.user, User):
        raise NotAuthenticated
    return request.user


def is_program(request: Request) -> bool:
    """Whether a personal token speaks, which reaches less than its owner."""
    return isinstance(request.auth, Identity) and request.auth.grant is not None
