"""Before a board's rows go: what apps above have to do for its cards, registered by them."""

from __future__ import annotations

from collections.abc import Callable

from apps.boards.models import Board

Listener = Callable[[Board], list[str]]

_listeners: list[Listener] = []


def on_delete(listener: Listener) -> Listener:
    """Call the listener inside the transaction, with the stream locked, while the cards are still there.

    It returns the names of patches that hold work which was nowhere else.
    """
    _listeners.append(listener)
    return listener


def announce(board: Board) -> list[str]:
    return [name for listener in _listeners for name in listener(board)]
