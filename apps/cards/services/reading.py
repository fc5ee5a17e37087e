from __future__ import annotations

from django.db import IntegrityError, transaction

from apps.cards.models import Card
from apps.cards.services.standing import execute, gone, one
from apps.common.envelope import dumps
from apps.common.ids import public_id
from apps.events import bus, telling


def mark_viewed(card: Card, *, user_id: int) -> None:
    """This person has seen all there is. Repeatable; told to their own browsers only, without a seq.

    Takes no lock: a change that commits meanwhile has a later seq, and makes the card unread again.
    """
    try:
        _mark_viewed(card, user_id=user_id)
    except IntegrityError:
        # Without the lock the card can go between our statement and the commit.
        raise gone() from None


@bus.atomically
def _mark_viewed(card: Card, *, user_id: int) -> None:
    raised = one(
        "INSERT INTO cards_cardread (card_id, user_id, seq)"
        " SELECT c.id, %s, s.version FROM cards_card c"
        " JOIN events_eventstream s ON s.project_id = c.project_id WHERE c.id = %s"
        " ON CONFLICT (card_id, user_id) DO UPDATE SET seq = excluded.seq"
        " WHERE cards_cardread.seq < excluded.seq RETURNING seq",
        [user_id, card.pk],
    )
    if raised is None:
        return
    execute(
        "INSERT INTO projects_projectvisit (project_id, user_id, read_version) VALUES (%s, %s, 1)"
        " ON CONFLICT (project_id, user_id)"
        " DO UPDATE SET read_version = projects_projectvisit.read_version + 1",
        [card.project_id, user_id],
    )
    data = {
        "id": public_id("card", card.pk),
        "projectId": public_id("project", card.project_id),
    }
    frame = f'{{"type":"card.read","data":{dumps(data).decode()}}}'

    def tell() -> None:
        telling.tell_user(user_id, frame)

    transaction.on_commit(tell, robust=True)
