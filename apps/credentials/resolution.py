"""Which key an agent works with: the nearest that is usable, in the end the server's own."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from django.conf import settings

from apps.credentials.models import Credential, Provider
from apps.credentials.sealing import unseal

SOURCES = ("card", "project", "organization")
OPENROUTER_URL = "https://openrouter.ai/api/v1"
# OpenAI's clients refuse to start without a key, also where the server wants none.
_NO_KEY = "unused"


@dataclass(frozen=True)
class Usable:
    """`source` says whose it is: one of `SOURCES`, or `server` for the server's environment.

    `secret` is empty for a local model server without a key and for a login directory; it may be a token that
    somebody got by signing in; with `ends_soon` it is to be renewed before it is given to an agent.
    """

    credential_id: int | None
    provider: str
    secret: str = field(repr=False)
    base_url: str | None
    model: str | None
    source: str
    ends_soon: bool = False


def resolve(candidates: Sequence[int | None]) -> Usable | None:
    """The first usable of these credentials (card, project, organization), else the server's key.

    One query. Raises CannotUnseal if the one that was found was sealed under another server secret:
    to go on with a key that nobody chose would be worse.
    """
    rows = _ready(candidates)
    for place, candidate in enumerate(candidates):
        row = rows.get(candidate) if candidate is not None else None
        if row is None:
            continue
        secret = ""
        if row.sealed is not None:
            secret = unseal(row.sealed, credential_id=row.pk, owner_id=row.owner_id)
        source = SOURCES[min(place, len(SOURCES) - 1)]
        return Usable(row.pk, row.provider, secret, row.base_url, row.model, source, row.ends_soon)
    return _server(os.environ)


def _ready(candidates: Sequence[int | None]) -> dict[int, Credential]:
    ids = [candidate for candidate in candidates if candidate is not None]
    if not ids:
        return {}
    return Credential.objects.filter(status=Credential.Status.READY).in_bulk(ids)


def _server(environ: Mapping[str, str]) -> Usable | None:
    if not settings.SHARE_SERVER_KEYS:
        return None

    def value(name: str) -> str | None:
        return environ.get(name, "").strip() or None

    def usable(provider: Provider, secret: str, base_url: str | None) -> Usable:
        return Usable(None, provider.value, secret, base_url, None, "server")

    if key := value("ANTHROPIC_API_KEY"):
        return usable(Provider.ANTHROPIC, key, value("ANTHROPIC_BASE_URL"))
    openai_url = value("OPENAI_BASE_URL")
    if openai_url:
        return usable(Provider.OPENAI_COMPATIBLE, value("OPENAI_API_KEY") or "", openai_url)
    if key := value("OPENAI_API_KEY"):
        return usable(Provider.OPENAI, key, None)
    if key := value("GEMINI_API_KEY"):
        return usable(Provider.GOOGLE, key, value("GOOGLE_GEMINI_BASE_URL"))
    if key := value("OPENROUTER_API_KEY"):
        return usable(Provider.OPENROUTER, key, value("OPENROUTER_BASE_URL"))
    return None


def environment(usable: Usable) -> dict[str, str]:
    """The variables by which an agent gets the key; none for a login that lies in its HOME."""
    secret, base_url = usable.secret, usable.base_url
    if usable.provider == Provider.ANTHROPIC:
        return _present(ANTHROPIC_API_KEY=secret, ANTHROPIC_BASE_URL=base_url)
    if usable.provider in (Provider.OPENAI, Provider.OPENAI_COMPATIBLE):
        return _present(OPENAI_API_KEY=secret or _NO_KEY, OPENAI_BASE_URL=base_url)
    if usable.provider == Provider.GOOGLE:
        return _present(GEMINI_API_KEY=secret, GOOGLE_GEMINI_BASE_URL=base_url)
    if usable.provider == Provider.OPENROUTER:
        # The second pair is for agents that know only OpenAI's way of talking, as our own does.
        return _present(
            OPENROUTER_API_KEY=secret,
            OPENAI_API_KEY=secret,
            OPENAI_BASE_URL=base_url or OPENROUTER_URL,
        )
    if usable.provider == Provider.CLAUDE_LOGIN:
        return _present(CLAUDE_CODE_OAUTH_TOKEN=secret)
    return {}


def _present(**variables: str | None) -> dict[str, str]:
    return {name: value for name, value in variables.items() if value}
