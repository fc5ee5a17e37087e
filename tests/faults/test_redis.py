"""Redis flushed, frozen and killed: it only makes things fast, so nothing may depend on it."""

from __future__ import annotations

import contextlib
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.faults.conftest import Ground, Servers
from tests.faults.findings import failing, run_doctor
from tests.faults.rounds import share
from tests.process.board import Board, Card, board_in
from tests.process.server import until
from tests.process.watch import Frame, Watch


@contextlib.contextmanager
def again_and_again(act: Callable[[], None], every: float = 1.0) -> Iterator[list[float]]:
    """Do it once a second until the end; yields the times at which it was done."""
    over, done = threading.Event(), list[float]()

    def run() -> None:
        while not over.wait(every):
            act()
            done.append(time.monotonic())

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield done
    finally:
        over.set()
        thread.join()


def assert_events_gapless(board: Board, watch: Watch, card: Card) -> None:
    """The socket has shown every event and message by itself, each event once and in its order."""
    session = board.session(card)["sessionId"]
    last = board.assert_gapless(card)[-1]["index"]
    watch.status(session, "completed")
    watch.wait(
        lambda frame: (
            frame["type"] == "agent.message"
            and frame["data"]["sessionId"] == session
            and frame["data"]["index"] == last
        ),
        what="the last message",
    )
    seqs = watch.seqs()
    assert seqs == list(range(seqs[0], seqs[0] + len(seqs)))
    assert sorted(watch.transcript(session)) == list(range(last + 1))


def test_flushing_redis_every_second_harms_no_job(ground: Ground) -> None:
    with ground.board(KANBAN_MAX_AGENTS="3") as board:
        project = board.make_project()
        redis = ground.redis(board)
        with board.watch(project) as watch, again_and_again(redis.flush) as flushed:
            # One after the other, so that claims too fall between flushes.
            for _ in range(share(20, least=3)):
                card = board.work(project, "[say one] [lines 20/s for 1.2 s] [say end]")
                session = board.session(card)["sessionId"]
                watch.subscribe(sessionId=session)
                board.finish(card)
                assert_events_gapless(board, watch, card)
        assert len(flushed) >= 3


def created(wanted: str) -> Callable[[Frame], bool]:
    return lambda frame: frame["type"] == "card.created" and frame["data"]["id"] == wanted


def create_and_hear(board: Board, rounds: int) -> tuple[list[float], list[float]]:
    """Seconds that creating a card took, and from the answer to its event at a socket."""
    project = board.make_project()
    times, delays = [], []
    with board.watch(project) as watch:
        for number in range(rounds):
            began = time.monotonic()
            card = board.card(project, "x", title=f"Task {number}")
            answered = time.monotonic()
            times.append(answered - began)
            frame = watch.wait(created(card.id), what="card.created")
            delays.append(watch.arrived[watch.frames.index(frame)] - answered)
        seqs = watch.seqs()
        assert seqs == list(range(seqs[0], seqs[0] + len(seqs)))
    return times, delays


def p99(times: list[float]) -> float:
    return statistics.quantiles(times, n=100)[98]


FROZEN = share(200, least=20)


@pytest.mark.long
def test_a_frozen_redis_neither_holds_up_a_request_nor_its_event(ground: Ground) -> None:
    with ground.board() as board:
        redis = ground.redis(board)
        # A busy machine may hold up one series; Redis would hold up each.
        for _ in range(3):
            usual, _ = create_and_hear(board, FROZEN)
            redis.freeze()
            try:
                times, delays = create_and_hear(board, FROZEN)
            finally:
                redis.thaw()
            print(f"create p99 {1000 * p99(times):.0f} ms ({1000 * p99(usual):.0f} ms before)")
            print(f"event at most {max(delays):.2f} s after")
            if p99(times) < max(0.05, 2 * p99(usual)) and max(delays) < 1.5:
                return
        raise AssertionError("requests or events wait for a frozen Redis")


def test_without_redis_events_and_messages_come_by_the_rows(ground: Ground) -> None:
    with ground.board() as board:
        project = board.make_project()
        redis = ground.redis(board)
        redis.freeze()
        try:
            with board.watch(project) as watch:
                card = board.work(project, "[say one] [lines 20/s for 3 s] [say end]")
                watch.subscribe(sessionId=board.session(card)["sessionId"])
                board.finish(card, timeout=30)
                assert_events_gapless(board, watch, card)
            assert failing(board) == ["redis"]
        finally:
            redis.thaw()


def test_a_redis_that_dies_again_and_again_harms_no_job(ground: Ground) -> None:
    with ground.board(KANBAN_MAX_AGENTS="3") as board:
        project = board.make_project()
        redis = ground.redis(board)
        pids = {role: board.pid(role) for role in ("web", "worker")}
        with (
            board.watch(project) as watch,
            again_and_again(redis.restart, every=0.7) as restarted,
        ):
            for _ in range(share(20, least=3)):
                card = board.work(project, "[say one] [lines 20/s for 1.5 s] [say end]")
                watch.subscribe(sessionId=board.session(card)["sessionId"])
                board.finish(card, timeout=30)
                assert_events_gapless(board, watch, card)
        assert len(restarted) >= 3
        assert {role: board.pid(role) for role in pids} == pids


def test_a_redis_that_goes_away_is_one_line_of_each_role_and_so_is_its_return(
    servers: Servers, tmp_path: Path
) -> None:
    with board_in(tmp_path / "board", **servers.environment) as board:
        project = board.make_project()
        before = len(board.log(1_000_000))

        def logged() -> str:
            return board.log(1_000_000)[before:]

        def polled(word: str) -> bool:
            """While cards are made and health is asked for; whether both roles have said it."""
            board.card(project, "x")
            failing(board)
            return logged().count(word) == 2

        servers.redis.kill()
        until(lambda: polled("Redis does not answer"), what="a line of each role")
        for _ in range(3):
            failing(board)
        servers.redis.start()
        until(lambda: polled("Redis answers again"), timeout=30, what="another line of each")
        assert logged().count("Redis does not answer") == 2
        assert logged().count("not working: redis") == 1
        for word in ("Traceback", "ERROR", "broker", "Service Unavailable"):
            assert word not in logged()


def test_an_external_redis_that_is_gone_is_named_and_missed_by_nobody(
    servers: Servers, tmp_path: Path
) -> None:
    with board_in(tmp_path / "board", **servers.environment) as board:
        servers.redis.kill()
        times, delays = create_and_hear(board, share(200))
        assert max(delays) < 1.5
        assert p99(times) < 0.25
        assert failing(board) == ["redis"]
        doctor = run_doctor(board)
        assert doctor.returncode == 1
        assert f"127.0.0.1:{servers.redis.port} can't be used" in doctor.stdout
        servers.redis.start()
        until(lambda: not failing(board), what="health")
