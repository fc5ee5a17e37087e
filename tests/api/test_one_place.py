"""Agents that work in the project's own directory: never two of them there at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from apps.accounts.models import User
from apps.agents import attempts, turns
from apps.agents.claims import AgentKind
from apps.agents.models import AgentSession
from apps.boards.models import Column
from apps.cards.models import Card
from apps.projects.models import Project
from apps.runs.kinds import Claim
from tests import factories
from tests.client import Api

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]

KIND = AgentKind()


@pytest.fixture
def active(project: Project, alice: User) -> Column:
    """Of a project that has a key, and whose agents work in its own directory."""
    project.credential = factories.make_credential(
        alice, provider="openai-compatible", base_url="http://127.0.0.1:9", model="m"
    )
    project.worktree = False
    project.save(update_fields=["credential", "worktree"])
    return factories.column(project, "active")


def claim() -> Claim | None:
    return KIND.claim("w", "host", closing=False)


def cancel(api: Api, card: str, active: Column) -> None:
    api.post(f"{card}/agent/cancel", status=204)


def move_away(api: Api, card: str, active: Column) -> None:
    backlog = factories.column(Project.objects.get(pk=active.project_id)).pk
    api.patch(f"{card}/move", {"columnId": backlog})


def move_on(api: Api, card: str, active: Column) -> None:
    other = Column.objects.create(
        board_id=active.board_id,
        project_id=active.project_id,
        name="Next",
        column_type="active",
        position=9,
    )
    api.patch(f"{card}/move", {"columnId": other.pk})


@pytest.mark.parametrize("stop", [cancel, move_away, move_on])
def test_the_next_agent_starts_only_when_the_processes_of_the_stopped_one_are_gone(
    project: Project, active: Column, bob: User, stop: Callable[[Api, str, Column], None]
) -> None:
    first, second = (
        factories.make_card(project, title=name, column=active, by=bob.pk) for name in "ab"
    )
    working = claim()
    assert working is not None
    stop(Api(bob), f"/api/projects/{project.pk}/cards/{first.pk}", active)
    assert claim() is None
    attempts.end_turn(working, None, stop_reason="cancelled", error=None)
    assert AgentSession.objects.get(pk=working.run_id).state == "cancelled"
    assert claim() is None
    waits = AgentSession.objects.get(card=second)
    assert (waits.state, waits.queue_reason) == ("queued", "path_in_use")
    KIND.release(working)
    following = claim()
    assert following is not None
    assert following.run_id == waits.pk
    assert claim() is None


def put_off(project: Project, active: Column, bob: User) -> tuple[str, Claim]:
    """A card whose agent has found its place taken, before it was started at all."""
    card = factories.make_card(project, column=active, by=bob.pk)
    claimed = claim()
    assert claimed is not None
    attempts.put_off(claimed, "path_in_use")
    return f"/api/projects/{project.pk}/cards/{card.pk}", claimed


def test_an_agent_whose_place_is_taken_keeps_no_place_from_those_of_other_projects(
    project: Project, active: Column, alice: User, bob: User, settings: Any
) -> None:
    settings.MAX_AGENTS = 1
    _card, claimed = put_off(project, active, bob)
    KIND.release(claimed)
    waits = AgentSession.objects.get(pk=claimed.run_id)
    assert (waits.state, waits.queue_reason) == ("queued", "path_in_use")
    other = factories.make_project(alice, name="Orchard", credential=project.credential)
    elsewhere = factories.make_card(other, column=factories.column(other, "active"))
    following = claim()
    assert following is not None
    assert AgentSession.objects.get(pk=following.run_id).card_id == elsewhere.pk


def test_what_is_chosen_while_an_agents_place_is_taken_counts_when_it_starts(
    project: Project, active: Column, bob: User
) -> None:
    card, claimed = put_off(project, active, bob)
    KIND.release(claimed)
    Api(bob).patch(card, {"permissionMode": "ask"})
    AgentSession.objects.update(not_before=None)
    following = claim()
    assert following is not None
    assert following.run_id == claimed.run_id
    assert AgentSession.objects.get(pk=following.run_id).permission_mode == "ask"


def test_a_turn_under_way_whose_place_is_taken_stays_interrupted(
    project: Project, active: Column, bob: User
) -> None:
    card = factories.make_card(project, column=active, by=bob.pk)
    first = claim()
    assert first is not None
    attempts.started(first, preset="builtin", pid=1, agent_session_id="x", handover=False)
    turns.begin(first)
    KIND.interrupt(first)
    KIND.release(first)
    url = f"/api/projects/{project.pk}/cards/{card.pk}"
    Api(bob).patch(url, {"permissionMode": "ask"})
    second = claim()
    assert second is not None
    attempts.put_off(second, "path_in_use")
    KIND.release(second)
    assert Api(bob).get(f"{url}/agent")["status"] == "interrupted"
    assert AgentSession.objects.get(pk=second.run_id).permission_mode == "unattended"


@pytest.mark.parametrize("stop", [cancel, move_away, move_on])
@pytest.mark.parametrize("released", [False, True])
def test_an_agent_whose_place_is_taken_can_be_stopped(
    project: Project,
    active: Column,
    bob: User,
    stop: Callable[[Api, str, Column], None],
    released: bool,
) -> None:
    card, claimed = put_off(project, active, bob)
    if released:
        KIND.release(claimed)
    stop(Api(bob), card, active)
    if not released:
        KIND.release(claimed)
    assert AgentSession.objects.get(pk=claimed.run_id).state == "cancelled"
    following = claim()
    assert (following is not None) == (stop is move_on)


def test_where_agents_work_is_not_changed_while_one_is_at_work(
    project: Project, active: Column, alice: User, bob: User
) -> None:
    card: Card = factories.make_card(project, column=active, by=bob.pk)
    url = f"/api/projects/{project.pk}"
    working = claim()
    assert working is not None
    error: Any = Api(alice).patch(url, {"worktree": True}, 409)
    assert error["code"] == "agents_at_work"
    assert Api(alice).patch(url, {"worktree": False, "name": "x"})["name"] == "x"
    Api(bob).post(f"/api/projects/{project.pk}/cards/{card.pk}/agent/cancel", status=204)
    attempts.end_turn(working, None, stop_reason="cancelled", error=None)
    Api(alice).patch(url, {"worktree": True}, 409)
    KIND.release(working)
    assert Api(alice).patch(url, {"worktree": True})["worktree"] is True
