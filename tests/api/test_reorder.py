"""The order of boards and of columns: 0-based and gapless, whoever changes it at the same moment."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

import pytest

from apps.accounts.models import User
from apps.boards.models import Board, Column
from apps.events.models import StoredEvent
from apps.projects.models import Project
from tests import factories
from tests.client import Api
from tests.together import at_once

pytestmark = [pytest.mark.django_db, pytest.mark.both_databases]


@pytest.fixture
def boards(api: Any, project: Project, bob: User) -> list[str]:
    url = f"/api/projects/{project.pk}/boards"
    for name in "bcd":
        api(bob).post(url, {"name": name})
    return [each["id"] for each in api(bob).get(url)]


@pytest.fixture
def columns(api: Any, project: Project, bob: User) -> list[str]:
    """Of the first board."""
    url = f"/api/projects/{project.pk}/columns"
    board = factories.first_board(project).pk
    for name in "xy":
        api(bob).post(url, {"name": name, "columnType": "active", "boardId": board})
    return [each["id"] for each in api(bob).get(f"{url}?boardId={board}")]


@pytest.mark.parametrize("kind", ["boards", "columns"])
def test_what_is_listed_comes_first_and_the_rest_keeps_its_order(
    api: Any, request: pytest.FixtureRequest, project: Project, bob: User, kind: str
) -> None:
    before: list[str] = request.getfixturevalue(kind)
    url = f"/api/projects/{project.pk}/{kind}"
    answer = api(bob).patch(f"{url}/reorder", {"ids": [before[3], before[1]]})
    wanted = [before[3], before[1], before[0], before[2], *before[4:]]
    assert [each["id"] for each in answer] == wanted
    assert [each["position"] for each in answer] == list(range(len(before)))
    assert answer == api(bob).get(url)
    event = StoredEvent.objects.latest("seq")
    assert (event.type, event.actor_id) == (f"{kind.removesuffix('s')}.reordered", bob.pk)
    data = json.loads(event.data)
    assert (data["ids"], data["projectId"]) == (wanted, f"proj_{project.pk:03d}")


@pytest.mark.parametrize("kind", ["boards", "columns"])
def test_the_same_order_again_changes_and_tells_nothing(
    api: Any, request: pytest.FixtureRequest, project: Project, bob: User, kind: str
) -> None:
    before: list[str] = request.getfixturevalue(kind)
    told = StoredEvent.objects.count()
    url = f"/api/projects/{project.pk}/{kind}"
    answer = api(bob).patch(f"{url}/reorder", {"ids": before[:2]})
    assert [each["id"] for each in answer] == before
    assert StoredEvent.objects.count() == told


@pytest.mark.parametrize("kind", ["boards", "columns"])
def test_strangers_and_repetitions_are_refused_and_nothing_moves(
    api: Any, request: pytest.FixtureRequest, project: Project, alice: User, kind: str
) -> None:
    before: list[str] = request.getfixturevalue(kind)
    other = factories.make_project(alice, name="Other")
    strange = factories.first_board(other).pk if kind == "boards" else factories.column(other).pk
    url = f"/api/projects/{project.pk}/{kind}"
    for ids in ([before[1], strange], [10**15], [before[1], before[1]], [None], ["card_001"], "x"):
        error = api(alice).patch(f"{url}/reorder", {"ids": ids}, 400)
        assert "ids" in error["message"]
    api(alice).patch(f"{url}/reorder", {}, 400)
    assert [each["id"] for each in api(alice).get(url)] == before


def test_an_empty_list_of_boards_is_a_no_op_and_one_of_columns_names_no_board(
    api: Any, project: Project, boards: list[str], bob: User
) -> None:
    url = f"/api/projects/{project.pk}"
    answer = api(bob).patch(f"{url}/boards/reorder", {"ids": []})
    assert [each["id"] for each in answer] == boards
    api(bob).patch(f"{url}/columns/reorder", {"ids": []}, 400)


def test_columns_of_several_boards_are_refused_together(
    api: Any, project: Project, boards: list[str], bob: User
) -> None:
    url = f"/api/projects/{project.pk}/columns"
    mixed = [api(bob).get(f"{url}?boardId={board}")[0]["id"] for board in boards[:2]]
    error = api(bob).patch(f"{url}/reorder", {"ids": mixed}, 400)
    assert "several boards" in error["message"]


def test_no_id_can_stand_in_the_way_of_reorder(api: Any, project: Project, bob: User) -> None:
    for kind in ("boards", "columns"):
        api(bob).get(f"/api/projects/{project.pk}/{kind}/reorder", 405)


@pytest.mark.django_db(transaction=True)
def test_eight_people_reorder_boards_and_columns_and_no_place_is_lost(
    project: Project, boards: list[str], columns: list[str], bob: User
) -> None:
    url = f"/api/projects/{project.pk}"
    board = factories.first_board(project).pk
    start = StoredEvent.objects.latest("seq").seq

    def person(seed: int) -> Callable[[], None]:
        def shuffle() -> None:
            dice, client = random.Random(seed), Api(bob)
            for number in range(15):
                kind, ids = dice.choice([("boards", boards), ("columns", columns)])
                some = dice.sample(ids, dice.randint(1, len(ids)))
                client.patch(f"{url}/{kind}/reorder", {"ids": some})
                if number % 5 == seed % 5:
                    body = {"name": "n", "columnType": "backlog", "boardId": board}
                    made = client.post(f"{url}/columns", body)
                    client.delete(f"{url}/columns/{made['id']}")

        return shuffle

    at_once([person(seed) for seed in range(8)])
    places = Board.objects.filter(project=project).values_list("position", flat=True)
    assert sorted(places) == list(range(len(boards)))
    places = Column.objects.filter(board=board).values_list("position", flat=True)
    assert sorted(places) == list(range(len(columns)))
    events = StoredEvent.objects.filter(stream=project.pk, seq__gt=start).order_by("seq")
    assert [each.seq for each in events] == list(range(start + 1, start + 1 + len(events)))
    for kind, ids in (("board", boards), ("column", columns)):
        last = [each for each in events if each.type == f"{kind}.reordered"][-1]
        assert set(ids) <= set(json.loads(last.data)["ids"])
