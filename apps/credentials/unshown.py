"""What no run may show, wherever it found it: the values, so that they can be masked."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator
from urllib.parse import quote, unquote, urlsplit

from django.conf import settings

from apps.accounts import setup_code
from apps.credentials.models import Credential
from apps.credentials.sealing import CannotUnseal, unseal
from apps.host.environment import PROXIES
from kanban_agents import secrets

_SERVER_KEYS = ("ANTHROPIC_API_KEY", "OPENAI_API_KEY", "GEMINI_API_KEY", "OPENROUTER_API_KEY")


def values(credential_ids: Iterable[int | None]) -> list[str]:
    """The secrets of the server itself and of these credentials, usable or not. One query, two files."""
    found = [*_of_server(), *_of_credentials({each for each in credential_ids if each is not None})]
    return [value for value in dict.fromkeys(found) if value]


def _of_server() -> Iterator[str]:
    yield str(settings.SERVER_SECRET)
    # With KANBAN_SECRET_KEY an older one may still lie there.
    yield secrets.kept(settings.DATA_DIR / "secret_key")
    yield setup_code.kept()
    for name in _SERVER_KEYS:
        yield os.environ.get(name, "").strip()
    for client in settings.OAUTH_CLIENTS.values():
        yield from _as_written(client.secret)
    database = settings.DATABASES["default"]
    password = str(database.get("PASSWORD") or "")
    # Whoever has the account's name for its password keeps nothing secret by hiding that word.
    if password not in (database.get("USER"), database.get("NAME")):
        yield from _as_written(password)
    yield from passwords_in(settings.REDIS_URL)
    for name in PROXIES:
        address = os.environ.get(name, "")
        yield from passwords_in(address if "://" in address else f"//{address}")


def passwords_in(text: str) -> Iterator[str]:
    """That of a URL, in all the ways in which it may be written; nothing where the text is none."""
    with contextlib.suppress(ValueError):
        if password := urlsplit(text).password:
            yield password
            yield from _as_written(unquote(password))


def _as_written(secret: str) -> tuple[str, str]:
    """By itself, and as a part of a URL."""
    return secret, quote(secret, safe="")


def _of_credentials(ids: set[int]) -> Iterator[str]:
    for row in Credential.objects.filter(pk__in=ids):
        for sealed in (row.sealed, row.renewal):
            if sealed is not None:
                with contextlib.suppress(CannotUnseal):
                    yield unseal(sealed, credential_id=row.pk, owner_id=row.owner_id)
