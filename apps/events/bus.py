"""The bus: a change and its event are one transaction; browsers hear of it after the commit.

Lock order everywhere: limits (claims only) → event stream → card → session → request, ids ascending.
A service that will publish calls `lock` first and refreshes what it is about to change after it: what a
view read may be stale by then. (With another order 65 of 80 concurrent transactions deadlocked on
PostgreSQL; without the lock 73 of 320 concurrent moves put a card into the wrong column.)
"""

from __future__ import annotations

import functools
import logging
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, ParamSpec, TypeVar

from django.db import OperationalError, connection, transaction
from django.utils import timezone

from apps.common.envelope import dumps
from apps.events import commits, telling
from apps.events.models import EventStream
from apps.events.writing import turn

logger = logging.getLogger(__name__)

P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True, kw_only=True)
class ProjectEvent:
    """Something that changed in a project. `type` is its name on the wire; `data()` its REST shape."""

    type: ClassVar[str]
    project_id: int

    def data(self) -> dict[str, Any]:
        raise NotImplementedError


_listeners: dict[type[ProjectEvent], list[Callable[[Any], None]]] = defaultdict(list)
E = TypeVar("E", bound=ProjectEvent)


def listen(event: type[E]) -> Callable[[Callable[[E], None]], Callable[[E], None]]:
    """Call the function inside the transaction of every such event; what it raises undoes the change."""

    def register(listener: Callable[[E], None]) -> Callable[[E], None]:
        _listeners[event].append(listener)
        return listener

    return register


_RETRIED = ("40P01", "40001")  # deadlock_detected, serialization_failure
_TRIES = 3


def atomically(function: Callable[P, R]) -> Callable[P, R]:
    """Run the whole service in one transaction, and again (three times in all) after a deadlock.

    Inside another transaction it simply joins: only the outermost one can be run again. A COMMIT without an
    answer is not run again; see `commits`.
    """

    @functools.wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        if connection.in_atomic_block:
            return function(*args, **kwargs)
        for attempt in range(1, _TRIES + 1):
            number = None
            commits.begin()
            try:
                with turn(), transaction.atomic():
                    result = function(*args, **kwargs)
                    number = commits.number()
                return result
            except OperationalError as error:
                if getattr(error.__cause__, "sqlstate", None) not in _RETRIED:
                    if number is not None and commits.look_up(number, result):
                        return result
                    raise
                if attempt == _TRIES:
                    raise
                logger.warning("transaction of %s ran into another, again", function.__qualname__)
                time.sleep(0.02 * attempt)
        raise AssertionError("unreachable")

    return run


def lock(project_id: int) -> None:
    """Nobody else changes this project until the transaction ends.

    On SQLite the transaction itself is that lock (IMMEDIATE).
    """
    if not connection.in_atomic_block:
        raise RuntimeError("events.lock needs a transaction")
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute(
                f"SELECT {commits.NUMBER} FROM events_eventstream WHERE project_id = %s"
                " FOR NO KEY UPDATE",
                [project_id],
            )
            for (number,) in cursor.fetchall():
                commits.learn(number)


def _now() -> Any:
    return connection.ops.adapt_datetimefield_value(timezone.now())


def publish(event: ProjectEvent, *, by: int | None = None) -> int:
    """Store the event and let listeners act, inside this transaction; tell browsers after its commit.

    Returns the event's seq. `by` is the id of the user who did it, None for the server itself.
    """
    data = dumps(event.data()).decode()
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE events_eventstream SET version = version + 1 WHERE project_id = %s"
            " RETURNING version, epoch",
            [event.project_id],
        )
        row = cursor.fetchone()
        if row is None:
            raise RuntimeError(f"project {event.project_id} has no event stream")
        seq, epoch = row
        cursor.execute(
            "INSERT INTO events_storedevent (stream_id, seq, actor_id, type, data, created_at)"
            " VALUES (%s, %s, %s, %s, %s, %s)",
            # SQLite's own clock knows no parts of a second.
            [event.project_id, seq, by, event.type, data, _now()],
        )
    for listener in _listeners[type(event)]:
        listener(event)

    def tell() -> None:
        telling.tell_project(event.project_id, epoch, seq, frame(event.type, seq, data))

    transaction.on_commit(tell, robust=True)
    return int(seq)


def frame(kind: str, seq: int, data: str) -> str:
    """The text that goes over the socket, from the stored JSON, without parsing it."""
    return f'{{"type":"{kind}","seq":{seq},"data":{data}}}'


def create_stream(project_id: int) -> EventStream:
    return EventStream.objects.create(project_id=project_id)


@dataclass(frozen=True)
class Position:
    """Where a stream stands; `since` on the wire is `epoch:seq`, or a bare seq."""

    epoch: str
    seq: int

    def __str__(self) -> str:
        return f"{self.epoch}:{self.seq}"


def since(text: str) -> Position | int:
    """How far a client is, as it was told: `epoch:seq`, or a bare seq. ValueError on anything else."""
    epoch, _, seq = text.rpartition(":")
    if not (seq.isascii() and seq.isdigit() and len(seq) <= 18):
        raise ValueError('since must be a seq, or "epoch:seq" as the server gave it')
    return Position(epoch, int(seq)) if epoch else int(seq)


def position(project_id: int) -> Position | None:
    row = EventStream.objects.filter(pk=project_id).values_list("epoch", "version").first()
    return None if row is None else Position(*row)
