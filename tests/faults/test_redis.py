"""Redis flushed, frozen and killed: it only makes things fast, so nothing may depend on it."""

from __future__ import annotations

import contextlib
import statistics
import threading
import time
from collections.abc import Callable, Iterator

from tests.faults.conftest import Ground
from tests.faults.rounds import share
from tests.process.board import Board, Card
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
        lambda frame: frame["type"] == "agent.message" and frame["data"]["index"] == last,
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


def create_and_hear(board: Board, ground: Ground, rounds: int) -> tuple[list[float], list[float]]:
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
