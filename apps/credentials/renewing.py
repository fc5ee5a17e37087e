"""Tokens that end: how the next one is got for the refresh token (RFC 6749, section 6)."""

from __future__ import annotations

import logging
import time
from datetime import datetime, timedelta

from django.db import DatabaseError, InterfaceError
from django.db.models import Q
from django.utils import timezone

from apps.common.errors import Invalid
from apps.credentials import granting, holders
from apps.credentials.models import Credential, OAuthAttempt
from apps.credentials.sealing import CannotUnseal, seal, unseal
from apps.events.bus import atomically

logger = logging.getLogger(__name__)

# Whoever asks is done by then, storing what it got included; others wait for it no longer than `_PATIENCE_S`.
_LEASE = timedelta(seconds=60)
_PATIENCE_S = granting.SECONDS + 5
# What was given is worth more than the thread that waits: the old refresh token may be used up by then.
_STORED_AFTER_S = (0.2, 0.5, 1.0, 2.0, 4.0, 8.0)
_PAUSE_S = 0.2


def renew(credential_id: int) -> None:
    """Give the credential a new token if its own ends soon. Takes up to ten seconds; not in a transaction.

    A refresh token often counts once, so of those that ask at once one goes, and the others wait for what it
    brings. A provider that can't be reached leaves everything as it is; one that refuses ends the credential:
    somebody has to sign in again.
    """
    until = time.monotonic() + _PATIENCE_S
    while True:
        held = Credential.objects.filter(pk=credential_id, status=Credential.Status.READY).first()
        if held is None or not held.ends_soon:
            return
        now = timezone.now()
        free = Q(renewing_until=None) | Q(renewing_until__lt=now)
        ours = now + _LEASE
        if Credential.objects.filter(free, pk=credential_id).update(renewing_until=ours):
            break
        if time.monotonic() >= until:
            return
        time.sleep(_PAUSE_S)
    # Between being read and being held somebody else may have used the refresh token up.
    held = Credential.objects.filter(pk=credential_id, renewing_until=ours).first()
    if held is None:
        return
    if not held.ends_soon or held.renewal is None:
        _let_go(credential_id, ours)
        return
    try:
        refresh = unseal(held.renewal, credential_id=held.pk, owner_id=held.owner_id)
        given = granting.ask(
            held.provider, {"grant_type": "refresh_token", "refresh_token": refresh}
        )
    except (Invalid, CannotUnseal) as problem:
        given = granting.Refused(problem.message, final=False)
    except BaseException:
        _let_go(credential_id, ours)
        raise
    if isinstance(given, granting.Grant):
        _store_surely(credential_id, ours, given)
    else:
        logger.warning("credential %s: %s", credential_id, given.message)
        _note(credential_id, ours, given)


def _let_go(credential_id: int, ours: datetime) -> None:
    Credential.objects.filter(pk=credential_id, renewing_until=ours).update(renewing_until=None)


def _store_surely(credential_id: int, ours: datetime, grant: granting.Grant) -> None:
    for pause in _STORED_AFTER_S:
        try:
            _store(credential_id, ours, grant)
        except (DatabaseError, InterfaceError) as problem:
            logger.warning("the new token of credential %s: %s", credential_id, problem)
            time.sleep(pause)
        else:
            return
    _store(credential_id, ours, grant)


@atomically
def _store(credential_id: int, ours: datetime, grant: granting.Grant) -> None:
    held = Credential.objects.select_for_update(no_key=True).filter(pk=credential_id).first()
    # Whoever took over, because this was late, has asked with the same refresh token; both are good at best.
    if held is None or held.renewing_until != ours:
        return
    take(held, grant)
    held.renewing_until = None
    held.save(update_fields=["sealed", "renewal", "expires_at", "renewing_until", "updated_at"])


@atomically
def _note(credential_id: int, ours: datetime, refused: granting.Refused) -> None:
    held = Credential.objects.select_for_update(no_key=True).filter(pk=credential_id).first()
    if held is None or held.renewing_until != ours:
        return
    held.renewing_until = None
    if refused.final:
        held.status = Credential.Status.FAILED
        held.renewal = None
        problem = f"{refused.message} Sign in again: that makes a new credential."
        OAuthAttempt.objects.filter(credential=held).update(error=problem)
    held.save(update_fields=["status", "renewal", "renewing_until", "updated_at"])
    if refused.final:
        holders.changed(holders.lock_projects(held.pk))


def take(credential: Credential, grant: granting.Grant) -> None:
    """Enter what the provider gave, without saving. Without a new refresh token the old one stays."""
    bound = {"credential_id": credential.pk, "owner_id": credential.owner_id}
    credential.sealed = seal(grant.token, **bound)
    if grant.refresh is not None:
        credential.renewal = seal(grant.refresh, **bound)
    credential.expires_at = None
    if grant.lasts_s is not None:
        credential.expires_at = timezone.now() + timedelta(seconds=grant.lasts_s)
