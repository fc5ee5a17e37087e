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


def announce(card_ids: list[int]) -> None:
    """From here on nobody can refer to the cards.

    What people keep of them (panels, what was read) is written without the stream: a row that came between
    the statements of the deletion would have its COMMIT refused. So whoever writes one waits, and finds that
    the card is gone.
    """
    if connection.features.has_select_for_update:
        list(Card.objects.select_for_update().filter(pk__in=card_ids).order_by("pk").values("pk"))
    for listener in _listeners:
        listener(card_ids)
