from __future__ import annotations

from typing import Any

import pytest

from apps.accounts.models import User
from apps.boards.models import Board
from apps.projects.models import Project
from tests import factories

pytestmark = pytest.mark.django_db


@pytest.fixture
def url(project: Project) -> str:
    return f"/api/projects/{project.pk}/columns"


@pytest.fixture
def board(project: Project) -> Board:
    return factories.first_board(project)


def test_a_member_makes_changes_and_deletes_columns(
    api: Any, url: str, board: Board, bob: User
) -> None:
    body = {"name": "Review", "columnType": "active", "boardId": board.pk, "prompt": "Be strict."}
    made = api(bob).post(url, {**body, "wipLimit": 2, "permissionMode": "unattended"})
    assert made == {
        **made,
        "name": "Review",
        "columnType": "active",
        "position": 3,
        "boardId": f"board_{board.pk:03d}",
        "prompt": "Be strict.",
        "wipLimit": 2,
        "permissionMode": "unattended",
    }
    place = f"{url}/{made['id']}"
    changed = api(bob).patch(place, {"prompt": None, "wipLimit": None, "permissionMode": None})
    assert (changed["prompt"], changed["wipLimit"], changed["permissionMode"]) == (None,) * 3
    assert api(bob).patch(place, {"name": "Check", "columnType": "done"})["columnType"] == "active"
    api(bob).delete(f"{url}/{api(bob).get(url)[0]['id']}")
    assert [(each["name"], each["position"]) for each in api(bob).get(url)] == [
        ("In Progress", 0),
        ("Done", 1),
        ("Check", 2),
    ]


def test_a_column_with_cards_stays(api: Any, project: Project, url: str, bob: User) -> None:
    card = factories.make_card(project)
    assert api(bob).delete(f"{url}/{card.column_id}", 409)["code"] == "column_not_empty"
    api(bob).delete(f"/api/projects/{project.pk}/cards/{card.pk}")
    api(bob).delete(f"{url}/{card.column_id}")


def test_outsiders_see_no_columns(
    api: Any, project: Project, url: str, board: Board, charlie: User
) -> None:
    column = factories.column(project).pk
    body = {"name": "x", "columnType": "done", "boardId": board.pk}
    for client, status in ((api(charlie), 404), (api(None), 401)):
        client.get(url, status)
        client.post(url, body, status)
        client.patch(f"{url}/{column}", {"name": "x"}, status)
        client.delete(f"{url}/{column}", status)


def test_boards_and_columns_of_another_project_are_a_404(
    api: Any, url: str, alice: User, project: Project
) -> None:
    other = factories.make_project(alice, name="Other")
    strange = factories.first_board(other)
    body = {"name": "x", "columnType": "done", "boardId": strange.pk}
    api(alice).post(url, body, 404)
    api(alice).patch(f"{url}/{factories.column(other).pk}", {"name": "x"}, 404)
    api(alice).delete(f"{url}/{factories.column(other).pk}", 404)
    assert api(alice).get(f"{url}?boardId={strange.pk}") == []
    api(alice).get(f"{url}?boardId=col_001", 400)


@pytest.mark.parametrize(
    "change",
    [
        {"name": None},
        {"name": " "},
        {"columnType": "doing"},
        {"columnType": 1},
        {"boardId": "board_" + "9" * 20},
        {"boardId": True},
        {"boardId": None},
        {"boardId": "card_001"},
        {"prompt": "a\0b"},
        {"prompt": "x" * 100_001},
        {"prompt": 1},
        {"wipLimit": 0},
        {"wipLimit": "2"},
        {"wipLimit": 2.5},
        {"permissionMode": "always"},
    ],
)
def test_a_column_that_makes_no_sense_is_refused(
    api: Any, url: str, board: Board, alice: User, change: Any
) -> None:
    body = {"name": "x", "columnType": "active", "boardId": board.pk, **change}
    assert api(alice).post(url, body, 400)["code"] == "invalid"


@pytest.mark.parametrize("column_type", ["backlog", "done", "archive"])
def test_only_an_active_column_has_a_limit(
    api: Any, url: str, board: Board, alice: User, column_type: str
) -> None:
    body = {"name": "x", "columnType": column_type, "boardId": board.pk}
    api(alice).post(url, {**body, "wipLimit": 1}, 400)
    made = api(alice).post(url, body)
    api(alice).patch(f"{url}/{made['id']}", {"wipLimit": 1}, 400)


def test_the_list_is_not_sent_again_until_something_changed(
    api: Any, url: str, board: Board, alice: User
) -> None:
    client = api(alice)
    client.get(url)
    etag = client.response["ETag"]
    client.get(url, 304, If_None_Match=etag)
    client.get(f"{url}?boardId={board.pk}", 200, If_None_Match=etag)
