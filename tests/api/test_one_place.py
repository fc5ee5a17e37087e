"""Agents that work in the project's own directory: never two of them there at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from apps.accounts.models import User
from apps.agents import attempts
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
