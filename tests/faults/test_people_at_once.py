"""Many people at one server at the same moment, over HTTP."""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

from tests.faults.conftest import Ground
from tests.faults.test_contention import deadlocks
from tests.process.board import PASSWORD, Board
from tests.process.client import Client

CLIENTS = 8
CHANGES = 40
# What a log must not say after people have merely used the board.
UNWANTED = ("database is locked", "deadlock", "ran into another", "Traceback", "IntegrityError")


def at_once(board: Board, work: Callable[[int, Client], None], count: int = CLIENTS) -> None:
    """Each with a connection of its own; what one of them raises is the test's."""
    problems: list[BaseException] = []
    ready = threading.Barrier(count)

    def run(number: int) -> None:
        client = Client(board.port, board.api.token)
        try:
            ready.wait()
            work(number, client)
        except BaseException as error:  # noqa: BLE001 - shown by the test
            problems.append(error)
        finally:
            client.close()

    threads = [threading.Thread(target=run, args=[number]) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []


def assert_quiet(board: Board) -> None:
    log = board.log(10_000_000)
    assert [word for word in UNWANTED if word in log] == []


def test_of_many_setups_one_makes_the_account_and_of_many_registrations_one(
    ground: Ground,
) -> None:
    below = ground.servers.environment if ground.servers else {}
    board = Board(ground.folder, KANBAN_REGISTRATION="open", **below)
    answers: list[tuple[int, Any]] = []

    def account(path: str, email: str) -> Callable[[int, Client], None]:
        def ask(number: int, client: Client) -> None:
            body = {"email": email.format(number), "password": PASSWORD, "displayName": "x"}
            answers.append(client.ask("POST", path, body))

        return ask

    try:
        board.start()
        at_once(board, account("/auth/setup", "root{}@example.com"))
        assert Counter(status for status, _ in answers) == {201: 1, 409: CLIENTS - 1}
        winner = next(body["data"] for status, body in answers if status == 201)
        assert winner["user"]["role"] == "super_admin"
        answers.clear()
        at_once(board, account("/auth/register", "bob@example.com"))
        assert Counter(status for status, _ in answers) == {201: 1, 409: CLIENTS - 1}
        answers.clear()
        at_once(board, account("/auth/register", "p{}@example.com"))
        assert Counter(status for status, _ in answers) == {201: CLIENTS}
        people = {body["data"]["user"]["id"] for _, body in answers}
        assert len(people) == CLIENTS
        assert_quiet(board)
    finally:
        board.stop()


def test_eight_people_move_reorder_and_edit_and_nothing_is_lost(ground: Ground) -> None:
    with ground.board() as board:
        before = deadlocks(ground)
        project = board.make_project()
        cards = [board.card(project, "") for _ in range(24)]
        # Into active columns nothing moves here: this is about places.
        places = [project.columns["Backlog"], project.columns["Done"]]
        places.append(board.add_column(project, "Later", "backlog"))
        mine = [board.card(project, "") for _ in range(CLIENTS)]

        def work(number: int, client: Client) -> None:
            dice = random.Random(number)
            for count in range(CHANGES):
                card = dice.choice(cards)
                body = {"columnId": dice.choice(places), "position": dice.randrange(24)}
                client.patch(f"{card.url}/move", body)
                # A field that others leave alone, of a card that they push around.
                client.patch(mine[number].url, {"title": f"{number}: {count}"})
                client.patch(f"{mine[(number + 1) % CLIENTS].url}/move", {"columnId": places[1]})

        with board.watch(project) as watch:
            at_once(board, work)
            last = f"{CLIENTS - 1}: {CHANGES - 1}"
            watch.wait(lambda frame: frame.get("data", {}).get("title") == last, what=last)
            board.api.post(f"/projects/{project.id}/cards", {"title": "the last"})
            watch.wait(lambda frame: frame.get("data", {}).get("title") == "the last")
            seqs = watch.seqs()
        assert seqs == list(range(seqs[0], seqs[0] + len(seqs)))
        found = board.api.get(f"/projects/{project.id}/cards")
        assert len(found) == len(cards) + CLIENTS + 1
        for column in places:
            positions = sorted(each["position"] for each in found if each["columnId"] == column)
            assert positions == list(range(len(positions)))
        titles = {each["id"]: each["title"] for each in found}
        assert [titles[card.id] for card in mine] == [
            f"{number}: {CHANGES - 1}" for number in range(CLIENTS)
        ]
        assert deadlocks(ground) == before
        assert_quiet(board)
