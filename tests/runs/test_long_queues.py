"""A queue of hundreds that can't start hides nobody who can."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from apps.accounts.models import User
from apps.agents.claims import AgentKind
from apps.agents.models import AgentSession
from apps.cards.models import Card
from apps.projects.models import Project
from apps.runs.kinds import Claim
from apps.runs.models import Worker
from apps.scripts.claims import ScriptKind
from apps.scripts.models import Script, ScriptRun
from tests import factories
from tests.client import Api

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]

MANY = 700


@pytest.fixture
def busy(project: Project, alice: User) -> Project:
    """It lets one agent work, and that one does."""
    project.credential = factories.make_credential(
        alice, provider="openai-compatible", base_url="http://127.0.0.1:9", model="m"
    )
    project.max_parallel_agents = 1
    project.save(update_fields=["credential", "max_parallel_agents"])
    Worker.objects.create(id="alive", host_id="elsewhere", pid=1)
    factories.make_session(
        card_in(project), state="running", worker_id="w", host_id="host", fence=1
    )
    return project


def card_in(project: Project) -> Card:
    """In the active column, without a session."""
    card = factories.make_card(project)
    Card.objects.filter(pk=card.pk).update(column=factories.column(project, "active"))
    return card


def many_queued(project: Project, reason: str | None) -> None:
    column = factories.column(project, "active")
    cards = Card.objects.bulk_create(
        Card(project=project, column=column, position=place, title="Water the roses")
        for place in range(1, MANY + 1)
    )
    AgentSession.objects.bulk_create(
        AgentSession(
            project_id=project.pk, card=card, queue_number=number, queue_reason=reason, preset="x"
        )
        for number, card in enumerate(cards, start=1)
    )


def claim() -> Claim | None:
    return AgentKind().claim("w2", "host", closing=False)


def test_a_project_at_its_limit_keeps_no_other_projects_card_waiting(
    busy: Project, alice: User
) -> None:
    many_queued(busy, "project_limit")
    other = factories.make_project(alice, path=busy.path, credential=busy.credential)
    card = factories.make_card(other, column=factories.column(other, "active"))
    claimed = claim()
    assert claimed is not None
    found = Api(alice).get(f"/api/projects/{other.pk}/cards/{card.pk}")
    assert found["agentStatus"] == "starting"


def test_interrupted_work_goes_on_behind_a_long_queue_that_waits_for_its_place(
    busy: Project, alice: User, settings: Any
) -> None:
    settings.MAX_AGENTS = 1
    many_queued(busy, "max_agents")
    AgentSession.objects.filter(state="running").update(
        state="interrupted", worker_id=None, queue_number=MANY + 1
    )
    claimed = claim()
    assert claimed is not None
    assert AgentSession.objects.get(pk=claimed.run_id).fence == 2


def test_every_card_of_a_long_queue_says_why_it_waits(busy: Project, bob: User) -> None:
    many_queued(busy, None)
    for _ in range(2):
        assert claim() is None
    queued = AgentSession.objects.filter(state="queued")
    assert Counter(queued.values_list("queue_reason", flat=True)) == {"project_limit": MANY}
    last = queued.latest("queue_number").card_id
    session = Api(bob).get(f"/api/projects/{busy.pk}/cards/{last}/agent")
    assert "as many agents work in this project as it allows" in session["statusText"]


def test_to_find_that_nothing_can_start_takes_three_queries(
    busy: Project, django_assert_num_queries: Any
) -> None:
    many_queued(busy, "project_limit")
    AgentSession.objects.filter(queue_number__gt=400).update(state="cancelled")
    with django_assert_num_queries(3):
        assert claim() is None


def test_runs_that_wait_for_what_is_left_of_the_last_hide_no_other(project: Project) -> None:
    scripts = Script.objects.bulk_create(
        Script(project=project, name=str(place), command="true", position=place)
        for place in range(MANY + 1)
    )
    *stuck, free = scripts
    ScriptRun.objects.bulk_create(
        ScriptRun(project_id=project.pk, script=each, state="failed", worker_id="w", host_id="host")
        for each in stuck
    )
    waiting = ScriptRun.objects.bulk_create(
        ScriptRun(project_id=project.pk, script=each, queue_reason="previous_run")
        for each in scripts
    )
    claimed = ScriptKind().claim("w2", "host", closing=False)
    assert claimed is not None
    assert (claimed.run_id, waiting[-1].script_id) == (waiting[-1].pk, free.pk)
