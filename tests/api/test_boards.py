from __future__ import annotations

import json
import re
from typing import Any

import pytest

from apps.accounts.models import User
from apps.cards.models import Worktree
from apps.events.models import StoredEvent
from apps.projects.models import Project
from tests import factories

pytestmark = pytest.mark.django_db


@pytest.fixture
def url(project: Project) -> str:
    return f"/api/projects/{project.pk}/boards"


def test_a_member_makes_renames_and_deletes_boards(
    api: Any, project: Project, url: str, bob: User
) -> None:
    made = api(bob).post(url, {"name": " Sprint "})
    assert (made["name"], made["position"]) == ("Sprint", 1)
    assert made["projectId"] == f"proj_{project.pk:03d}"
    columns = api(bob).get(f"/api/projects/{project.pk}/columns?boardId={made['id']}")
    assert [each["columnType"] for each in columns] == ["backlog", "active", "done"]
    assert api(bob).patch(f"{url}/{made['id']}", {"name": "Run"})["name"] == "Run"
    assert api(bob).patch(f"{url}/{made['id']}", {})["name"] == "Run"
    first = factories.first_board(project)
    api(bob).delete(f"{url}/board_{first.pk:03d}")
    (left,) = api(bob).get(url)
    assert (left["name"], left["position"]) == ("Run", 0)


def test_outsiders_see_no_boards(api: Any, project: Project, url: str, charlie: User) -> None:
    board = factories.first_board(project).pk
    for client, status in ((api(charlie), 404), (api(None), 401)):
        client.get(url, status)
        client.post(url, {"name": "x"}, status)
        client.patch(f"{url}/{board}", {"name": "x"}, status)
        client.delete(f"{url}/{board}", status)


def test_a_board_of_another_project_is_a_404(
    api: Any, project: Project, url: str, alice: User
) -> None:
    other = factories.first_board(factories.make_project(alice, name="Other"))
    api(alice).patch(f"{url}/{other.pk}", {"name": "x"}, 404)
    api(alice).delete(f"{url}/{other.pk}", 404)
    api(alice).patch(f"{url}/{'9' * 20}", {"name": "x"}, 404)


def test_an_unknown_template_is_a_404(api: Any, url: str, alice: User) -> None:
    api(alice).post(url, {"name": "x", "templateId": "tpl_999"}, 404)


@pytest.mark.parametrize(
    "body", [{}, {"name": ""}, {"name": None}, {"name": ["x"]}, {"name": "x" * 201}, [], b"{"]
)
def test_a_board_needs_a_name(api: Any, url: str, alice: User, body: Any) -> None:
    assert api(alice).post(url, body, 400)["code"] == "invalid"


def test_the_list_is_not_sent_again_until_something_changed(
    api: Any, url: str, alice: User
) -> None:
    client = api(alice)
    client.get(url)
    etag = client.response["ETag"]
    client.get(url, 304, If_None_Match=etag)
    client.post(url, {"name": "New"})
    client.get(url, 200, If_None_Match=etag)


def test_with_a_board_go_its_cards_and_later_their_worktrees(
    api: Any, project: Project, url: str, alice: User
) -> None:
    card = factories.make_card(project)
    elsewhere = api(alice).post(url, {"name": "Other"})
    waiting = api(alice).post(
        f"/api/projects/{project.pk}/cards", {"title": "Later", "boardId": elsewhere["id"]}
    )
    blocked = {"blockedBy": [card.pk]}
    api(alice).patch(f"/api/projects/{project.pk}/cards/{waiting['id']}", blocked)
    Worktree.objects.create(
        card_id=card.pk,
        project_id=project.pk,
        host_id="h",
        repository=project.path,
        path="/nowhere",
        state=Worktree.State.READY,
    )
    api(alice).delete(f"{url}/{factories.first_board(project).pk}")
    (left,) = api(alice).get(f"/api/projects/{project.pk}/cards")
    assert (left["id"], left["blockedBy"]) == (waiting["id"], [])
    row = Worktree.objects.get()
    assert (row.state, row.forced) == (Worktree.State.REMOVING, True)
    event = StoredEvent.objects.get(type="board.deleted")
    (patch,) = json.loads(event.data)["patches"]
    assert re.fullmatch(rf"card_{card.pk:03d}-\d{{8}}T[\d.]+Z\.patch", patch)


def test_without_a_board_no_card_can_be_made(
    api: Any, project: Project, url: str, alice: User
) -> None:
    api(alice).delete(f"{url}/{factories.first_board(project).pk}")
    error = api(alice).post(f"/api/projects/{project.pk}/cards", {"title": "x"}, 409)
    assert error["code"] == "no_column"
