"""All cards of a column go at once, with what their agents were doing."""

from __future__ import annotations

from typing import Any

import pytest

from apps.accounts.models import User
from apps.agents.models import AgentSession
from apps.boards.models import Column
from apps.cards.models import Card, Worktree
from apps.cards.services import deleting
from apps.events.models import StoredEvent
from apps.projects.models import Project
from tests import factories
from tests.client import Api
from tests.together import at_once

pytestmark = [pytest.mark.django_db, pytest.mark.both_databases]


@pytest.fixture
def url(project: Project) -> str:
    return f"/api/projects/{project.pk}/columns"


@pytest.fixture
def backlog(project: Project) -> Column:
    return factories.column(project)


def test_every_card_of_the_column_goes_with_an_event_of_its_own_and_the_others_stay(
    api: Any,
    project: Project,
    url: str,
    backlog: Column,
    bob: User,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(deleting, "AT_ONCE", 3)
    doomed = {factories.make_card(project, title=str(n)).pk for n in range(7)}
    kept = factories.make_card(project, column=factories.column(project, "done"))
    start = StoredEvent.objects.latest("seq").seq
    assert api(bob).post(f"{url}/{backlog.pk}/clean-all", status=204) is None
    assert list(Card.objects.all()) == [kept]
    events = StoredEvent.objects.filter(seq__gt=start)
    assert {(each.type, each.actor_id) for each in events} == {("card.deleted", bob.pk)}
    assert len(events) == len(doomed)
    api(bob).post(f"{url}/{backlog.pk}/clean-all", {}, 204)
    assert len(StoredEvent.objects.filter(seq__gt=start)) == len(doomed)


def test_running_agents_and_worktrees_stand_in_nobodys_way(
    api: Any, project: Project, url: str, backlog: Column, bob: User
) -> None:
    card = factories.make_card(project)
    factories.make_session(card, state="running", worker_id="w", host_id="h")
    Card.objects.update(agent_status="running")
    Worktree.objects.create(
        card_id=card.pk,
        project_id=project.pk,
        host_id="h",
        repository=project.path,
        path="/nowhere",
        state=Worktree.State.READY,
    )
    api(bob).delete(f"/api/projects/{project.pk}/cards/{card.pk}", 409)
    api(bob).post(f"{url}/{backlog.pk}/clean-all", status=204)
    assert not AgentSession.objects.exists()
    row = Worktree.objects.get()
    assert (row.state, row.forced) == (Worktree.State.REMOVING, True)


def test_cards_that_waited_for_them_wait_no_longer(
    api: Any, project: Project, url: str, backlog: Column, bob: User
) -> None:
    """Also those of the same column that go themselves."""
    first, second = (factories.make_card(project, title=name) for name in "ab")
    outside = factories.make_card(project, column=factories.column(project, "done"))
    cards = f"/api/projects/{project.pk}/cards"
    api(bob).patch(f"{cards}/{second.pk}", {"blockedBy": [first.pk]})
    api(bob).patch(f"{cards}/{outside.pk}", {"blockedBy": [first.pk, second.pk]})
    api(bob).post(f"{url}/{backlog.pk}/clean-all", status=204)
    assert api(bob).get(f"{cards}/{outside.pk}")["blockedBy"] == []


def test_a_column_of_another_project_is_a_404_and_keeps_its_cards(
    api: Any, project: Project, url: str, alice: User, charlie: User, backlog: Column
) -> None:
    other = factories.make_project(alice, name="Other")
    factories.make_card(other)
    factories.make_card(project)
    api(alice).post(f"{url}/{factories.column(other).pk}/clean-all", status=404)
    api(charlie).post(f"{url}/{backlog.pk}/clean-all", status=404)
    api(None).post(f"{url}/{backlog.pk}/clean-all", status=401)
    assert Card.objects.count() == 2


@pytest.mark.django_db(transaction=True)
def test_cleaned_by_two_while_cards_come_and_go_it_leaves_no_gap(
    project: Project, url: str, backlog: Column, bob: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deleting, "AT_ONCE", 4)
    doomed = [factories.make_card(project, title=str(n)).pk for n in range(24)]
    done = factories.column(project, "done")
    cards = f"/api/projects/{project.pk}/cards"
    rescued: list[int] = []

    def clean() -> None:
        Api(bob).post(f"{url}/{backlog.pk}/clean-all", status=204)

    def rescue() -> None:
        client = Api(bob)
        for card in doomed[::3]:
            client.request("PATCH", f"{cards}/{card}/move", {"columnId": done.pk}, status=None)
            assert client.response.status_code in (200, 404)
            if client.response.status_code == 200:
                rescued.append(card)

    def add() -> None:
        for _ in range(6):
            Api(bob).post(cards, {"title": "new"})

    at_once([clean, clean, rescue, add])
    # Who was moved out in time stays.
    assert set(done.cards.values_list("pk", flat=True)) == set(rescued)
    for column in (backlog, done):
        places = sorted(column.cards.values_list("position", flat=True))
        assert places == list(range(len(places)))
    assert not set(backlog.cards.values_list("pk", flat=True)) & set(doomed)
