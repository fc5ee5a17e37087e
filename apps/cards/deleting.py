"""Before cards go: what apps above have to do, registered by them."""

from __future__ import annotations

from collections.abc import Callable

Listener = Callable[[list[int]], None]

_listeners: list[Listener] = []


def on_delete(listener: Listener) -> Listener:
    """Call `listener(card ids)` inside the transaction, stream locked, while the cards are still there."""
    _listeners.append(listener)
    return listener


def announce(card_ids: list[int]) -> None:
    for listener in _listeners:
        listener(card_ids)
