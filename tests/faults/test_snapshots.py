"""Whether anybody has committed on PostgreSQL, asked of servers that crash, hang and stand by."""

from __future__ import annotations

import asyncio
import http.client
import itertools
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from signal import SIGQUIT
from typing import Any

import psycopg
import pytest

from apps.common.kept import Version
from apps.common.postgresql import standing
from apps.common.postgresql.standing import SnapshotVersion
from tests.faults.conftest import Servers
from tests.faults.postgres import PostgreSQL
from tests.process.board import board_in

Connect = Callable[[], psycopg.Connection[Any]]


@pytest.fixture
def version(connect: Connect) -> Iterator[SnapshotVersion]:
    found = SnapshotVersion(connect)
    yield found
    found.close()


@pytest.fixture
def connect(postgres: PostgreSQL) -> Connect:
    url = postgres.url(postgres.create_database())
    return lambda: psycopg.connect(url, autocommit=True, connect_timeout=2)


async def read(version: SnapshotVersion) -> Version | None:
    asked = version.read()
    return None if asked is None else await asked


async def read_in_time(version: SnapshotVersion, seconds: float = 10) -> Version:
    """Once there is a connection."""
    began = time.monotonic()
    while (found := await read(version)) is None:
        assert time.monotonic() - began < seconds
        await asyncio.sleep(0.02)
    return found


async def test_the_snapshot_moves_with_every_commit_of_anybody_and_with_nothing_else(
    connect: Connect, version: SnapshotVersion
) -> None:
    with connect() as writer:
        writer.execute("CREATE TABLE t (n int)")
        seen = [await read_in_time(version)]
        for statement in (
            "INSERT INTO t SELECT generate_series(1, 5)",
            "UPDATE t SET n = 2 WHERE n = 1",
            "DELETE FROM t WHERE n = 2",
            "DO $$BEGIN INSERT INTO t VALUES (7); EXCEPTION WHEN division_by_zero THEN NULL; END$$",
            "SELECT n FROM t WHERE n = 7 FOR UPDATE",
        ):
            assert await read(version) == seen[-1]
            writer.execute(statement.encode())
            seen.append(await read_in_time(version))
        writer.execute("SELECT count(*) FROM t")
        assert await read(version) == seen[-1]
        with connect() as other, other.transaction():
            other.execute("INSERT INTO t VALUES (8)")
            # Begun later and over earlier.
            writer.execute("INSERT INTO t VALUES (9)")
            seen.append(await read_in_time(version))
            other.execute("INSERT INTO t VALUES (10)")
            assert await read(version) == seen[-1]
        seen.append(await read_in_time(version))
    assert len(set(seen)) == len(seen)


async def test_whoever_asks_together_is_told_of_what_was_committed_before_each_asked(
    connect: Connect, version: SnapshotVersion
) -> None:
    with connect() as writer:
        writer.execute("CREATE TABLE t (n int)")
        before = await read_in_time(version)
        on_its_way = version.read()
        writer.execute("INSERT INTO t VALUES (1)")
        later = [version.read() for _ in range(50)]
        assert on_its_way is not None
        assert None not in later
        await on_its_way
        found = {await asked for asked in later if asked is not None}
    assert len(found) == 1
    assert before not in found


