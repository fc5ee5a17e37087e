from __future__ import annotations

from apps.accounts.models import User
from apps.common.errors import NotFound
from apps.credentials.models import Credential


def require_assignable(credential_id: int | None, user: User) -> None:
    """Only its owner or a super admin may lend a key to others; to anybody else it doesn't exist."""
    if credential_id is None:
        return
    if not Credential.objects.visible_to(user).filter(pk=credential_id).exists():
        raise NotFound("There is no such credential that you may assign.")


def hold_credential(credential_id: int) -> None:
    """Nobody deletes it until the transaction ends; NotFound where somebody has.

    Whoever assigns or deletes one does this first: it comes before event streams in the lock order.
    """
    held = Credential.objects.select_for_update(no_key=True).filter(pk=credential_id)
    if held.first() is None:
        raise NotFound("Somebody has just deleted this credential.")
