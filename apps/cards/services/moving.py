from __future__ import annotations

from typing import Any

from django.utils import timezone

from apps.boards.models import Column, ColumnType
from apps.cards import starting
from apps.cards.events import CardMoved, CardUpdated
from apps.cards.models import Card
from apps.cards.pipelines import next_column, starting_column
from apps.cards.selectors import first_column
from apps.cards.serializers import is_live
from apps.cards.services.blocking import start_unblocked
from apps.cards.services.creating import COMPLETE
from apps.cards.services.places import Places
from apps.cards.services.standing import (
    fresh,
    one,
    shift_between,
    shift_columns,
    write,
)
from apps.common.errors import Conflict, NotFound
from apps.common.fetching import shape
from apps.events import bus

NOT_DEFERRED = {
    "defer": False,
    "deferred_code": None,
    "deferred_message": None,
    "pending_approval": False,
}


def move_card(
    card: Card, *, to: Column, by: int | None, defer: bool = False, places: Places | None = None
) -> Card:
    """`move` to the end of the column, for who has read both already."""
    return move(
        card.pk, project_id=card.project_id, column_id=to.pk, by=by, defer=defer, places=places
    )


def _statement() -> str:
    """The card, its new column if there is such a one, and what a move has to know of both columns."""
    return f"""
        SELECT f.column_type, (SELECT COUNT(*) FROM cards_card WHERE column_id = t.id),
               {shape(Card).columns("c")}, {shape(Column).columns("t")}
        FROM cards_card c
        JOIN boards_column f ON f.id = c.column_id
        LEFT JOIN boards_column t ON t.id = %s AND t.project_id = c.project_id
        WHERE c.id = %s AND c.project_id = %s
    """


@bus.atomically
def move(
    card_id: int,
    *,
    project_id: int,
    column_id: int,
    position: int | None = None,
    by: int | None,
    defer: bool = False,
    places: Places | None = None,
) -> Card:
    """Put the card at `position` of the column, clamped, or at its end; the others close up and make room.

    In the same column that is only a new place: it restarts nothing and clears nothing. Entering another
    one starts or stops the card's agent (by those who listen to `CardMoved`), completes the card or makes
    it incomplete again, and forgets what it was deferred or waiting for approval for. `by` None is the
    server's own move, which makes nothing unread. With `places` the others' rows are left to those.
    """
    bus.lock(project_id)
    row = one(_statement(), [column_id, card_id, project_id])
    if row is None:
        raise NotFound("There is no such card in this project.")
    from_type, target_length, *values = row
    card = shape(Card).made(values[: shape(Card).width])
    if values[shape(Card).width] is None:
        raise NotFound("There is no such column in this project.")
    to = shape(Column).made(values[shape(Card).width :])
    from_id, old_position, completed_at = card.column_id, card.position, card.completed_at
    entered = from_id != to.pk
    last = target_length if entered else target_length - 1
    new_position = last if position is None else max(0, min(position, last))
    now = timezone.now()
    changes: dict[str, Any] = {"position": new_position, "updated_at": now}
    is_complete = was_complete = completed_at is not None
    if entered:
        is_complete = to.column_type in COMPLETE
        changes |= {
            **NOT_DEFERRED,
            "column_id": to.pk,
            "completed_at": (completed_at or now) if is_complete else None,
            "defer": defer and to.column_type == ColumnType.ACTIVE,
        }
    if places is not None:
        places.move(card.pk, from_id, to.pk, new_position)
    elif entered:
        shift_columns((from_id, old_position), (to.pk, new_position))
    elif new_position != old_position:
        shift_between(to.pk, old_position, new_position)
    write(card, changes, noted_by=by)
    card.column = to
    event = CardMoved(
        project_id=card.project_id,
        card=card,
        from_column_id=from_id,
        from_column_type=from_type,
        entered=entered,
        by=by,
        defer=defer,
    )
    bus.publish(event, by=by)
    if is_complete and not was_complete:
        start_unblocked(card.pk, by=by, places=places)
    if by is not None and not event.starts and not event.stops:
        card.shown = event.row
    return card


@bus.atomically
def complete_card(card: Card, *, by: int | None, places: Places | None = None) -> Card:
    """Stop its agent and move it to the first done column of its board; it stays if there is none.

    Repeatable: a card that is complete stays where it is.
    """
    bus.lock(card.project_id)
    card = fresh(card)
    if card.column.column_type in COMPLETE:
        # A message may have taken its agent up again.
        starting.stop(card, by=by, did=starting.COMPLETED)
        return card
    done = first_column(card.column.board_id, ColumnType.DONE)
    if done is not None:
        return move_card(card, to=done, by=by, places=places)
    if card.completed_at is not None:
        return card
    starting.stop(card, by=by, did=starting.COMPLETED)
    changes = {"completed_at": timezone.now(), "updated_at": timezone.now()}
    write(card, {**changes, **NOT_DEFERRED}, noted_by=by)
    bus.publish(CardUpdated(project_id=card.project_id, card_id=card.pk), by=by)
    start_unblocked(card.pk, by=by, places=places)
    return card


def activate_card(card: Card, *, by: int | None) -> Card:
    """Start a card's agent: one that was put off where it stands, one from a backlog by a move.

    Does nothing while an agent works on it. Raises Conflict with the gate's reason when the card stays
    deferred; what was done until then stays done.
    """
    card = start_card(card, by=by)
    if card.deferred_code is not None:
        raise Conflict(card.deferred_message or "It may not start yet.", code=card.deferred_code)
    return card


@bus.atomically
def start_card(card: Card, *, by: int | None, places: Places | None = None) -> Card:
    """`activate_card`, for whom it is well if the gate keeps the card deferred."""
    bus.lock(card.project_id)
    card = fresh(card)
    if card.column.column_type in COMPLETE:
        raise Conflict(
            "The card is done; move it back to work on it again.", code="card_is_complete"
        )
    if card.column.column_type == ColumnType.BACKLOG:
        return move_card(card, to=starting_column(card), by=by, places=places)
    if is_live(card.agent_status):
        return card
    if card.defer:
        write(card, {"defer": False})
    starting.start(card, by=by)
    return card


@bus.atomically
def approve_step(card: Card, *, by: int | None) -> Card:
    """Move a card on whose step is finished and waits for a person's word; Conflict when none waits."""
    bus.lock(card.project_id)
    card = fresh(card)
    if not card.pending_approval:
        raise Conflict(
            "No finished step of this card waits for approval.", code="nothing_to_approve"
        )
    onward = next_column(card)
    if onward is None:
        raise Conflict(
            "There is no later active column and no done column that the card could go to;"
            " add one to the board, or move the card yourself.",
            code="no_next_column",
        )
    return move_card(card, to=onward, by=by)
