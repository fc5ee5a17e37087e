"""kill -9 at random moments: every card takes every step once, and every prompt is sent once."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from tests.faults.conftest import Ground
from tests.faults.redis import Faulty
from tests.faults.rounds import PARTS, part, share
from tests.process.board import Board, Card, Project
from tests.process.repository import git
from tests.process.server import until

STEPS = ("In Progress", "Review", "Ship", "Done")
WORK = (
    "[resumable] [say I begin] [lines 20/s for 0.8 s] [tool append steps.txt x]"
    " [tool run git add -A && git commit -qm step] [sleep 0.3] [say I end]"
)
# One hit more, and a turn is given up: `crash_loop` has tests of its own.
MOST_HITS = 4
LIVE = ("queued", "starting", "running", "waiting", "interrupted")


@pytest.fixture
def board(ground: Ground) -> Iterator[Board]:
    with ground.board(KANBAN_MAX_AGENTS="4") as running:
        yield running


class Killer:
    """Kills a role and waits until it is back. Counts what its kills did to each turn under way."""

    def __init__(self, board: Board, redis: Faulty, chance: random.Random) -> None:
        self.board = board
        self.redis = redis
        self.chance = chance
        self.done = Counter[str]()
        self.hits = Counter[str]()

    def kill(self, role: str, cards: list[Card]) -> None:
        if role in ("worker", "supervisor"):
            self._spare_the_worn(cards)
            for card in cards:
                session = self.board.session(card)
                if session is not None and session["status"] in LIVE[1:]:
                    self.hits[session["sessionId"]] += 1
        if role == "redis":
            self.redis.restart()
        elif role == "supervisor":
            self.board.kill("supervisor")
            self.board.wait_gone(timeout=5)
            self.board.start()
        else:
            self.board.wait_replaced(role, self.board.kill(role))
            self.board.wait_healthy()
        self.done[role] += 1

    def _spare_the_worn(self, cards: list[Card]) -> None:
        def worn() -> bool:
            found = [self.board.session(card) for card in cards]
            return any(
                each is not None
                and each["status"] in LIVE
                and self.hits[each["sessionId"]] >= MOST_HITS
                for each in found
            )

        until(
            lambda: not worn(), timeout=90, what="the end of a turn that was hit often", every=0.1
        )


def go(board: Board, project: Project, count: int) -> list[Card]:
    cards = []
    for _ in range(count):
        card = board.card(project, WORK)
        board.api.patch(f"{card.url}/auto-mode", {"enabled": True})
        board.move(card)
        cards.append(card)
    return cards


def in_done(board: Board, cards: list[Card]) -> bool:
    return all(board.get(card)["columnId"] == card.project.columns["Done"] for card in cards)


def events(board: Board, project: Project) -> list[dict[str, Any]]:
    """All of the project's events, which must be there without a gap."""
    with board.watch() as watch:
        last = watch.subscribe(projectId=project.id, since=0)["data"]["seq"]
        watch.wait(lambda frame: frame.get("seq") == last, what="the last event")
        assert watch.seqs() == list(range(1, last + 1))
        return [frame for frame in watch.frames if "seq" in frame]


def assert_moved_once(board: Board, cards: list[Card], steps: tuple[str, ...]) -> None:
    project = cards[0].project
    told = events(board, project)
    for card in cards:
        moves = [
            frame["data"]["columnId"]
            for frame in told
            if frame["type"] == "card.moved" and frame["data"]["id"] == card.id
        ]
        assert moves == [project.columns[step] for step in steps], (card.id, moves)
        sessions = board.api.get(f"{card.url}/agent/sessions")
        assert [each["columnName"] for each in reversed(sessions)] == list(steps[:-1])
        for each in sessions:
            ends = [
                frame["data"]["status"]
                for frame in told
                if frame["type"] == "agent.status"
                and frame["data"]["sessionId"] == each["sessionId"]
                and frame["data"]["status"] not in LIVE
            ]
            assert ends == ["completed"], (each["sessionId"], ends)


def assert_sent_once(board: Board, cards: list[Card]) -> int:
    """Returns how many prompts a death stopped on their way: those are told of, never sent again."""
    told = Counter[str]()
    sent = Counter[str]()
    for note in board.notes("prompts"):
        run = str(note["run"]).split(":")[-1].split(".")[0]
        told[run] += 1
        sent[run] += str(note["text"]).startswith("# A task")
    for card in cards:
        for each in board.api.get(f"{card.url}/agent/sessions"):
            run = each["sessionId"]
            assert sent[run] <= 1, f"{run} was sent {sent[run]} times"
            assert told[run] >= 1, f"{run} was never sent"
            messages = board.assert_gapless(card, run)
            calls = [each["toolCall"] for each in messages if each["type"] == "tool_call"]
            assert {call["status"] for call in calls} <= {"completed", "failed", "cancelled"}
            assert len([each for each in messages if each["role"] == "user"]) == 1
    return sum(1 for run in told if not sent[run])


