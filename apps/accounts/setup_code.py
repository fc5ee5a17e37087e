"""The code that the first setup asks for where others can reach the server before its owner does."""

from __future__ import annotations

import hmac

from django.conf import settings

from apps.accounts.selectors import has_users
from kanban_agents import secrets

_FILE = "setup_code"


def current() -> str | None:
    """The code to print and to ask for; made on first use and the same in all processes.

    None if none is needed: on a loopback address, when it was switched off, and once somebody has set
    the server up.
    """
    if settings.LOOPBACK or settings.SETUP_CODE == "off" or has_users():
        return None
    return settings.SETUP_CODE or secrets.read_or_create(settings.DATA_DIR / _FILE)


def matches(given: str) -> bool:
    expected = current()
    return expected is None or hmac.compare_digest(given.strip().encode(), expected.encode())


def kept() -> str:
    """What somebody may come upon, needed or not; empty if there is none. Makes none."""
    chosen = "" if settings.SETUP_CODE == "off" else settings.SETUP_CODE
    return chosen or secrets.kept(settings.DATA_DIR / _FILE)


def discard() -> None:
    (settings.DATA_DIR / _FILE).unlink(missing_ok=True)
