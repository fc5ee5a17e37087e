"""How many queries an answer takes does not depend on how many rows there are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from apps.accounts import authentication
from apps.accounts.models import User
from apps.cards import bodies, services
from apps.cards.models import PanelState
from apps.projects import counts
from apps.projects.models import Project
from tests import factories

pytestmark = pytest.mark.django_db


def _count(call: Callable[[], Any]) -> int:
    with CaptureQueriesContext(connection) as captured:
        call()
    return len(captured)


def _more(project: Project, alice: User, bob: User, rows: int) -> None:
    for number in range(rows):
        card = factories.make_card(project, title=str(number), labels=["a"])
        services.update_card(card, by=bob.pk, blocked_by=[card.pk - 1] if number else [])
        services.mark_viewed(card, user_id=alice.pk)
        factories.make_credential(alice)
        factories.make_attachment(project.cards.earliest("pk"))
        other = factories.make_project(alice, name=str(number))
        factories.add_member(other, bob)
        factories.add_member(project, factories.make_user(f"someone-{card.pk}"))
        factories.invite(project, f"invited-{card.pk}@example.org")
        PanelState.objects.create(card=card, user=alice, state="{}")


# path, and how many queries it takes: who reaches it and where it stands, then the rows.
LISTS = {
    "/api/projects": 3,
    "/api/projects/{project}": 3,
    "/api/projects/{project}/boards": 2,
    "/api/projects/{project}/columns": 2,
    "/api/projects/{project}/events": 4,
    "/api/projects/{project}/members": 4,
    "/api/projects/{project}/panel-states": 2,
    "/api/projects/{project}/cards": 3,
    "/api/projects/{project}/cards/{card}": 2,
    "/api/projects/{project}/cards/{card}/pipeline": 4,
    "/api/projects/{project}/cards/{card}/attachments": 3,
    "/api/projects/{project}/active-agents": 2,
    "/api/board-templates": 1,
    "/api/attention": 5,
    "/api/search?q=a": 3,
    "/api/search?q=a&projectId={project}": 4,
    "/api/credentials": 1,
    "/api/cards/{card}": 3,
    "/api/cards/{card}/status": 2,
}


@pytest.fixture(autouse=True)
def _callers_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    """For as long as a test takes: on a busy machine 20 rows are made in more than a second."""
    monkeypatch.setattr(authentication, "REMEMBER_S", 600.0)


@pytest.mark.parametrize("path", LISTS)
@pytest.mark.parametrize("person", ["alice", "bob", "root"])
def test_the_number_of_queries_is_the_same_for_1_and_20_rows(
    api: Any,
    request: pytest.FixtureRequest,
    project: Project,
    alice: User,
    bob: User,
    person: str,
    path: str,
) -> None:
    client = api(request.getfixturevalue(person))
    _more(project, alice, bob, 1)
    card = project.cards.get()
    address = path.format(project=project.pk, card=card.pk)
    # The first look tells the process who the bearer of the token is.
    client.get(address)
    bodies.forget_all()
    counts.forget_all()
    one = _count(lambda: client.get(address))
    _more(project, alice, bob, 20)
    bodies.forget_all()
    counts.forget_all()
    assert _count(lambda: client.get(address)) == one
    assert one <= LISTS[path]


def test_an_unchanged_list_of_cards_takes_one_query(
    api: Any, project: Project, alice: User
) -> None:
    for _ in range(20):
        factories.make_card(project)
    client, path = api(alice), f"/api/projects/{project.pk}/cards"
    client.get(path)
    etag = client.response["ETag"]
    assert _count(lambda: client.get(path)) == 1
    assert _count(lambda: client.get(path, 304, If_None_Match=etag)) == 1


def test_one_persons_reading_costs_the_others_nothing(
    api: Any, project: Project, alice: User, bob: User
) -> None:
    card = factories.make_card(project)
    path = f"/api/projects/{project.pk}/cards"
    api(alice).get(path)
    api(bob).get(path)
    api(bob).post(f"{path}/{card.pk}/view", status=204)
    # Who reaches it, and what Bob has read; the cards themselves are kept.
    client = api(bob)
    client.get(f"/api/projects/{project.pk}")
    assert _count(lambda: client.get(path)) == 2
    client = api(alice)
    client.get(f"/api/projects/{project.pk}")
    assert _count(lambda: client.get(path)) == 1


@pytest.mark.parametrize("cards", [1, 60])
def test_a_move_takes_the_same_few_queries_in_a_long_column(
    api: Any, project: Project, alice: User, cards: int
) -> None:
    made = [factories.make_card(project, title=str(number)) for number in range(cards)]
    client = api(alice)
    client.get(f"/api/projects/{project.pk}")
    place = f"/api/projects/{project.pk}/cards/{made[0].pk}/move"
    archive = client.post(
        f"/api/projects/{project.pk}/columns",
        {"name": "x", "columnType": "backlog", "boardId": made[0].column.board_id},
    )
    assert _count(lambda: client.patch(place, {"columnId": archive["id"]})) <= 8
