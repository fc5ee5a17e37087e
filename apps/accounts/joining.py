"""What other domains do when somebody gets an account: hooks, since accounts knows none of them."""

from __future__ import annotations

from collections.abc import Callable

from django.db import connection

from apps.accounts.models import User

InvitationCheck = Callable[[str, str], bool]
Welcome = Callable[[User], None]

_checks: list[InvitationCheck] = []
_welcomes: list[Welcome] = []


def invitation_check(check: InvitationCheck) -> InvitationCheck:
    """Register who knows of invitations: is there an open one for this email (lower-case) and code?

    Asked inside a transaction; an invitation that it finds must stay until that ends.
    """
    _checks.append(check)
    return check


def on_join(welcome: Welcome) -> Welcome:
    """Call this inside the transaction that makes an account; what it raises undoes the account."""
    _welcomes.append(welcome)
    return welcome


_EMAILS = 0x6A6F696E  # "join"


def hold(email: str) -> None:
    """One transaction at a time for this email, whether it makes an account or looks for one and invites.

    Without it an invitation and an account that are made at once never hear of each other. Comes before
    event streams in the lock order. On SQLite the transaction itself is the lock (IMMEDIATE).
    """
    if not connection.in_atomic_block:
        raise RuntimeError("joining.hold needs a transaction")
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s, hashtext(%s))", [_EMAILS, email])


def is_invited(email: str, code: str) -> bool:
    return any(check(email, code) for check in _checks)


def joined(user: User) -> None:
    for welcome in _welcomes:
        welcome(user)
