"""What keeps a card from starting that the card itself knows; `agents` asks the rest (key, program)."""

from __future__ import annotations

from django.db import connection

from apps.cards.models import Card
from apps.common.ids import public_id

DEFERRED = "deferred"
BLOCKED = "blocked"

_NAMED = 3


def own_obstacle(card: Card) -> tuple[str, str] | None:
    """(code, sentence), or None. One query for a card that waits for no other, else two."""
    if card.defer:
        return (
            DEFERRED,
            "The card was put into this column without starting its agent; activate it to start.",
        )
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT EXISTS (SELECT 1 FROM cards_dependency WHERE card_id = %s)", [card.pk]
        )
        if not cursor.fetchone()[0]:
            return None
    waiting_for = list(
        Card.objects.filter(blocking__card_id=card.pk, completed_at__isnull=True)
        .order_by("pk")
        .values_list("pk", "title")[: _NAMED + 1]
    )
    if not waiting_for:
        return None
    names = ", ".join(f"“{title}” ({public_id('card', pk)})" for pk, title in waiting_for[:_NAMED])
    more = " and others" if len(waiting_for) > _NAMED else ""
    return (BLOCKED, f"It waits for {names}{more}, and starts by itself when all are complete.")
