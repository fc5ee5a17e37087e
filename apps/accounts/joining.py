"""What other domains do when somebody gets an account: hooks, since accounts knows none of them."""

from __future__ import annotations

from collections.abc import Callable

from apps.accounts.models import User

InvitationCheck = Callable[[str, str], bool]
Welcome = Callable[[User], None]

_checks: list[InvitationCheck] = []
_welcomes: list[Welcome] = []


def invitation_check(check: InvitationCheck) -> InvitationCheck:
    """Register who knows of invitations: is there an open one for this email (lower-case) and code?"""
    _checks.append(check)
    return check


def on_join(welcome: Welcome) -> Welcome:
    """Call this inside the transaction that makes an account; what it raises undoes the account."""
    _welcomes.append(welcome)
    return welcome


def is_invited(email: str, code: str) -> bool:
    return any(check(email, code) for check in _checks)


def joined(user: User) -> None:
    for welcome in _welcomes:
        welcome(user)
