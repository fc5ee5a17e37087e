"""What a provider's token endpoint gives for a code or a refresh token (RFC 6749)."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlencode

from django.conf import settings

from apps.common import outbound
from apps.common.errors import Invalid
from apps.credentials.verifying import cleaned
from kanban_agents.env import OAuthClient

SECONDS = 10.0
# It goes into a header and into the environment of a process.
_TOKEN = re.compile(r"[\x21-\x7e]{1,10000}")
# Ten years: what is said to last longer is taken to last for good.
_LONGEST_S = 10 * 365 * 24 * 3600


@dataclass(frozen=True)
class Grant:
    """`lasts_s` is None where the provider doesn't say when the token ends, `refresh` where it gave none."""

    token: str = field(repr=False)
    refresh: str | None = field(repr=False)
    lasts_s: float | None


@dataclass(frozen=True)
class Refused:
    """`message` is a sentence for people; `final`: the provider said no, and would again."""

    message: str
    final: bool


def client_for(provider: str) -> OAuthClient:
    client: OAuthClient | None = settings.OAUTH_CLIENTS.get(provider)
    if client is None:
        known = ", ".join(sorted(settings.OAUTH_CLIENTS)) or "none"
        raise Invalid(
            f"Nobody can sign in at {provider} here; there is an OAuth client for: {known}. Enter an"
            " API key, or ask the operator to set KANBAN_OAUTH_CLIENTS.",
            code="oauth_not_available",
        )
    return client


def ask(provider: str, form: Mapping[str, str]) -> Grant | Refused:
    """Takes up to ten seconds. Raises Invalid without a client for the provider."""
    client = client_for(provider)
    headers = {
        "Accept": "application/json",
        "Content-Type": "application/x-www-form-urlencoded",
        "User-Agent": "kanban-agents",
    }
    if client.secret:
        pair = f"{quote(client.id, safe='')}:{quote(client.secret, safe='')}"
        headers["Authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
    try:
        answer = outbound.ask(
            "POST",
            client.token_url,
            headers=headers,
            body=urlencode({**form, "client_id": client.id}).encode(),
            deadline=outbound.Deadline(SECONDS),
        )
    except outbound.Unreachable as problem:
        return Refused(f"The provider {problem}.", final=False)
    said = _json(answer.body)
    if answer.status != 200:
        reason = said.get("error_description") or said.get("error")
        told = f": {cleaned(reason, client.secret)}" if isinstance(reason, str) else ""
        return Refused(
            f"The provider refused to give a token ({answer.status}){told}",
            final=said.get("error") == "invalid_grant",
        )
    token, kind = said.get("access_token"), str(said.get("token_type", "bearer"))
    if not _good(token) or kind.lower() != "bearer":
        return Refused("The provider answered without a token that can be used.", final=False)
    refresh = said.get("refresh_token")
    return Grant(
        str(token), str(refresh) if _good(refresh) else None, _lasts(said.get("expires_in"))
    )


def _good(token: Any) -> bool:
    return isinstance(token, str) and _TOKEN.fullmatch(token) is not None


def _lasts(given: Any) -> float | None:
    try:
        seconds = float(given)
    except (TypeError, ValueError, OverflowError):
        return None
    return seconds if 0 < seconds < _LONGEST_S else None


def _json(body: bytes) -> dict[str, Any]:
    try:
        said = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return said if isinstance(said, dict) else {}
