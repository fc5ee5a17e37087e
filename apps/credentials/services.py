from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from apps.accounts.models import User
from apps.common.errors import Invalid, NotFound
from apps.credentials import holders
from apps.credentials.assigning import hold_credential
from apps.credentials.models import LOGINS, Credential, Provider
from apps.credentials.sealing import hint, seal
from apps.events.bus import atomically

BeforeDelete = Callable[[Credential], None]
_before_delete: list[BeforeDelete] = []


def before_delete(listener: BeforeDelete) -> BeforeDelete:
    """Call this inside the transaction that deletes a credential, while it is still assigned.

    Nobody assigns it meanwhile, and the streams of all projects that work with it are locked.
    """
    _before_delete.append(listener)
    return listener


@atomically
def create_credential(
    owner: User,
    *,
    name: str,
    provider: str,
    api_key: str | None = None,
    base_url: str | None = None,
    model: str | None = None,
) -> Credential:
    login = provider in LOGINS
    credential = Credential(
        owner=owner,
        name=name,
        provider=provider,
        base_url=base_url,
        model=model,
        auth_type=Credential.AuthType.OAUTH if login else Credential.AuthType.API_KEY,
    )
    _check(credential, api_key)
    credential.save(force_insert=True)
    # Sealed for its own id, which it has only now.
    _take_key(credential, api_key)
    _settle(credential)
    credential.save()
    return credential


@atomically
def update_credential(credential: Credential, changes: Mapping[str, Any]) -> Credential:
    """`changes` holds what was given of name, api_key, base_url and model; None clears."""
    found = Credential.objects.select_for_update(no_key=True).filter(pk=credential.pk).first()
    if found is None:
        raise NotFound("This credential was deleted just now.")
    credential = found
    before = credential.status, credential.sealed
    for name in ("name", "base_url", "model"):
        if name in changes:
            setattr(credential, name, changes[name])
    _check(credential, changes.get("api_key"))
    if "api_key" in changes and credential.auth_type != Credential.AuthType.OAUTH:
        _take_key(credential, changes["api_key"])
    _settle(credential)
    credential.save()
    if (credential.status, credential.sealed) != before:
        holders.changed(holders.lock_projects(credential.pk))
    return credential


@atomically
def delete_credential(credential: Credential) -> None:
    hold_credential(credential.pk)
    project_ids = holders.lock_projects(credential.pk)
    for listener in _before_delete:
        listener(credential)
    credential.delete()
    holders.changed(project_ids)


def _check(credential: Credential, api_key: str | None) -> None:
    if credential.provider == Provider.OPENAI_COMPATIBLE and not credential.base_url:
        raise Invalid("baseUrl: an openai-compatible credential needs the address of its server")
    if credential.provider in LOGINS and api_key:
        raise Invalid("apiKey: a login takes no API key; choose the provider that issued the key")
    if credential.auth_type == Credential.AuthType.OAUTH and api_key:
        raise Invalid("apiKey: this credential was made by signing in; make another one for a key")


def _take_key(credential: Credential, api_key: str | None) -> None:
    if not api_key:
        credential.sealed = credential.hint = None
        return
    credential.sealed = seal(api_key, credential_id=credential.pk, owner_id=credential.owner_id)
    credential.hint = hint(api_key)


def _settle(credential: Credential) -> None:
    if credential.auth_type == Credential.AuthType.OAUTH:
        return  # ready once somebody has signed in
    keyless = credential.provider == Provider.OPENAI_COMPATIBLE
    ready = credential.sealed is not None or keyless
    credential.status = Credential.Status.READY if ready else Credential.Status.PENDING
