from __future__ import annotations

from django.db import connection, transaction

from apps.cards.deleting import held_off
from apps.cards.models import Card
from apps.cards.services.standing import execute, one
from apps.common.envelope import dumps
from apps.common.ids import optional_id, public_id
from apps.events import bus, telling


@bus.atomically
def mark_viewed(card: Card, *, user_id: int) -> None:
    """This person has seen all there is. Repeatable; told to their own browsers only, without a seq.

    Without the stream: a change that commits meanwhile has a later seq, and makes the card unread again.
    """
    raised = one(
        "INSERT INTO cards_cardread (card_id, user_id, seq)"
        " SELECT c.id, %s, s.version FROM cards_card c"
        f" JOIN events_eventstream s ON s.project_id = c.project_id WHERE c.id = %s{held_off('c')}"
        " ON CONFLICT (card_id, user_id) DO UPDATE SET seq = excluded.seq"
        " WHERE cards_cardread.seq < excluded.seq RETURNING seq",
        [user_id, card.pk],
    )
    if raised is None:
        return
    _tell(card.project_id, card.pk, user_id=user_id)


@bus.atomically
def mark_all_viewed(project_id: int, *, user_id: int) -> None:
    """The same for all cards at once, told once."""
    # Under the lock none of them goes before the commit.
    bus.lock(project_id)
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO cards_cardread (card_id, user_id, seq)"
            " SELECT c.id, %s, s.version FROM cards_card c"
            " JOIN events_eventstream s ON s.project_id = c.project_id"
            " LEFT JOIN cards_cardread r ON r.card_id = c.id AND r.user_id = %s"
            " WHERE c.project_id = %s AND c.noted_seq > COALESCE(r.seq, 0)"
            " AND (c.noted_by IS NULL OR c.noted_by <> %s) ORDER BY c.id"
            " ON CONFLICT (card_id, user_id) DO UPDATE SET seq = excluded.seq"
            " WHERE cards_cardread.seq < excluded.seq",
            [user_id, user_id, project_id, user_id],
        )
        read = cursor.rowcount
    if read:
        _tell(project_id, None, user_id=user_id)


def _tell(project_id: int, card_id: int | None, *, user_id: int) -> None:
    """Renew what the person is shown, here and in their browsers; without a card, it is all of them."""
    execute(
        "INSERT INTO projects_projectvisit (project_id, user_id, read_version) VALUES (%s, %s, 1)"
        " ON CONFLICT (project_id, user_id)"
        " DO UPDATE SET read_version = projects_projectvisit.read_version + 1",
        [project_id, user_id],
    )
    data = {"id": optional_id("card", card_id), "projectId": public_id("project", project_id)}
    frame = f'{{"type":"card.read","data":{dumps(data).decode()}}}'

    def tell() -> None:
        telling.tell_user(user_id, frame)

    transaction.on_commit(tell, robust=True)
