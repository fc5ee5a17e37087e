"""The bounded sink: one thread a worker that stores the lines of all runs in batches.

Every 25 ms at most one transaction stores whatever came in and tells the hubs after its commit (its
statements: `storing`). The only source of `index` and `rev` is one UPDATE … RETURNING on the run's row,
guarded by its fence, in the transaction of the insert: a stale owner gets no numbers.

A line is named by (fence, ordinal), so after a commit whose answer was lost the sink reads what is there and
stores the rest. Nothing is dropped: a run with more than 2,000 lines or 2 MB unsaved is not read
(`Feed.room`) until the database has caught up. SQLite: this connection alone runs with synchronous=NORMAL; a
power cut may cost the transcript's last moments, never a change that was answered to.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import chain
from typing import Protocol

from django.db import DatabaseError, InterfaceError, connection, transaction

from apps.events import telling
from apps.events.writing import turn
from apps.runs import storing
from apps.runs.outages import is_outage

logger = logging.getLogger(__name__)

FLUSH_S = 0.025
MOST_LINES = 2_000
MOST_BYTES = 2_000_000
# Of one transaction; whoever is left out comes first in the next.
BATCH_LINES = 4_000
BATCH_BYTES = 8_000_000


@dataclass
class Line:
    """A message as it stands now. The same ordinal put again is an update of the same message.

    Lines on their way are never changed themselves: a later state is another line.
    """

    ordinal: int
    role: str
    type: str
    content: str = ""
    tool_call: str | None = None
    partial: bool = False
    truncated: bool = False
    turn_id: int | None = None
    created_at: datetime = field(default_factory=lambda: datetime.now(UTC))

    @property
    def size(self) -> int:
        """In bytes of UTF-8."""
        return _size(self.content) + _size(self.tool_call or "")


def _size(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode(errors="surrogatepass"))


class Table(Protocol):
    """Where lines of a kind of run go: its tables, and the frame a browser gets for a stored one.

    `columns`: those of `storing.COLUMNS` that its lines have; the numbers among them, always. `channel`:
    where hubs hear of what is stored.
    """

    run_table: str
    line_table: str
    foreign_key: str
    columns: tuple[str, ...]
    channel: str

    def frame(self, run_id: int, message_id: int, index: int, rev: int, line: Line) -> str: ...


@dataclass
class Feed:
    """One run's way into the sink. Made and used in the loop's thread; the sink's thread empties it.

    `taken_lines`, `taken_bytes`: how much left `pending` for the batch that is being stored.
    """

    table: Table
    run_id: int
    fence: int
    on_lost: Callable[[], None]
    sink: Sink
    pending: dict[int, Line] = field(default_factory=dict)
    in_flight: dict[int, Line] = field(default_factory=dict)
    stored: dict[int, tuple[int, int]] = field(default_factory=dict)
    learned: dict[int, tuple[int, int]] = field(default_factory=dict)
    done: set[int] = field(default_factory=set)
    bytes: int = 0
    taken_lines: int = 0
    taken_bytes: int = 0
    room_again: asyncio.Event = field(default_factory=asyncio.Event)
    emptied: asyncio.Event = field(default_factory=asyncio.Event)
    next_ordinal: int = 0
    lost: bool = False

    def new_ordinal(self) -> int:
        self.next_ordinal += 1
        return self.next_ordinal

    def put(self, line: Line) -> None:
        """Store the line, or its newest state, soon. Never blocks; ask `room` before reading more."""
        if self.lost:
            return
        with self.sink.lock:
            old = self.pending.get(line.ordinal)
            self.bytes += line.size - (old.size if old else 0)
            self.pending[line.ordinal] = line
            self.sink.waiting[id(self)] = self
        if not self.sink.ring.is_set():
            self.sink.ring.set()

    def index_of(self, ordinal: int) -> int | None:
        """The message's index once it is stored; deltas need it."""
        place = self.stored.get(ordinal)
        return place[1] if place else None

    @property
    def full(self) -> bool:
        return (
            len(self.pending) + self.taken_lines >= MOST_LINES
            or self.bytes + self.taken_bytes >= MOST_BYTES
        )

    async def room(self) -> None:
        """Wait until there is room for more; the caller reads nothing from its process meanwhile."""
        while self.full and not self.lost:
            # Whatever is unsaved is yet to be stored, and each batch that is wakes us after it.
            self.room_again.clear()
            await self.room_again.wait()

    async def flushed(self) -> None:
        """Wait until everything put so far is stored (or refused because the run isn't ours any more)."""
        while (self.pending or self.in_flight) and not self.lost:
            # Waiting for an event that is set would not suspend, and so stop the whole loop.
            self.emptied.clear()
            await self.emptied.wait()

    def forget(self, ordinal: int) -> None:
        """The line will not change again; its place needs no remembering once it is stored."""
        with self.sink.lock:
            self.done.add(ordinal)


