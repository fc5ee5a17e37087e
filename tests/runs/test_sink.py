"""The sink against a real database: numbers without gaps, nothing twice, nothing lost."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
import pytest_asyncio
from django.db import OperationalError, ProgrammingError, connection, transaction
from django.db.models import F

from apps.accounts.models import User
from apps.agents.models import AgentMessage, AgentSession
from apps.agents.runtime.lines import AgentLines
from apps.agents.serializers import message_frame
from apps.boards.models import Board, Column
from apps.cards.models import Card
from apps.events import bus, telling
from apps.projects.models import Project
from apps.runs import storing
from apps.runs.sink import MOST_BYTES, MOST_LINES, Feed, Line, Sink, _wake

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]


@pytest.fixture
def session(transactional_db: None) -> AgentSession:
    owner = User.objects.create_user("alice@example.com", display_name="Alice")
    project = Project.objects.create(name="p", path="/p", owner=owner)
    board = Board.objects.create(project=project, name="b", position=0)
    column = Column.objects.create(
        project=project, board=board, name="c", column_type="active", position=0
    )
    card = Card.objects.create(project=project, column=column, position=0, title="t")
    return AgentSession.objects.create(project_id=project.pk, card=card, fence=3)


@pytest_asyncio.fixture
async def sink() -> AsyncIterator[Sink]:
    sink = Sink()
    sink.start(asyncio.get_running_loop())
    yield sink
    await asyncio.get_running_loop().run_in_executor(None, sink.close)


def feed_of(sink: Sink, session: AgentSession, lost: asyncio.Event | None = None) -> Feed:
    return sink.feed(AgentLines(), session.pk, session.fence, (lost or asyncio.Event()).set)


def say(feed: Feed, content: str) -> Line:
    line = Line(feed.new_ordinal(), "assistant", "text", content)
    feed.put(line)
    return line


async def stored(session: AgentSession) -> list[AgentMessage]:
    def read() -> list[AgentMessage]:
        try:
            return list(AgentMessage.objects.filter(session_id=session.pk).order_by("index"))
        finally:
            connection.close()

    return await asyncio.get_running_loop().run_in_executor(None, read)


async def test_lines_get_gapless_indexes_and_revs(sink: Sink, session: AgentSession) -> None:
    feed = feed_of(sink, session)
    for number in range(500):
        say(feed, str(number))
        if number % 50 == 0:
            await asyncio.sleep(0.01)
    await feed.flushed()
    rows = await stored(session)
    assert [row.index for row in rows] == list(range(500))
    assert [row.content for row in rows] == [str(number) for number in range(500)]
    assert [row.rev for row in rows] == list(range(1, 501))


async def test_an_update_keeps_its_index_and_gets_a_new_rev(
    sink: Sink, session: AgentSession
) -> None:
    feed = feed_of(sink, session)
    line = say(feed, "first")
    await feed.flushed()
    say(feed, "second")
    await feed.flushed()
    feed.put(Line(line.ordinal, "assistant", "text", "first, changed"))
    await feed.flushed()
    rows = await stored(session)
    assert [(row.index, row.rev, row.content) for row in rows] == [
        (0, 3, "first, changed"),
        (1, 2, "second"),
    ]


async def test_a_stale_owner_stores_nothing_and_is_told(sink: Sink, session: AgentSession) -> None:
    lost = asyncio.Event()
    feed = feed_of(sink, session, lost)

    def taken_over() -> None:
        AgentSession.objects.filter(pk=session.pk).update(fence=F("fence") + 1)
        connection.close()

    await asyncio.get_running_loop().run_in_executor(None, taken_over)
    say(feed, "too late")
    await feed.flushed()
    await asyncio.wait_for(lost.wait(), 2)
    assert await stored(session) == []


async def test_a_commit_whose_answer_is_lost_stores_nothing_twice(
    sink: Sink, session: AgentSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    original, cut = sink._transact, [True, False, True]

    def transact(batch: Any) -> Any:
        told = original(batch)
        if cut and cut.pop(0):
            raise OperationalError("disk I/O error")
        return told

    monkeypatch.setattr(sink, "_transact", transact)
    feed = feed_of(sink, session)
    for number in range(40):
        say(feed, str(number))
        await asyncio.sleep(0.005)
    await feed.flushed()
    rows = await stored(session)
    assert [row.content for row in rows] == [str(number) for number in range(40)]
    assert [row.index for row in rows] == list(range(40))


async def test_a_transaction_that_fails_loses_nothing(
    sink: Sink, session: AgentSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    original, failures = storing.store, [True, True]

    def store(cursor: Any, table: Any, feeds: Any) -> Any:
        result = original(cursor, table, feeds)
        if failures:
            failures.pop()
            raise OperationalError("database or disk is full")
        return result

    monkeypatch.setattr(storing, "store", store)
    feed = feed_of(sink, session)
    say(feed, "kept")
    await feed.flushed()
    assert [(row.index, row.content) for row in await stored(session)] == [(0, "kept")]


async def test_one_line_the_database_refuses_does_not_take_the_others_with_it(
    sink: Sink, session: AgentSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    from django.db import DataError

    original = storing._insert

    def insert(cursor: Any, table: Any, rows: Any) -> Any:
        if any("poison" in row[5] for row in rows):
            raise DataError("invalid byte sequence")
        return original(cursor, table, rows)

    monkeypatch.setattr(storing, "_insert", insert)
    feed = feed_of(sink, session)
    for content in ("one", "poison", "three"):
        say(feed, content)
    await feed.flushed()
    rows = await stored(session)
    assert [row.content[:3] for row in rows] == ["one", "(Th", "thr"]


async def test_a_database_that_refuses_everything_for_a_while_costs_no_line(
    sink: Sink, session: AgentSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    original, refusals = storing._insert, [True] * 9

    def insert(cursor: Any, table: Any, rows: Any) -> Any:
        if refusals:
            refusals.pop()
            raise ProgrammingError("permission denied for table agents_agentmessage")
        return original(cursor, table, rows)

    monkeypatch.setattr(storing, "_insert", insert)
    feed = feed_of(sink, session)
    for content in ("one", "two"):
        say(feed, content)
    await feed.flushed()
    assert [(row.index, row.content) for row in await stored(session)] == [(0, "one"), (1, "two")]


async def test_a_full_feed_has_no_room_until_it_is_stored(
    session: AgentSession, sink: Sink
) -> None:
    feed = feed_of(sink, session)
    for number in range(MOST_LINES):
        say(feed, str(number))
    await asyncio.wait_for(feed.room(), 5)
    await feed.flushed()
    assert len(await stored(session)) == MOST_LINES


@pytest.mark.parametrize(("lines", "letters"), [(MOST_LINES // 2, 1), (10, MOST_BYTES // 40)])
async def test_what_is_being_stored_takes_room_like_what_waits(
    sink: Sink, session: AgentSession, monkeypatch: pytest.MonkeyPatch, lines: int, letters: int
) -> None:
    original, begun, database = sink._transact, threading.Event(), threading.Event()

    def transact(batch: Any) -> Any:
        begun.set()
        database.wait(10)
        return original(batch)

    monkeypatch.setattr(sink, "_transact", transact)
    feed = feed_of(sink, session)
    for _ in range(lines):
        say(feed, "é" * letters)
    await asyncio.get_running_loop().run_in_executor(None, begun.wait, 5)
    for _ in range(lines):
        assert not feed.full
        say(feed, "é" * letters)
    # Half is on its way and half behind it, whatever part of the first half was caught.
    assert feed.full
    database.set()
    await asyncio.wait_for(feed.room(), 5)
    await feed.flushed()
    assert len(await stored(session)) == 2 * lines
    assert not feed.full


@pytest.mark.skipif(connection.vendor != "sqlite", reason="there is no such setting")
async def test_after_an_outage_too_a_line_waits_for_no_disk(
    sink: Sink, session: AgentSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    original, failures, modes = sink._transact, [True, True], []

    def transact(batch: Any) -> Any:
        with connection.cursor() as cursor:
            modes.extend(cursor.execute("PRAGMA synchronous").fetchone())
        if failures:
            failures.pop()
            raise OperationalError("disk I/O error")
        return original(batch)

    monkeypatch.setattr(sink, "_transact", transact)
    feed = feed_of(sink, session)
    say(feed, "kept")
    await feed.flushed()
    normal = 1
    assert modes == [normal, normal, normal]


async def test_the_loop_goes_on_while_newer_lines_wait_for_the_database(
    sink: Sink, session: AgentSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    original, begun, database = sink._transact, threading.Event(), threading.Event()
    calls: list[int] = []

    def transact(batch: Any) -> Any:
        calls.append(1)
        if len(calls) == 2:
            begun.set()
            database.wait(10)
        return original(batch)

    monkeypatch.setattr(sink, "_transact", transact)
    feed = feed_of(sink, session)
    say(feed, "first")
    await feed.flushed()
    say(feed, "second")
    await asyncio.get_running_loop().run_in_executor(None, begun.wait, 5)
    say(feed, "third")
    # As if the first batch's news came only now.
    _wake([feed])
    flushing = asyncio.ensure_future(feed.flushed())
    # A loop that stands still would never get here.
    threading.Timer(3, database.set).start()
    started = time.monotonic()
    await asyncio.sleep(0.1)
    assert time.monotonic() - started < 1
    assert not flushing.done()
    database.set()
    await asyncio.wait_for(flushing, 5)
    assert [row.content for row in await stored(session)] == ["first", "second", "third"]


async def test_nothing_is_stored_again_before_it_is_known_what_is_there(
    sink: Sink, session: AgentSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    original, find, cut, blind = sink._transact, sink._find_stored, [True], [True, True]

    def transact(batch: Any) -> Any:
        told = original(batch)
        if cut:
            cut.pop()
            # The owner that never heard of its commit does not know the lines' places.
            for feed in batch:
                feed.stored.clear()
            raise OperationalError("disk I/O error")
        return told

    def find_stored(batch: Any) -> bool:
        if blind:
            blind.pop()
            return False
        return find(batch)

    monkeypatch.setattr(sink, "_transact", transact)
    monkeypatch.setattr(sink, "_find_stored", find_stored)
    feed = feed_of(sink, session)
    say(feed, "once")
    await feed.flushed()
    assert [(row.index, row.content) for row in await stored(session)] == [(0, "once")]


@pytest.mark.skipif(connection.vendor == "sqlite", reason="there a COMMIT's error is its answer")
async def test_a_commit_that_lands_long_after_its_connection_broke_costs_no_later_state(
    sink: Sink, session: AgentSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    original, cut = sink._transact, [True]
    landed = threading.Event()

    def commit_late(batch: list[Feed], begun: threading.Event) -> None:
        """What the server still does for the connection that its client has given up."""
        with transaction.atomic(), connection.cursor() as cursor:
            storing.store(cursor, batch[0].table, batch)
            begun.set()
            time.sleep(0.5)
        connection.close()
        landed.set()

    def transact(batch: Any) -> Any:
        if cut:
            cut.pop()
            begun = threading.Event()
            threading.Thread(target=commit_late, args=(list(batch), begun)).start()
            begun.wait(10)
            raise OperationalError("server closed the connection unexpectedly")
        return original(batch)

    monkeypatch.setattr(sink, "_transact", transact)
    feed = feed_of(sink, session)
    line = say(feed, "first")
    await feed.flushed()
    assert landed.is_set()
    assert feed.index_of(line.ordinal) == 0
    feed.put(replace(line, content="first, and more"))
    await feed.flushed()
    assert [(row.index, row.content) for row in await stored(session)] == [(0, "first, and more")]


async def test_what_is_told_of_a_line_is_what_is_read_of_its_row(
    sink: Sink, session: AgentSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    monkeypatch.setattr(
        telling,
        "tell_lines",
        lambda _channel, news: told.extend(f for *_, each in news for f in each),
    )
    feed = feed_of(sink, session)
    say(feed, 'plain "quoted" \u2028 \U0001f600 \\ \n')
    whole = datetime(2026, 11, 27, 3, 4, 5, tzinfo=UTC)
    call = '{"id": "1", "title": "ü"}'
    ordinal = feed.new_ordinal()
    feed.put(Line(ordinal, "tool", "tool_call", "ü", call, partial=True, created_at=whole))
    await feed.flushed()
    rows = await stored(session)
    assert rows[1].created_at == whole
    assert [orjson.loads(frame) for frame in told] == [
        orjson.loads(message_frame(row)) for row in rows
    ]


async def test_lines_are_stored_between_the_services_that_keep_the_database_busy(
    sink: Sink, session: AgentSession
) -> None:
    over, done = threading.Event(), list[int]()

    @bus.atomically
    def service() -> None:
        Project.objects.filter(pk=session.project_id).update(name=str(len(done)))
        time.sleep(0.005)

    def serve() -> None:
        try:
            while not over.is_set():
                service()
                done.append(1)
        finally:
            connection.close()

    threads = [threading.Thread(target=serve) for _ in range(3)]
    for thread in threads:
        thread.start()
    feed = feed_of(sink, session)
    passed = []
    try:
        for number in range(9):
            before = len(done)
            say(feed, str(number))
            await asyncio.wait_for(feed.flushed(), 30)
            passed.append(len(done) - before)
    finally:
        over.set()
        for thread in threads:
            await asyncio.get_running_loop().run_in_executor(None, thread.join)
    # Three or so for each: those that stood in line before it.
    assert sum(passed) <= 120, passed


async def test_an_error_of_our_own_ends_the_worker_instead_of_the_thread(
    session: AgentSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    codes: list[int] = []
    monkeypatch.setattr(os, "_exit", codes.append)
    sink = Sink()
    sink.start(asyncio.get_running_loop())

    def frame(*_: object) -> str:
        raise TypeError("no frame")

    table = AgentLines()
    monkeypatch.setattr(table, "frame", frame)
    feed = sink.feed(table, session.pk, session.fence, lambda: None)
    say(feed, "x")
    await asyncio.get_running_loop().run_in_executor(None, sink.close)
    assert codes == [70]
