"""Agents that end their turns while people move cards: nobody waits for somebody who waits for them."""

from __future__ import annotations

import random
import threading
from collections import Counter
from typing import Any

import pytest

from tests.faults.conftest import Ground
from tests.faults.rounds import share
from tests.process.board import FINAL, Board, Card, Project
from tests.process.client import Client
from tests.process.server import until

AGENTS = 50
CLIENTS = 8
MOVES = 40
# How many of them are of ten cards at once.
BULK = 0.2


def mover(board: Board, project: Project, cards: list[Card], seed: int, bad: list[object]) -> None:
    """Moves and reorders, one or many, also whose agents are at work; only a conflict may be refused, and the
    fifth bulk action of a person at once."""
    client, dice = Client(board.port, board.api.token), random.Random(seed)
    for _ in range(MOVES):
        body: dict[str, Any] = {"columnId": dice.choice(list(project.columns.values()))}
        if dice.random() < 0.5:
            body["position"] = dice.randrange(10)
        if dice.random() < BULK:
            some = [card.id for card in dice.sample(cards, 10)]
            body = {"action": "cancel"} if dice.random() < 0.5 else {"action": "move", **body}
            status, answer = client.ask(
                "POST", f"/projects/{project.id}/cards/bulk", {"cardIds": some, **body}
            )
        else:
            status, answer = client.ask("PATCH", f"{dice.choice(cards).url}/move", body)
        if status not in (200, 409, 429):
            bad.append((status, answer))
    client.close()


def deadlocks(ground: Ground) -> int:
    if ground.servers is None:
        return 0
    servers = ground.servers
    sql = f"SELECT deadlocks FROM pg_stat_database WHERE datname = '{servers.database}'"
    return int(servers.postgres.ask("postgres", sql)[0][0])


@pytest.mark.long
def test_agents_end_turns_while_people_move_cards_without_deadlock_or_double_position(
    ground: Ground,
) -> None:
    with ground.board(KANBAN_MAX_AGENTS=str(AGENTS)) as board:
        project = board.make_project()
        board.add_column(project, "Review", "active", "[say reviewed]")
        before = deadlocks(ground)
        for number in range(share(5)):
            cards = [
                board.card(project, "[say one] [lines 10/s for 0.5 s] [say end]")
                for _ in range(AGENTS)
            ]
            for card in cards:
                board.api.patch(f"{card.url}/auto-mode", {"enabled": True})
            bad: list[object] = []
            threads = [
                threading.Thread(
                    target=mover, args=[board, project, cards, number * CLIENTS + each, bad]
                )
                for each in range(CLIENTS)
            ]
            for card in cards:
                board.move(card)
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert not bad
            for card in cards:
                until(lambda card=card: at_rest(board, card), timeout=240, what=f"{card.id}'s rest")
            assert_sound(board, project, cards)
        assert deadlocks(ground) == before
        for word in ("database is locked", "deadlock", "ran into another", "Traceback"):
            assert word not in board.log(10_000_000)
        assert not board.notes("overlaps")


def at_rest(board: Board, card: Card) -> bool:
    session = board.session(card)
    return session is None or session["status"] in FINAL


def assert_sound(board: Board, project: Project, cards: list[Card]) -> None:
    found = board.api.get(f"/projects/{project.id}/cards?limit=10000")
    places = Counter((each["columnId"], each["position"]) for each in found)
    assert max(places.values()) == 1, places.most_common(3)
    for card in cards:
        for session in board.api.get(f"{card.url}/agent/sessions"):
            assert session["status"] in ("completed", "cancelled"), session
            board.assert_gapless(card, session["sessionId"])
    with board.watch() as watch:
        last = watch.subscribe(projectId=project.id)["data"]["seq"]
        watch.subscribe(projectId=project.id, since=max(0, last - 4000))
        watch.wait(lambda frame: frame.get("seq") == last, timeout=30, what=f"event {last}")
        seqs = [seq for seq in watch.seqs() if seq > 0]
        assert sorted(set(seqs)) == list(range(min(seqs), last + 1))
