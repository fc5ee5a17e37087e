"""Before cards go: what apps above have to do, registered by them."""

from __future__ import annotations

from collections.abc import Callable

from django.db import connection

from apps.cards.models import Card

Listener = Callable[[list[int]], None]

_listeners: list[Listener] = []


def on_delete(listener: Listener) -> Listener:
    """Call `listener(card ids)` inside the transaction, stream locked, while the cards are still there."""
    _listeners.append(listener)
    return listener


def held_off(cards: str) -> str:
    """The end of a SELECT by which the cards that it finds under this name stay until the commit.

    What people keep of cards (panels, what was read) is written without the stream. A row that came between
    the statements of a deletion would have its COMMIT refused; so its writer holds the cards, before any row
    that goes with them, and finds those gone that go already. On SQLite a writer is alone.
    """
    return f" FOR KEY SHARE OF {cards}" if connection.vendor == "postgresql" else ""


def announce(card_ids: list[int]) -> None:
    """From here on nobody can refer to the cards: see `held_off`."""
    if connection.features.has_select_for_update:
        list(Card.objects.select_for_update().filter(pk__in=card_ids).order_by("pk").values("pk"))
    for listener in _listeners:
        listener(card_ids)
