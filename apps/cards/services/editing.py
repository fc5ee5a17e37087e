from __future__ import annotations

from typing import Any

from django.utils import timezone

from apps.cards.events import CardUpdated
from apps.cards.models import Card
from apps.cards.selectors import next_column
from apps.cards.services.blocking import set_blockers, start_if_unblocked
from apps.cards.services.moving import move_card
from apps.cards.services.standing import fresh, next_seq
from apps.credentials.models import Credential
from apps.events import bus


@bus.atomically
def update_card(
    card: Card, *, by: int | None, blocked_by: list[int] | None = None, **changes: Any
) -> Card:
    """`changes`: title, prompt, labels, permission_mode. An agent at work keeps what it was given.

    A card that was deferred because of its blockers starts when none that is incomplete is left.
    """
    bus.lock(card.project_id)
    card = fresh(card)
    reblocked = blocked_by is not None and set_blockers(card, blocked_by)
    card = _save(card, changes, by=by, anyway=reblocked)
    if reblocked:
        start_if_unblocked([card.pk], by=by)
    return card


@bus.atomically
def set_credential(card: Card, credential_id: int | None, *, by: int | None) -> Card:
    """Which key the card's next session uses; whether the caller may assign it was asked before."""
    bus.lock(card.project_id)
    return _save(fresh(card), {"credential_id": credential_id}, by=by)


@bus.atomically
def release_credential(credential: Credential) -> None:
    """Before a credential goes: no card names it any more, and browsers hear of it."""
    for card in Card.objects.filter(credential=credential).order_by("project_id", "pk"):
        set_credential(card, None, by=None)


@bus.atomically
def set_auto_mode(card: Card, *, enabled: bool, by: int | None) -> Card:
    """Switched on with a step waiting for approval, the card moves on at once."""
    bus.lock(card.project_id)
    card = _save(fresh(card), {"auto_mode": enabled}, by=by)
    if enabled and card.pending_approval:
        onward = next_column(card)
        if onward is not None:
            return move_card(card, to=onward, by=by)
    return card


def _save(card: Card, changes: dict[str, Any], *, by: int | None, anyway: bool = False) -> Card:
    """Write what differs and tell of it; nothing at all when nothing differs."""
    changed = [name for name, value in changes.items() if getattr(card, name) != value]
    if not changed and not anyway:
        return card
    for name in changed:
        setattr(card, name, changes[name])
    card.updated_at = timezone.now()
    fields = [*changed, "updated_at"]
    if by is not None:
        card.noted_seq, card.noted_by = next_seq(card.project_id), by
        fields += ["noted_seq", "noted_by"]
    card.save(update_fields=fields)
    bus.publish(CardUpdated(project_id=card.project_id, card_id=card.pk), by=by)
    return card
