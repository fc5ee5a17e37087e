"""What agents say of a card; called inside their transactions, which hold the project's stream."""

from __future__ import annotations

from typing import Any

from apps.cards.events import CardUpdated
from apps.cards.models import Card
from apps.cards.services.standing import NEXT_SEQ, one, write
from apps.events import bus


def set_agent_status(
    card_id: int, status: str | None, *, noted: bool, pending_approval: bool | None = None
) -> None:
    """The state of the card's session, as lists show it. `noted` makes the card unread to everybody."""
    sets: list[str] = ["agent_status = %s"]
    parameters: list[Any] = [status]
    if noted:
        sets.append(f"noted_seq = {NEXT_SEQ}, noted_by = NULL")
    if pending_approval is not None:
        sets.append("pending_approval = %s")
        parameters.append(pending_approval)
    row = one(
        f"UPDATE cards_card SET {', '.join(sets)} WHERE id = %s RETURNING project_id",
        [*parameters, card_id],
    )
    if row is not None:
        bus.publish(CardUpdated(project_id=row[0], card_id=card_id))


def defer_card(card: Card, code: str, message: str) -> None:
    """Say why the card's agent doesn't start."""
    write(card, {"deferred_code": code, "deferred_message": message})
    bus.publish(CardUpdated(project_id=card.project_id, card_id=card.pk))


def clear_deferral(card: Card) -> None:
    write(card, {"defer": False, "deferred_code": None, "deferred_message": None})
    bus.publish(CardUpdated(project_id=card.project_id, card_id=card.pk))