async def test_an_answer_that_comes_in_bits_holds_up_nothing_else(
    postgres: PostgreSQL, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Byte by byte, and beside other tests, it takes as long as it takes.
    monkeypatch.setattr(standing, "_ANSWERS_WITHIN_S", 30.0)
    over = asyncio.Event()

    async def relay(client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        server, to_server = await asyncio.open_connection("127.0.0.1", postgres.port)

        async def forward() -> None:
            while data := await client.read(10_000):
                to_server.write(data)
            to_server.close()

        forwarding = asyncio.create_task(forward())
        while data := await server.read(1):
            to_client.write(data)
            await asyncio.sleep(0.0002)
        await forwarding
        to_client.close()
        for each in (to_client, to_server):
            await each.wait_closed()
        over.set()

    # In the loop that asks, which has to go on meanwhile.
    async with await asyncio.start_server(relay, "127.0.0.1", 0) as between:
        url = postgres.url(postgres.create_database(), between.sockets[0].getsockname()[1])
        version = SnapshotVersion(lambda: psycopg.connect(url, autocommit=True, connect_timeout=30))
        found = await read_in_time(version, 30)
        assert [await read(version) for _ in range(5)] == [found] * 5
        version.close()
        await over.wait()


async def test_a_server_that_crashed_is_never_taken_for_what_it_was(
    postgres: PostgreSQL, version: SnapshotVersion
) -> None:
    seen = []
    for _ in range(3):
        seen.append(await read_in_time(version))
        await asyncio.to_thread(postgres.restart, SIGQUIT)
    assert len(set(seen)) == len(seen)


async def test_a_connection_that_is_lost_before_it_is_watched_is_made_again(
    connect: Connect,
) -> None:
    made: list[psycopg.Connection[Any]] = []

    def lost_at_first() -> psycopg.Connection[Any]:
        made.append(connect())
        if len(made) == 1:
            made[0].close()
        return made[-1]

    version = SnapshotVersion(lost_at_first)
    assert await asyncio.wait_for(read_in_time(version), 10)
    assert len(made) == 2
    version.close()


async def test_a_server_that_takes_connections_and_answers_nothing_is_asked_ever_more_rarely(
    connect: Connect,
) -> None:
    made: list[float] = []

    def in_a_transaction_that_failed() -> psycopg.Connection[Any]:
        made.append(time.monotonic())
        connection = connect()
        connection.autocommit = False
        with pytest.raises(psycopg.errors.DivisionByZero):
            connection.execute("SELECT 1 / 0")
        return connection

    version = SnapshotVersion(in_a_transaction_that_failed)
    async with asyncio.timeout(30):
        while len(made) < 4:
            assert await read(version) is None
            await asyncio.sleep(0.02)
    version.close()
    pauses = [after - before for before, after in itertools.pairwise(made)]
    assert all(pause > least for pause, least in zip(pauses, (1, 2, 4), strict=True)), pauses


@pytest.mark.parametrize("asked", [False, True])
async def test_a_server_that_goes_away_leaves_the_loop_whole(
    postgres: PostgreSQL, version: SnapshotVersion, *, asked: bool
) -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.read(10))
        writer.close()
        await writer.wait_closed()

    await read_in_time(version)
    stopping = asyncio.create_task(asyncio.to_thread(postgres.stop))
    while asked and not stopping.done():
        await read(version)
        await asyncio.sleep(0)
    await stopping
    await asyncio.sleep(0.1)
    assert await read(version) is None
    # Each takes the lowest numbers of descriptors that are free, among them the one that was watched.
    async with await asyncio.start_server(echo, "127.0.0.1", 0) as server, asyncio.timeout(10):
        port = server.sockets[0].getsockname()[1]
        for _ in range(20):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"hello")
            assert await reader.read() == b"hello"
            writer.close()
            await writer.wait_closed()
    postgres.start()
    assert await read_in_time(version)


async def test_a_server_that_hangs_holds_up_who_asks_just_then_and_nobody_after(
    postgres: PostgreSQL, version: SnapshotVersion
) -> None:
    before = await read_in_time(version)
    postgres.freeze()
    began = time.monotonic()
    asked = [version.read() for _ in range(20)]
    assert [await each for each in asked if each is not None] == [None] * 20
    assert time.monotonic() - began < 1
    held_up = 0.0
    for _ in range(200):
        began = time.monotonic()
        # Nothing that would have to be waited for.
        assert version.read() is None
        held_up += time.monotonic() - began
        await asyncio.sleep(0.01)
    assert held_up < 0.5
    postgres.thaw()
    after = await read_in_time(version)
    assert after[0] > before[0]


async def test_a_standby_tells_nothing_until_it_is_promoted(
    postgres: PostgreSQL, version: SnapshotVersion
) -> None:
    postgres.stop()
    (postgres.data / "standby.signal").touch()
    postgres.start()
    try:
        for _ in range(50):
            assert await read(version) is None
            await asyncio.sleep(0.02)
    finally:
        postgres.ask("postgres", "SELECT pg_promote()")
    assert await read_in_time(version)


def test_a_board_sends_again_what_it_has_while_nobody_may_read_the_table(
    servers: Servers, tmp_path: Path
) -> None:
    with board_in(tmp_path / "board", **servers.environment) as board:
        project = board.make_project()
        card = board.card(project, "Kept")
        # Not the list: that is kept a second time, behind the views.
        path = f"/api{card.url}"
        headers = {"Authorization": f"Bearer {board.api.token}"}

        def ask(timeout: float) -> bytes | None:
            client = http.client.HTTPConnection("127.0.0.1", board.port, timeout=timeout)
            try:
                client.request("GET", path, headers=headers)
                return client.getresponse().read()
            except TimeoutError:
                return None
            finally:
                client.close()

        def ask_while_locked() -> bytes | None:
            with psycopg.connect(servers.postgres.url(servers.database)) as other:
                ask(30)
                before = ask(30)
                other.execute("LOCK TABLE cards_card IN ACCESS EXCLUSIVE MODE")
                answer = ask(1)
                other.rollback()
            assert answer in (before, None)
            return answer

        # The worker commits each few seconds, after which the table has to be read.
        assert any(ask_while_locked() for _ in range(10))
