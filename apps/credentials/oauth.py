"""Signing in at a provider (RFC 6749 with PKCE): how a credential comes by a token instead of an API key.

The way back comes without our token, through the browser. What it brings counts once, within ten minutes, and
only from the browser that set out: else somebody could have another person sign in for a credential of his.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from dataclasses import dataclass
from datetime import timedelta
from urllib.parse import urlencode

from django.utils import timezone

from apps.accounts.models import User
from apps.common.errors import Conflict, Invalid
from apps.credentials import granting, holders, renewing
from apps.credentials.models import Credential, OAuthAttempt, Provider
from apps.credentials.sealing import CannotUnseal, seal, unseal
from apps.credentials.verifying import cleaned
from apps.events.bus import atomically

MINUTES = 10
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


def start(user: User, *, provider: str, redirect_uri: str) -> Started:
    client = granting.client_for(provider)
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
    given: granting.Grant | granting.Refused
    if error:
        given = granting.Refused(f"The provider says: {cleaned(error)}", final=True)
    elif not code:
        given = granting.Refused("The provider sent no code.", final=True)
    else:
        given = _exchange(attempt, code)
    return _settle(attempt, given)


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
def _settle(attempt: OAuthAttempt, given: granting.Grant | granting.Refused) -> Status:
    held = Credential.objects.select_for_update(no_key=True).filter(pk=attempt.credential_id)
    credential = held.first()
    if credential is None:
        return _DELETED
    fields = ["status", "updated_at"]
    if isinstance(given, granting.Grant):
        credential.status = Credential.Status.READY
        renewing.take(credential, given)
        fields += ["sealed", "renewal", "expires_at"]
        settled = Status("authorized")
    else:
        credential.status = Credential.Status.FAILED
        OAuthAttempt.objects.filter(pk=attempt.pk).update(error=given.message)
        settled = Status("failed", given.message)
    credential.save(update_fields=fields)
    holders.changed(holders.lock_projects(credential.pk))
    return settled


def _exchange(attempt: OAuthAttempt, code: str) -> granting.Grant | granting.Refused:
    credential = attempt.credential
    try:
        verifier = unseal(
            attempt.verifier, credential_id=credential.pk, owner_id=credential.owner_id
        )
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": attempt.redirect_uri,
            "code_verifier": verifier,
        }
        return granting.ask(credential.provider, form)
    except (Invalid, CannotUnseal) as problem:
        return granting.Refused(problem.message, final=True)


def _challenge(verifier: str) -> str:
    digest = hashlib.sha256(verifier.encode()).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
