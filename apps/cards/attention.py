"""Cards that wait for a person: kept on the card, in the transaction of whatever makes them wait or go on.

Everything that could change it is told by an event, so that it is looked at once after each of them; what
makes many cards without telling of each (an import) calls `begin`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Protocol

from django.utils import timezone

from apps.cards.events import CardCreated, CardMoved, CardUpdated
from apps.cards.models import Card
from apps.cards.rows import CardDetailRow, row_of
from apps.events.bus import listen
from apps.runs.models import State

DEFERRED, APPROVAL, FAILED = "deferred", "approval", "failed"
Listener = Callable[[int, str | None, str | None], None]

_listeners: list[Listener] = []


def on_change(listener: Listener) -> Listener:
    """Call `listener(card id, before, now)` inside the transaction when a card begins or ceases to wait."""
    _listeners.append(listener)
    return listener


class Waiting(Protocol):
    """What decides whether a card waits for a person, of its row however that was read."""

    @property
    def deferred_code(self) -> str | None: ...
    @property
    def pending_approval(self) -> bool: ...
    @property
    def agent_status(self) -> str | None: ...
    @property
    def completed_at(self) -> datetime | None: ...


def kind_of(row: Waiting) -> str | None:
    if row.deferred_code is not None:
        return DEFERRED
    if row.pending_approval:
        return APPROVAL
    if row.agent_status == State.FAILED and row.completed_at is None:
        return FAILED
    return None


def begin(cards: Iterable[Card]) -> None:
    """Of cards that are about to be made, so that nobody has to be told; they are not saved here."""
    now = timezone.now()
    for card in cards:
        card.attention = kind_of(card)
        card.attention_since = now if card.attention else None


@listen(CardCreated)
def created(event: CardCreated) -> None:
    _look(event.row)


@listen(CardUpdated)
def updated(event: CardUpdated) -> None:
    _look(event.row)


@listen(CardMoved)
def moved(event: CardMoved) -> None:
    _look(event.row)


def _look(told: CardDetailRow) -> None:
    if kind_of(told.row) == told.attention:
        return
    # Whoever heard of it before may have changed the card since.
    detail = row_of(told.row.id)
    before, now = detail.attention, kind_of(detail.row)
    if before == now:
        return
    since = timezone.now() if now else None
    Card.objects.filter(pk=told.row.id).update(attention=now, attention_since=since)
    for listener in _listeners:
        listener(told.row.id, before, now)