def assert_clean(board: Board, cards: list[Card]) -> None:
    until(lambda: not board.agents(), timeout=10, what="the end of all agents")
    assert not board.notes("overlaps")
    for card in cards:
        place = board.worktree(card)
        assert git(place, "status", "--porcelain") == ""
        assert git(place, "branch", "--show-current").strip() == f"card/{card.id}"
        assert len((place / "steps.txt").read_text().split()) >= len(STEPS) - 1
    for path in {card.project.path for card in cards}:
        assert not list(path.glob(".git/**/*.lock"))
        assert git(path, "status", "--porcelain") == ""
    assert not (board.data / "quarantine").exists()


@pytest.mark.long
@pytest.mark.parametrize("nth_part", range(PARTS))
def test_pipelines_survive_kills_of_every_process_at_random_moments(
    board: Board, ground: Ground, nth_part: int
) -> None:
    chance = random.Random(9 + nth_part)
    killer = Killer(board, ground.redis(board), chance)
    rounds = part(200)
    roles = ["worker"] * 8 + ["web"] * 5 + ["redis"] * 4 + ["supervisor"] * 3
    projects: list[Project] = []
    every: list[Card] = []
    current: list[Card] = []
    deck: list[str] = []
    for _ in range(rounds):
        if not current or in_done(board, current):
            project = board.make_project()
            for name in STEPS[1:-1]:
                board.add_column(project, name, "active", f"This is the step {name}.")
            projects.append(project)
            current = go(board, project, 3)
            every += current
        if not deck:
            deck = chance.sample(roles, len(roles))
        time.sleep(chance.uniform(0, 1.5))
        killer.kill(deck.pop(), current)
    until(lambda: in_done(board, every), timeout=180, what="every card in Done", every=0.5)
    print(
        f"{len(projects)} pipelines, kills: {dict(killer.done)}, hits: {max(killer.hits.values())}"
    )
    for project in projects:
        assert_moved_once(board, [card for card in every if card.project is project], STEPS)
    print(f"stopped on their way: {assert_sent_once(board, every)}")
    assert_clean(board, every)


@pytest.mark.long
@pytest.mark.parametrize("nth_part", range(PARTS))
def test_a_worker_killed_around_the_end_of_turns_moves_each_card_once(
    board: Board, nth_part: int
) -> None:
    chance = random.Random(3 + nth_part)
    project = board.make_project()
    every: list[Card] = []
    went_on = 0
    for _ in range(part(200)):
        card = board.card(project, "[resumable] [say I begin] [sleep 0.3] [say I end]")
        board.api.patch(f"{card.url}/auto-mode", {"enabled": True})
        board.move(card)
        every.append(card)
        until(
            lambda card=card: bool(board.prompts(card)), timeout=60, what="the prompt", every=0.03
        )  # type: ignore[misc]
        time.sleep(chance.uniform(0.0, 0.5))
        old = board.kill("worker")
        board.wait_replaced("worker", old)
        board.finish(card, timeout=60)
        went_on += len(board.prompts(card)) - 1
    print(f"{went_on} of {len(every)} kills came before the end of the turn")
    until(lambda: in_done(board, every), timeout=30, what="every card in Done")
    assert_moved_once(board, every, ("In Progress", "Done"))
    assert_sent_once(board, every)
    assert 0 < went_on < len(every)


def test_messages_posted_as_turns_end_are_each_sent_once_and_in_their_order(board: Board) -> None:
    project = board.make_project()
    cards = [board.work(project, "[say I begin]") for _ in range(4)]
    wanted: dict[str, list[str]] = {card.id: [] for card in cards}

    def talk(card: Card, chance: random.Random) -> None:
        for number in range(share(200, least=4) // len(cards)):
            # A turn takes about as long; every now and then the session has ended and its process with it.
            time.sleep(chance.choice([0.0, 0.02, 0.05, 0.1, 0.2, 1.0]))
            text = f"[say message {number}]"
            board.api.post(f"{card.url}/agent/message", {"content": text})
            wanted[card.id].append(text)

    talkers = [
        threading.Thread(target=talk, args=(card, random.Random(number)))
        for number, card in enumerate(cards)
    ]
    for thread in talkers:
        thread.start()
    for thread in talkers:
        thread.join()
    for card in cards:
        until(
            lambda card=card: len(board.prompts(card)) > len(wanted[card.id]),  # type: ignore[misc]
            timeout=60,
            what="the last message",
        )
        board.finish(card, timeout=30)
        assert board.prompts(card)[1:] == wanted[card.id]
        messages = board.assert_gapless(card)
        assert [m["content"] for m in messages if m["role"] == "user"][1:] == wanted[card.id]
        assert not [m for m in messages if m["queued"]]