class _Outage(Exception):
    """The database is gone, busy or full, or refuses everything: the same batch is tried again."""


class Sink:
    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.ring = threading.Event()
        self.waiting: dict[int, Feed] = {}
        self.closing = False
        self.loop: asyncio.AbstractEventLoop | None = None
        self.thread: threading.Thread | None = None

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.thread = threading.Thread(target=self._run, name="sink", daemon=True)
        self.thread.start()

    def feed(self, table: Table, run_id: int, fence: int, on_lost: Callable[[], None]) -> Feed:
        return Feed(table, run_id, fence, on_lost, self)

    def close(self, timeout: float = 5.0) -> None:
        """Store what is there and end; gives up after that many seconds if the database is gone."""
        self.closing = True
        self.ring.set()
        if self.thread:
            self.thread.join(max(0.0, timeout))

    def _run(self) -> None:
        try:
            self._serve()
        except Exception:
            # Without this thread every run of the worker would wait for ever.
            logger.critical("the sink can't go on; the worker ends", exc_info=True)
            os._exit(70)
        finally:
            connection.close()

    def _serve(self) -> None:
        while True:
            self.ring.wait()
            self.ring.clear()
            while batch := self._take():
                started = time.monotonic()
                self._insist(batch)
                if not self.closing:
                    time.sleep(max(0.0, FLUSH_S - (time.monotonic() - started)))
            if self.closing:
                return

    def _insist(self, batch: list[Feed]) -> None:
        """Try until the batch is stored; never again before it is known what the last try has stored."""
        delay, known = 0.1, True
        while not (known and self._store(batch)):
            logger.warning(
                "the sink can't store %d runs' lines; again in %.1f s", len(batch), delay
            )
            time.sleep(delay)
            delay = min(5.0, delay * 2)
            known = self._find_stored(batch)

    def _take(self) -> list[Feed]:
        """Move what is pending to in flight; a feed that fails keeps it there for the next try."""
        batch, lines, size = [], 0, 0
        with self.lock:
            while self.waiting and lines < BATCH_LINES and size < BATCH_BYTES:
                feed = self.waiting.pop(next(iter(self.waiting)))
                lines, size = lines + len(feed.pending), size + feed.bytes
                feed.taken_lines, feed.taken_bytes = len(feed.pending), feed.bytes
                feed.in_flight, feed.pending, feed.bytes = feed.pending, {}, 0
                batch.append(feed)
        return [feed for feed in batch if feed.in_flight]

    def _store(self, batch: list[Feed]) -> bool:
        """Store the batch, in one transaction if possible; False when the database is out of reach."""
        try:
            self._put(batch)
        except _Outage:
            return False
        self._settle(batch)
        return True

    def _put(self, batch: list[Feed]) -> None:
        try:
            self._normal_sync()
            self._tell(self._transact(batch))
        except (DatabaseError, InterfaceError) as error:
            with contextlib.suppress(Exception):
                connection.close()
            if is_outage(error):
                raise _Outage from error
            self._put_apart(batch, error)

    def _put_apart(self, batch: list[Feed], error: Exception) -> None:
        """The database refuses some of the data: each run by itself, then each line by itself."""
        if len(batch) > 1:
            for feed in batch:
                self._put([feed])
            return
        feed, lines = batch[0], batch[0].in_flight
        if len(lines) == 1:
            self._put_replacement(feed, error)
            return
        try:
            for ordinal, line in lines.items():
                feed.in_flight = {ordinal: line}
                self._put([feed])
        finally:
            feed.in_flight = lines

    def _put_replacement(self, feed: Feed, error: Exception) -> None:
        """A line that can be stored by any database in place of the one that can't.

        If that is refused too, it isn't the line: a right is missing, an index is damaged. So it is an
        outage, and the line itself is tried again.
        """
        logger.error("%s %s: a line can't be stored: %s", feed.table.run_table, feed.run_id, error)
        lines = feed.in_flight
        note = f"(This line could not be stored: {type(error).__name__})"
        feed.in_flight = {
            ordinal: replace(line, content=note, tool_call=None) for ordinal, line in lines.items()
        }
        try:
            self._tell(self._transact([feed]))
        except (DatabaseError, InterfaceError) as again:
            if not is_outage(again):
                logger.exception("not even its replacement can be stored")
            raise _Outage from again
        finally:
            feed.in_flight = lines

    def _transact(self, batch: Iterable[Feed]) -> list[storing.Stored]:
        kinds = _by_kind(batch)
        told: list[storing.Stored] = []
        with turn(), transaction.atomic(), connection.cursor() as cursor:
            for feeds in kinds:
                for feed in feeds:
                    feed.learned = {}
                told += storing.store(cursor, feeds[0].table, feeds)
        # Only now: what a transaction that fails has learned was never stored.
        ours = {id(feed) for feed, *_ in told}
        for feed in chain.from_iterable(kinds):
            feed.stored.update(feed.learned)
            feed.lost = feed.lost or id(feed) not in ours
        return told

    def _tell(self, told: list[storing.Stored]) -> None:
        channels: dict[str, list[tuple[int, int, int, list[str]]]] = {}
        for feed, first, last, frames in told:
            news = channels.setdefault(feed.table.channel, [])
            news.append((feed.run_id, first, last, frames))
        for channel, news in channels.items():
            telling.tell_lines(channel, news)

    def _settle(self, batch: list[Feed]) -> None:
        with self.lock:
            for feed in batch:
                feed.in_flight = {}
                feed.taken_lines = feed.taken_bytes = 0
                for ordinal in feed.done.difference(feed.pending):
                    feed.done.discard(ordinal)
                    feed.stored.pop(ordinal, None)
        if self.loop is not None:
            with contextlib.suppress(RuntimeError):
                self.loop.call_soon_threadsafe(_wake, batch)

    def _find_stored(self, batch: list[Feed]) -> bool:
        """After a failed commit: which of the lines are there all the same? False when nobody knows.

        The server may be at that COMMIT still. The runs' rows are locked until it is done, so whoever gets
        them sees how it ended.
        """
        try:
            self._normal_sync()
            with turn(), transaction.atomic(), connection.cursor() as cursor:
                for kind in _by_kind(batch):
                    storing.lock(cursor, kind[0].table, [feed.run_id for feed in kind])
                for feed in batch:
                    ordinals = [o for o in feed.in_flight if o not in feed.stored]
                    if not ordinals:
                        continue
                    cursor.execute(
                        f"SELECT ordinal, id, {storing.quoted('index')} FROM {feed.table.line_table}"
                        f" WHERE {feed.table.foreign_key} = %s AND fence = %s AND ordinal >= %s",
                        [feed.run_id, feed.fence, min(ordinals)],
                    )
                    for ordinal, pk, index in cursor.fetchall():
                        if ordinal in feed.in_flight:
                            feed.stored[ordinal] = (pk, index)
        except (DatabaseError, InterfaceError) as error:
            logger.warning("the sink can't look up what it has stored: %s", error)
            with contextlib.suppress(Exception):
                connection.close()
            return False
        return True

    def _normal_sync(self) -> None:
        if connection.vendor == "sqlite" and connection.connection is None:
            with connection.cursor() as cursor:
                cursor.execute("PRAGMA synchronous=NORMAL")


def _by_kind(batch: Iterable[Feed]) -> list[list[Feed]]:
    """Everybody locks tables and runs in this order."""
    kinds: dict[str, list[Feed]] = {}
    for feed in sorted(batch, key=lambda feed: (feed.table.run_table, feed.run_id)):
        kinds.setdefault(feed.table.run_table, []).append(feed)
    return list(kinds.values())


def _wake(batch: list[Feed]) -> None:
    for feed in batch:
        if feed.lost:
            feed.on_lost()
        if feed.lost or not feed.full:
            feed.room_again.set()
        if feed.lost or not (feed.pending or feed.in_flight):
            feed.emptied.set()
