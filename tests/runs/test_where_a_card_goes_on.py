"""Several hosts: a card's next step runs where its worktree is."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db.models.functions import Now

from apps.accounts.models import User
from apps.agents import attempts, requests, turns, waiting
from apps.agents.claims import AgentKind
from apps.agents.models import AgentSession
from apps.boards.models import Column
from apps.cards import worktrees
from apps.cards.models import Card, Worktree
from apps.events.models import StoredEvent
from apps.projects.models import Project
from apps.runs.kinds import Claim
from apps.runs.models import Worker
from tests import factories
from tests.client import Api

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]

KIND = AgentKind()


@pytest.fixture
def card(project: Project, alice: User) -> Card:
    """Its first step has ended on host `a`, in a worktree there; it stands in the backlog again."""
    project.credential = factories.make_credential(
        alice, provider="openai-compatible", base_url="http://127.0.0.1:9", model="m"
    )
    project.save(update_fields=["credential"])
    for host in "ab":
        Worker.objects.create(id=f"w-{host}", host_id=host, pid=1)
    card = factories.make_card(project, column=factories.column(project, "active"))
    first = claimed_by("a")
    assert first is not None
    Worktree.objects.create(
        card_id=card.pk, project_id=project.pk, host_id="a", path="/x", state=Worktree.State.READY
    )
    attempts.end_turn(first, None, stop_reason="cancelled", error=None)
    KIND.release(first)
    move(card, factories.column(project))
    return card


def claimed_by(host: str) -> Claim | None:
    return KIND.claim(f"w-{host}", host, closing=False)


def move(card: Card, column: Column | None = None) -> None:
    column = column or factories.column(card.project, "active")
    url = f"/api/projects/{card.project_id}/cards/{card.pk}/move"
    Api(card.project.owner).patch(url, {"columnId": column.pk})


def gone(host: str) -> None:
    Worker.objects.filter(host_id=host).delete()
    KIND.abandon(host)


def test_the_next_step_waits_for_the_host_that_has_the_worktree(card: Card) -> None:
    move(card)
    assert claimed_by("b") is None
    assert claimed_by("a") is not None


def said(card: Card) -> str:
    """What its agent waits for."""
    agent = f"/api/projects/{card.project_id}/cards/{card.pk}/agent"
    text: str = Api(card.project.owner).get(agent)["statusText"]
    return text


def last_told(card: Card) -> str:
    """The same, as whoever only listens has been told last."""
    told = StoredEvent.objects.filter(stream_id=card.project_id, type="agent.status")
    text: str = json.loads(told.latest("seq").data)["statusText"]
    return text


def test_it_waits_also_while_that_hosts_worker_is_being_restarted(card: Card) -> None:
    Worker.objects.filter(host_id="a").delete()
    move(card)
    assert claimed_by("b") is None
    assert "the host that has" in said(card)
    assert "the host that has" in last_told(card)
    assert claimed_by("a") is not None


def fall_silent(host: str) -> None:
    Worker.objects.filter(host_id=host).update(beat_at=Now() - timedelta(seconds=20))


def test_it_is_said_that_the_host_is_away_also_when_its_worker_has_died_without_a_word(
    card: Card,
) -> None:
    fall_silent("a")
    move(card)
    assert claimed_by("b") is None
    assert "the host that has" in said(card)
    assert claimed_by("a") is not None


def test_it_is_said_that_the_host_is_away_for_as_long_as_it_is(card: Card) -> None:
    move(card)
    assert said(card) == "Starts within seconds."
    fall_silent("a")
    assert "the host that has" in said(card)
    Worker.objects.filter(host_id="a").update(beat_at=Now())
    assert said(card) == "Starts within seconds."


def test_a_message_that_comes_before_the_host_is_back_waits_for_it_and_says_so(card: Card) -> None:
    move(card)
    gone("a")
    a_message_has_the_session_queued_again(card)
    assert claimed_by("b") is None
    assert "the host that has" in said(card)
    assert "the host that has" in last_told(card)


def test_an_answer_to_an_agent_whose_host_has_died_since_waits_for_it_and_says_so(
    card: Card,
) -> None:
    move(card)
    claim = claimed_by("a")
    assert claim is not None
    attempts.started(claim, preset="builtin", pid=1, agent_session_id="x", handover=False)
    prompt = turns.begin(claim)
    assert prompt is not None
    options = [{"optionId": "yes", "name": "Allow", "kind": "allow_once"}]
    asked = requests.Asked(kind="permission", title="Deploy", fingerprint="f", options=options)
    opened = waiting.ask(claim, prompt.turn_id, asked)
    assert opened is not None
    KIND.release(claim)
    Worker.objects.filter(host_id="a").delete()
    url = f"/api/projects/{card.project_id}/cards/{card.pk}/agent"
    Api(card.project.owner).post(
        f"{url}/requests/{opened.request_id}/answer", {"optionId": "yes"}, 200
    )
    assert claimed_by("b") is None
    assert "the host that has" in said(card)
    assert "the host that has" in last_told(card)


def test_a_host_that_was_given_up_frees_the_card(card: Card, project: Project) -> None:
    move(card)
    gone("a")
    session = AgentSession.objects.get(card=card, error_code="host_gone")
    assert "Start its worker" in (session.error_message or "")
    move(card, factories.column(project))
    move(card)
    assert claimed_by("b") is not None


def its_next_session_is_cancelled(card: Card) -> None:
    move(card, factories.column(card.project))
    move(card)


def its_next_session_ends_before_it_has_a_worktree(card: Card) -> None:
    its_next_session_is_cancelled(card)
    claim = claimed_by("b")
    assert claim is not None
    attempts.end_turn(claim, None, stop_reason="cancelled", error=None)
    KIND.release(claim)


def a_message_has_the_session_queued_again(card: Card) -> None:
    url = f"/api/projects/{card.project_id}/cards/{card.pk}/agent/message"
    Api(card.project.owner).post(url, {"content": "go on"})


@pytest.mark.parametrize(
    "meanwhile",
    [
        its_next_session_is_cancelled,
        its_next_session_ends_before_it_has_a_worktree,
        a_message_has_the_session_queued_again,
    ],
)
def test_a_host_that_was_given_up_stays_so_whatever_becomes_of_the_cards_sessions(
    card: Card, meanwhile: Callable[[Card], None]
) -> None:
    move(card)
    gone("a")
    meanwhile(card)
    move(card, factories.column(card.project))
    move(card)
    assert claimed_by("b") is not None


def test_once_the_worktree_is_made_anew_its_host_is_waited_for(card: Card) -> None:
    Worktree.objects.update(path=str(worktrees.directory(card.pk)))
    move(card)
    gone("a")
    move(card, factories.column(card.project))
    move(card)
    claim = claimed_by("b")
    assert claim is not None
    worktrees.prepare(
        card, host_id="b", run=claim.wire_id, marker=claim.marker, given_up=lambda: False
    )
    attempts.end_turn(claim, None, stop_reason="cancelled", error=None)
    KIND.release(claim)
    Worker.objects.filter(host_id="b").delete()
    Worker.objects.create(id="w-c", host_id="c", pid=1)
    move(card, factories.column(card.project))
    move(card)
    assert claimed_by("c") is None
    assert claimed_by("b") is not None


def test_a_host_that_came_back_has_its_cards_again(card: Card, project: Project) -> None:
    move(card)
    gone("a")
    Worker.objects.create(id="w-new", host_id="a", pid=2)
    move(card, factories.column(project))
    move(card)
    assert claimed_by("b") is None
    assert claimed_by("a") is not None


@pytest.fixture
def in_place(card: Card, project: Project) -> Card:
    """Its next agent works in the project's own directory."""
    Api(project.owner).patch(f"/api/projects/{project.pk}", {"worktree": False})
    move(card)
    return card


