"""Starting and stopping a card's agent without a move; whoever knows about agents registers how.

Called inside the transaction of the change, with the stream locked.
"""

from __future__ import annotations

from collections.abc import Callable

from apps.cards.models import Card

Starter = Callable[[Card, int | None], None]
Stopper = Callable[[Card, int | None, str], None]

Reconsiderer = Callable[[Card], None]
Holder = Callable[[list[int]], None]

# What somebody did, as the transcript says after their name.
COMPLETED = "completed the card, which ends this work."
STOPPED = "stopped the agent."

_starters: list[Starter] = []
_stoppers: list[Stopper] = []
_reconsiderers: list[Reconsiderer] = []
_holders: list[Holder] = []


def on_start(listener: Starter) -> Starter:
    """Call `listener(card, by)` for a card that stands in an active column and may start now.

    It was activated, or what it waited for is complete; the gate is still to be asked.
    """
    _starters.append(listener)
    return listener


def on_stop(listener: Stopper) -> Stopper:
    """Call `listener(card, by, did)` when the agent of a card has to stop where it stands; `did` says why."""
    _stoppers.append(listener)
    return listener


def on_reconsider(listener: Reconsiderer) -> Reconsiderer:
    """Call `listener(card)` when people changed or deleted what may have deferred it; starts nothing."""
    _reconsiderers.append(listener)
    return listener


def on_hold(listener: Holder) -> Holder:
    """Call `listener(card ids)` before the agents of several cards are started or stopped in any order."""
    _holders.append(listener)
    return listener


def start(card: Card, *, by: int | None) -> None:
    for listener in _starters:
        listener(card, by)


def stop(card: Card, *, by: int | None, did: str) -> None:
    for listener in _stoppers:
        listener(card, by, did)


def reconsider(card: Card) -> None:
    for listener in _reconsiderers:
        listener(card)


def hold(card_ids: list[int]) -> None:
    """Nobody else writes to what is at work on these cards until the transaction ends."""
    for listener in _holders:
        listener(card_ids)
