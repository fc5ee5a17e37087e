from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.utils import timezone

from apps.boards.models import Column
from apps.cards import starting
from apps.cards.events import CardUpdated
from apps.cards.models import Card, PipelineStep
from apps.cards.pipelines import next_column
from apps.cards.services.blocking import set_blockers, start_if_unblocked
from apps.cards.services.moving import move_card
from apps.cards.services.standing import fresh, next_seq
from apps.common.errors import Invalid
from apps.common.ids import public_id
from apps.credentials.assigning import hold_credential
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
    if credential_id is not None:
        hold_credential(credential_id)
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


@bus.atomically
def set_pipeline(card: Card, steps: Sequence[tuple[int, str | None]], *, by: int | None) -> Card:
    """Replace the card's own way: (column, own prompt or None) each; none at all is its board's way.

    Invalid on a column of another board and on one that is named twice.
    """
    bus.lock(card.project_id)
    card = fresh(card)
    column_ids = [column_id for column_id, _ in steps]
    board = Column.objects.filter(board_id=card.column.board_id, pk__in=column_ids)
    known = set(board.values_list("pk", flat=True))
    for place, column_id in enumerate(column_ids):
        if column_id not in known:
            raise Invalid(
                f"steps: there is no column {public_id('column', column_id)} on the card's board."
            )
        if column_id in column_ids[:place]:
            raise Invalid(f"steps: {public_id('column', column_id)} is named twice.")
    own = PipelineStep.objects.filter(card=card).order_by("position", "pk")
    if list(own.values_list("column_id", "prompt")) == list(steps):
        return card
    own.delete()
    PipelineStep.objects.bulk_create(
        PipelineStep(card=card, column_id=column_id, position=place, prompt=prompt)
        for place, (column_id, prompt) in enumerate(steps)
    )
    return _save(card, {}, by=by, anyway=True)


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
    if {"credential_id", "permission_mode"} & set(changed):
        starting.reconsider(card)
    return card
