from __future__ import annotations

from typing import Any

import pytest

from apps.accounts.models import User
from apps.boards.models import BoardTemplate
from apps.projects.models import Project
from tests import factories

pytestmark = [pytest.mark.django_db, pytest.mark.both_databases]

URL = "/api/board-templates"
COLUMNS = [
    {"name": "Ideas", "columnType": "backlog"},
    {"name": "Build", "columnType": "active", "prompt": "Be quick."},
    {"name": "Old", "columnType": "archive"},
]


@pytest.fixture
def template(api: Any, bob: User) -> str:
    """Bob's."""
    made: str = api(bob).post(URL, {"name": "Mine", "columns": COLUMNS})["id"]
    return made


def test_the_built_in_ones_are_there_and_stay(api: Any, root: User) -> None:
    default, staged = api(root).get(URL)
    assert default["name"] == "Kanban Default"
    assert default["columns"] == [
        {"name": "Backlog", "columnType": "backlog"},
        {"name": "In Progress", "columnType": "active"},
        {"name": "Done", "columnType": "done"},
    ]
    names = [each["name"] for each in staged["columns"] if each["columnType"] == "active"]
    assert names == ["Plan", "Implement", "Review"]
    assert all(each["prompt"] for each in staged["columns"] if each["columnType"] == "active")
    for each in (default, staged):
        assert each["builtIn"] is True
        error = api(root).patch(f"{URL}/{each['id']}", {"name": "x"}, 409)
        assert error["code"] == "built_in"
        api(root).delete(f"{URL}/{each['id']}", 409)
    assert api(root).get(URL) == [default, staged]


def test_anybody_makes_one_and_a_board_from_it(
    api: Any, project: Project, template: str, alice: User
) -> None:
    made = api(alice).get(URL)[-1]
    assert (made["id"], made["name"], made["columns"]) == (template, "Mine", COLUMNS)
    assert made["builtIn"] is False
    url = f"/api/projects/{project.pk}"
    board = api(alice).post(f"{url}/boards", {"name": "New", "templateId": template})
    columns = api(alice).get(f"{url}/columns?boardId={board['id']}")
    assert [
        {key: each[key] for key in ("name", "columnType", "prompt") if each[key] is not None}
        for each in columns
    ] == COLUMNS


def test_a_board_keeps_its_columns_whatever_becomes_of_its_template(
    api: Any, project: Project, template: str, bob: User
) -> None:
    url = f"/api/projects/{project.pk}"
    board = api(bob).post(f"{url}/boards", {"name": "New", "templateId": template})
    before = api(bob).get(f"{url}/columns?boardId={board['id']}")
    changed = api(bob).patch(f"{URL}/{template}", {"columns": COLUMNS[:1]})
    assert (changed["name"], changed["columns"]) == ("Mine", COLUMNS[:1])
    api(bob).delete(f"{URL}/{template}")
    assert api(bob).get(f"{url}/columns?boardId={board['id']}") == before
    api(bob).delete(f"{URL}/{template}", 404)
    api(bob).post(f"{url}/boards", {"name": "New", "templateId": template}, 404)


def test_who_made_it_and_admins_change_it_and_nobody_else(
    api: Any, template: str, bob: User, alice: User, root: User
) -> None:
    place = f"{URL}/{template}"
    api(None).get(URL, 401)
    api(None).post(URL, {"name": "x", "columns": COLUMNS}, 401)
    api(None).patch(place, {"name": "x"}, 401)
    api(alice).patch(place, {"name": "x"}, 403)
    api(alice).delete(place, 403)
    assert api(bob).patch(place, {"name": "His"})["name"] == "His"
    assert api(bob).patch(place, {})["name"] == "His"
    assert api(root).patch(place, {"name": "Root's"})["name"] == "Root's"
    api(factories.make_user("eve", role="admin")).delete(place)


@pytest.mark.parametrize(
    "body",
    [
        {"name": "x"},
        {"columns": COLUMNS},
        {"name": " ", "columns": COLUMNS},
        {"name": "x", "columns": []},
        {"name": "x", "columns": None},
        {"name": "x", "columns": {"name": "a", "columnType": "done"}},
        {"name": "x", "columns": ["Backlog"]},
        {"name": "x", "columns": [{"name": "a"}]},
        {"name": "x", "columns": [{"name": "", "columnType": "done"}]},
        {"name": "x", "columns": [{"name": "a", "columnType": "doing"}]},
        {"name": "x", "columns": [{"name": "a", "columnType": "done", "prompt": "a\0"}]},
        {"name": "x", "columns": COLUMNS * 17},
        [],
    ],
)
def test_a_template_that_makes_no_sense_is_refused(
    api: Any, template: str, bob: User, body: Any
) -> None:
    assert api(bob).post(URL, body, 400)["code"] == "invalid"
    assert BoardTemplate.objects.count() == 3


@pytest.mark.parametrize("body", [{"columns": []}, {"name": None}, {"columns": None}])
def test_a_change_that_makes_no_sense_is_refused(
    api: Any, template: str, bob: User, body: Any
) -> None:
    api(bob).patch(f"{URL}/{template}", body, 400)


def test_the_list_is_not_sent_again_until_something_changed(
    api: Any, template: str, bob: User
) -> None:
    client = api(bob)
    client.get(URL)
    etag = client.response["ETag"]
    client.get(URL, 304, If_None_Match=etag)
    client.patch(f"{URL}/{template}", {"name": "New"})
    client.get(URL, 200, If_None_Match=etag)


def test_whoever_leaves_leaves_their_templates(
    api: Any, template: str, bob: User, alice: User
) -> None:
    bob.delete()
    assert api(alice).get(URL)[-1]["createdBy"] is None
