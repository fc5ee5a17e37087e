"""Signing in at a provider (RFC 6749 with PKCE): how a credential comes by a token instead of an API key.

The way back comes without our token, through the browser. What it brings counts once, within ten minutes, and
only from the browser that set out: else somebody could have another person sign in for a credential of his.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
import secrets
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from urllib.parse import quote, urlencode

from django.conf import settings
from django.utils import timezone

from apps.accounts.models import User
from apps.common.errors import Conflict, Invalid
from apps.common.outbound import Deadline, Unreachable, ask
from apps.credentials.models import Credential, OAuthAttempt, Provider
from apps.credentials.sealing import CannotUnseal, seal, unseal
from apps.credentials.verifying import cleaned
from apps.events.bus import atomically
from kanban_agents.env import OAuthClient

MINUTES = 10
SECONDS = 10.0
# It goes into a header and into the environment of a process.
_TOKEN = re.compile(r"[\x21-\x7e]{1,10000}")
_NAMES = {
    Provider.OPENAI: "OpenAI",
    Provider.OPENAI_COMPATIBLE: "Model server",
    Provider.OPENROUTER: "OpenRouter",
    Provider.CLAUDE_LOGIN: "Claude",
}


@dataclass(frozen=True)
class Started:
    """`browser` must come back with the answer, as a cookie."""

    attempt: OAuthAttempt
    authorization_url: str
    browser: str


@dataclass(frozen=True)
class Status:
    """One of pending, authorized, failed, expired; `error` says why it failed."""

    status: str
    error: str | None = None


_DELETED = Status("failed", "Somebody has deleted this credential meanwhile.")


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


def start(user: User, *, provider: str, redirect_uri: str) -> Started:
    client = client_for(provider)
    state, verifier, browser = (secrets.token_urlsafe(32) for _ in range(3))
    attempt = _store(
        user,
        provider=provider,
        base_url=client.base_url,
        state=state,
        verifier=verifier,
        browser=browser,
        redirect_uri=redirect_uri,
    )
    parameters = {
        "response_type": "code",
        "client_id": client.id,
        "redirect_uri": redirect_uri,
        "state": f"{attempt.pk}.{state}",
        "code_challenge": _challenge(verifier),
        "code_challenge_method": "S256",
    }
    if client.scope:
        parameters["scope"] = client.scope
    joint = "&" if "?" in client.authorization_url else "?"
    return Started(attempt, f"{client.authorization_url}{joint}{urlencode(parameters)}", browser)


@atomically
def _store(
    user: User,
    *,
    provider: str,
    base_url: str | None,
    state: str,
    verifier: str,
    browser: str,
    redirect_uri: str,
) -> OAuthAttempt:
    credential = Credential.objects.create(
        owner=user,
        name=f"{_NAMES[Provider(provider)]} (OAuth)",
        provider=provider,
        base_url=base_url,
        auth_type=Credential.AuthType.OAUTH,
    )
    return OAuthAttempt.objects.create(
        credential=credential,
        state_hash=_hash(state),
        browser_hash=_hash(browser),
        verifier=seal(verifier, credential_id=credential.pk, owner_id=user.pk),
        redirect_uri=redirect_uri,
        expires_at=timezone.now() + timedelta(minutes=MINUTES),
    )


def find(state: str, cookies: dict[str, str]) -> OAuthAttempt | None:
    """The attempt that this state belongs to, if the browser is the one that set out."""
    number, _, secret = state.partition(".")
    if not number.isascii() or not number.isdigit() or len(number) > 18:
        return None
    attempt = OAuthAttempt.objects.select_related("credential").filter(pk=int(number)).first()
    if attempt is None or not hmac.compare_digest(attempt.state_hash, _hash(secret)):
        return None
    browser = cookies.get(cookie_name(attempt), "")
    return attempt if hmac.compare_digest(attempt.browser_hash, _hash(browser)) else None


def cookie_name(attempt: OAuthAttempt) -> str:
    return f"kanban_oauth_{attempt.pk}"


def finish(attempt: OAuthAttempt, *, code: str, error: str) -> Status:
    """Exchange the code for a token; takes up to ten seconds. What comes a second time changes nothing."""
    now = timezone.now()
    unused = OAuthAttempt.objects.filter(pk=attempt.pk, used_at=None, expires_at__gt=now)
    if not unused.update(used_at=now):
        credential = Credential.objects.filter(pk=attempt.credential_id).first()
        return status(credential) if credential else _DELETED
    token = None
    if error:
        problem = f"The provider says: {cleaned(error)}"
    elif not code:
        problem = "The provider sent no code."
    else:
        problem, token = _exchange(attempt, code)
    return _settle(attempt, token, problem)


def status(credential: Credential) -> Status:
    attempt = OAuthAttempt.objects.filter(credential=credential).first()
    if credential.auth_type != Credential.AuthType.OAUTH:
        raise Conflict("This credential has an API key; nobody signs in for it.", code="not_oauth")
    if credential.status == Credential.Status.READY:
        return Status("authorized")
    if credential.status == Credential.Status.FAILED:
        return Status("failed", attempt.error if attempt else None)
    if attempt and attempt.expires_at <= timezone.now():
        return Status("expired", f"Nobody signed in within {MINUTES} minutes. Start again.")
    return Status("pending")


@atomically
def _settle(attempt: OAuthAttempt, token: str | None, problem: str) -> Status:
    held = Credential.objects.select_for_update(no_key=True).filter(pk=attempt.credential_id)
    credential = held.first()
    if credential is None:
        return _DELETED
    if token is None:
        credential.status = Credential.Status.FAILED
        OAuthAttempt.objects.filter(pk=attempt.pk).update(error=problem)
    else:
        credential.status = Credential.Status.READY
        credential.sealed = seal(token, credential_id=credential.pk, owner_id=credential.owner_id)
    credential.save(update_fields=["status", "sealed", "updated_at"])
    return Status("authorized") if token else Status("failed", problem)


def _exchange(attempt: OAuthAttempt, code: str) -> tuple[str, str | None]:
    """(what was wrong, the token): one of them is empty."""
    credential = attempt.credential
    try:
        client = client_for(credential.provider)
        verifier = unseal(
            attempt.verifier, credential_id=credential.pk, owner_id=credential.owner_id
        )
        headers = {
            "Accept": "application/json",
            "Content-Type": "application/x-www-form-urlencoded",
            "User-Agent": "kanban-agents",
        }
        if client.secret:
            pair = f"{quote(client.id, safe='')}:{quote(client.secret, safe='')}"
            headers["Authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": attempt.redirect_uri,
            "client_id": client.id,
            "code_verifier": verifier,
        }
        body = urlencode(form).encode()
        answer = ask(
            "POST", client.token_url, headers=headers, body=body, deadline=Deadline(SECONDS)
        )
    except (Invalid, CannotUnseal) as problem:
        return problem.message, None
    except Unreachable as problem:
        return f"The provider {problem}.", None
    said = _json(answer.body)
    if answer.status != 200:
        reason = said.get("error_description") or said.get("error")
        told = f": {cleaned(reason, client.secret)}" if isinstance(reason, str) else ""
        return f"The provider refused to give a token ({answer.status}){told}", None
    token = said.get("access_token")
    kind = str(said.get("token_type", "bearer"))
    if not isinstance(token, str) or not _TOKEN.fullmatch(token) or kind.lower() != "bearer":
        return "The provider answered without a token that can be used.", None
    return "", token


def _json(body: bytes) -> dict[str, Any]:
    try:
        said = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return said if isinstance(said, dict) else {}


def _challenge(verifier: str) -> str:
    digest = hashlib.sha256(verifier.encode()).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