def test_agents_of_the_projects_own_directory_are_bound_to_no_host(in_place: Card) -> None:
    assert claimed_by("b") is not None


def put_off(code: str) -> Claim:
    """What host `a` has claimed, and found its place taken."""
    claim = claimed_by("a")
    assert claim is not None
    attempts.put_off(claim, code)
    return claim


def let_go(claim: Claim) -> None:
    """And the few seconds are over."""
    KIND.release(claim)
    AgentSession.objects.update(not_before=None)


@pytest.fixture
def unstarted(in_place: Card) -> Claim:
    """It was put off before it had begun."""
    return put_off("path_in_use")


def agent(claim: Claim) -> dict[str, Any]:
    session = AgentSession.objects.select_related("card__project__owner").get(pk=claim.run_id)
    url = f"/api/projects/{session.project_id}/cards/{session.card_id}/agent"
    shown: dict[str, Any] = Api(session.card.project.owner).get(url)
    return shown


def test_an_agent_that_found_its_place_taken_before_it_began_may_start_on_another_host(
    unstarted: Claim,
) -> None:
    KIND.release(unstarted)
    shown = agent(unstarted)
    assert (shown["queueReason"], shown["startedAt"]) == ("path_in_use", None)
    AgentSession.objects.update(not_before=None)
    following = claimed_by("b")
    assert following is not None
    assert following.run_id == unstarted.run_id


def test_until_its_worker_has_let_go_of_it_no_other_host_starts_it(unstarted: Claim) -> None:
    AgentSession.objects.update(not_before=None)
    assert claimed_by("b") is None
    assert KIND.owners("a") == {"w-a"}


def test_a_host_that_goes_away_fails_no_agent_that_has_not_begun_there(unstarted: Claim) -> None:
    KIND.release(unstarted)
    gone("a")
    assert agent(unstarted)["status"] == "queued"


def test_another_host_is_not_asked_for_a_conversation_in_which_nothing_was_said(
    in_place: Card,
) -> None:
    first = claimed_by("a")
    assert first is not None
    attempts.started(first, preset="builtin", pid=1, agent_session_id="x", handover=False)
    KIND.interrupt(first)
    KIND.release(first)
    let_go(put_off("path_in_use"))
    following = claimed_by("b")
    assert following is not None
    assert AgentSession.objects.get(pk=following.run_id).agent_session_id is None


def test_a_worktree_that_is_taken_is_waited_for_on_its_host(card: Card) -> None:
    move(card)
    claim = put_off("worktree_busy")
    let_go(claim)
    assert agent(claim)["queueReason"] == "worktree_busy"
    assert claimed_by("b") is None
    assert claimed_by("a") is not None


def test_a_conversation_that_has_begun_goes_on_only_on_its_host(in_place: Card) -> None:
    first = claimed_by("a")
    assert first is not None
    attempts.started(first, preset="builtin", pid=1, agent_session_id="x", handover=False)
    prompt = turns.begin(first)
    assert prompt is not None
    attempts.end_turn(first, prompt.turn_id, stop_reason="refusal", error=None)
    KIND.release(first)
    a_message_has_the_session_queued_again(in_place)
    let_go(put_off("path_in_use"))
    assert claimed_by("b") is None
    assert claimed_by("a") is not None


def test_a_worktree_that_is_still_being_made_is_made_on_one_host_only(card: Card) -> None:
    Worktree.objects.update(state=Worktree.State.CREATING)
    move(card)
    let_go(put_off("worktree_busy"))
    assert claimed_by("b") is None
    assert claimed_by("a") is not None
