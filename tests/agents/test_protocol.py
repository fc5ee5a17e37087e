"""The rules of turns, requests and limits, one transaction at a time: what a crash may fall between."""

from __future__ import annotations

import contextlib
import logging
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.db import OperationalError, transaction
from django.utils import timezone

from apps.accounts.models import User
from apps.agents import answering, attempts, gate, messages, requests, sessions, turns, waiting
from apps.agents.claims import AgentKind
from apps.agents.models import AgentRequest, AgentSession, Turn
from apps.boards.models import Column
from apps.cards import services as cards
from apps.cards.models import Card
from apps.host.disk import host_id
from apps.projects.models import Project
from apps.runs.kinds import Claim
from apps.runs.models import State, Worker
from tests import factories

pytestmark = [pytest.mark.django_db, pytest.mark.both_databases]

PRESETS = """
[fake]
name = "Fake"
command = ["true"]
needs_credential = false
modes = { ask = "ask", plan = "plan" }
[other]
name = "Other"
command = ["true"]
needs_credential = false
modes = { ask = "ask", plan = "plan" }
plan_options = { ask = ["manual"] }
"""


@pytest.fixture(autouse=True)
def preset() -> Any:
    path = Path(settings.DATA_DIR) / "presets.toml"
    path.write_text(PRESETS)
    yield
    path.unlink()


@pytest.fixture
def card(project: Project, alice: User) -> Card:
    Project.objects.filter(pk=project.pk).update(agent="fake")
    project.refresh_from_db()
    return factories.make_card(project, title="Dig", prompt="a hole")


@pytest.fixture
def doing(card: Card) -> Column:
    return factories.column(card.project, "active")


KIND = AgentKind()
HOST = host_id(settings.DATA_DIR)


def start(card: Card, doing: Column) -> Claim:
    cards.move_card(card, to=doing, by=None)
    return claim()


def claim(worker: str = "w1") -> Claim:
    Worker.objects.get_or_create(id=worker, defaults={"host_id": HOST, "pid": 1})
    found = KIND.claim(worker, HOST, closing=False)
    assert found is not None
    return found


def begin(found: Claim) -> turns.Prompt:
    opened(found, "conversation")
    prompt = turns.begin(found)
    assert prompt is not None
    return prompt


def opened(found: Claim, conversation: str, *, handover: bool = False) -> None:
    equipment = gate.equip(session().card)
    assert isinstance(equipment, gate.Equipment)
    attempts.started(
        found,
        preset=equipment.preset.id,
        pid=1,
        agent_session_id=conversation,
        handover=handover,
    )


def end(found: Claim, prompt: turns.Prompt | None, **fields: Any) -> bool:
    fields = {"stop_reason": "end_turn", "error": None, **fields}
    return attempts.end_turn(found, prompt and prompt.turn_id, **fields)


def session() -> AgentSession:
    return AgentSession.objects.order_by("-pk")[0]


def ask(
    found: Claim, prompt: turns.Prompt, kind: str = "permission", option: str = "yes"
) -> AgentRequest:
    options = [{"optionId": option, "name": "Allow", "kind": "allow_once"}]
    asked = requests.Asked(kind=kind, title="Deploy", fingerprint="f", options=options)
    opened = waiting.ask(found, prompt.turn_id, asked)
    assert opened is not None
    assert opened.request_id is not None
    return AgentRequest.objects.get(pk=opened.request_id)


def after_a_death(found: Claim) -> Claim:
    taken = KIND.take_over(found.run_id, dead=found.worker_id, worker_id="w2", at=timezone.now())
    assert taken is not None
    KIND.release(taken)
    return claim("w2")


def handed_over(found: Claim) -> str:
    """What is sent by an agent that could not open the earlier conversation."""
    opened(found, "another conversation", handover=True)
    prompt = turns.begin(found)
    assert prompt is not None
    return turns.handover_text(session(), prompt)


def test_a_message_in_a_new_conversation_comes_with_the_task_that_nobody_there_knows(
    card: Card, doing: Column, bob: User
) -> None:
    found = start(card, doing)
    error = ("auth_failed", "The provider refused the credential.")
    end(found, begin(found), stop_reason=None, error=error)
    KIND.release(found)
    messages.post(card, "go on", by=bob.pk)
    assert handed_over(claim()) == "# Dig\n\na hole\n\n---\n\ngo on"


def test_a_message_in_a_new_conversation_comes_with_the_last_words_and_the_task(
    card: Card, doing: Column, bob: User
) -> None:
    found = start(card, doing)
    prompt = begin(found)
    factories.make_message(session(), role="assistant", content="It is deep.", index=9, queue=None)
    end(found, prompt)
    KIND.release(found)
    messages.post(card, "deeper", by=bob.pk)
    told = handed_over(claim())
    assert told.startswith("You are taking over")
    assert told.index("It is deep.") < told.index("# Dig\n\na hole") < told.index("deeper")


def test_a_turn_goes_on_in_a_new_conversation_with_the_whole_of_its_task_given_once(
    card: Card, doing: Column
) -> None:
    Card.objects.filter(pk=card.pk).update(prompt="a hole " * 400)
    Column.objects.filter(pk=doing.pk).update(prompt="Use the small spade.")
    found = start(Card.objects.get(pk=card.pk), doing)
    begin(found)
    found = after_a_death(found)
    # Who knows the task already is only reminded of it.
    assert "small spade" not in begin(found).text
    told = handed_over(after_a_death(found))
    assert told.startswith("Your work on the following was interrupted")
    assert told.count("# Dig") == 1
    assert told.endswith("Use the small spade.")


def test_a_message_under_way_goes_on_in_a_new_conversation_with_the_task_before_it(
    card: Card, doing: Column, bob: User
) -> None:
    found = start(card, doing)
    messages.post(card, "deeper " * 400 + "by Monday", by=bob.pk)
    assert end(found, begin(found)) is True
    begin(found)
    told = handed_over(after_a_death(found))
    assert told.startswith("Your work on the following was interrupted")
    assert told.index("# Dig\n\na hole\n\n---") < told.index("deeper")
    assert told.endswith("by Monday")


def test_the_task_is_sent_by_the_message_after_a_start_that_failed(
    card: Card, doing: Column, bob: User
) -> None:
    found = start(card, doing)
    end(found, None, stop_reason=None, error=("agent_start_failed", "It did not start."))
    KIND.release(found)
    messages.post(card, "try again", by=bob.pk)
    found = claim()
    first = begin(found)
    assert "a hole" in first.text
    assert end(found, first) is True
    second = turns.begin(found)
    assert second is not None
    assert second.text == "try again"


def test_a_task_that_was_cancelled_before_it_was_sent_comes_with_the_next_message_as_its_background(
    card: Card, doing: Column, bob: User
) -> None:
    cards.move_card(card, to=doing, by=None)
    sessions.cancel(card, by=bob.pk)
    messages.post(card, "only look", by=bob.pk)
    prompt = begin(claim())
    assert prompt.text.startswith("# Dig")
    assert prompt.text.endswith("only look")


def test_a_session_that_waited_for_a_limit_waits_no_more_once_it_was_cancelled(
    card: Card, doing: Column, bob: User
) -> None:
    found = start(card, doing)
    end(found, begin(found), stop_reason=None, error=("rate_limited", "Slow."), retry_after=3600)
    KIND.release(found)
    assert session().waiting_for["kind"] == "limit"
    sessions.cancel(card, by=bob.pk)
    messages.post(card, "go on", by=bob.pk)
    assert session().not_before is None
    assert begin(claim()).text == "go on"


def test_a_message_sent_now_does_not_wait_for_the_limit(
    card: Card, doing: Column, bob: User
) -> None:
    found = start(card, doing)
    end(found, begin(found), stop_reason=None, error=("rate_limited", "Slow."), retry_after=3600)
    message = messages.post(card, "now", by=bob.pk)
    messages.send_now(card, message.pk, by=bob.pk)
    KIND.release(found)
    assert session().state == State.INTERRUPTED
    assert begin(claim()).text == "now"


def test_a_limit_with_a_known_end_is_waited_for_however_long_and_closes_what_was_asked(
    card: Card, doing: Column
) -> None:
    found = start(card, doing)
    prompt = begin(found)
    ask(found, prompt)
    week = timedelta(days=6).total_seconds()
    end(found, prompt, stop_reason=None, error=("rate_limited", "Slow."), retry_after=week)
    stored = session()
    assert stored.not_before is not None
    assert stored.not_before > timezone.now() + timedelta(days=5)
    assert AgentRequest.objects.get().state == "withdrawn"


def test_a_mode_that_was_tightened_while_the_session_waited_counts(
    card: Card, doing: Column
) -> None:
    cards.move_card(card, to=doing, by=None)
    assert session().permission_mode == "unattended"
    Project.objects.filter(pk=card.project_id).update(permission_mode="ask")
    claim()
    assert session().permission_mode == "ask"


def test_a_plan_is_approved_as_the_agent_that_made_it_means_it(
    api: Any, card: Card, doing: Column, bob: User
) -> None:
    Project.objects.filter(pk=card.project_id).update(permission_mode="plan")
    found = start(Card.objects.get(pk=card.pk), doing)
    end(found, begin(found))
    KIND.release(found)
    key = factories.make_credential(bob)
    Project.objects.filter(pk=card.project_id).update(
        agent="other", model="large", credential=key, permission_mode="unattended"
    )
    messages.post(card, "go on", by=bob.pk)
    found = claim()
    stored = session()
    assert (stored.preset, stored.model, stored.credential_id) == ("other", "large", key.pk)
    # It goes on as it was; what was set since is for the next session.
    assert stored.permission_mode == "plan"
    request = ask(found, begin(found), kind="plan", option="manual")
    url = f"/api/projects/{card.project_id}/cards/{card.pk}/agent/requests/{request.pk}/answer"
    api(bob).post(url, {"optionId": "manual"}, 200)
    assert session().permission_mode == "ask"


def test_a_session_names_the_agent_that_runs_though_another_was_chosen_after_its_claim(
    card: Card, doing: Column
) -> None:
    found = start(card, doing)
    Project.objects.filter(pk=card.project_id).update(agent="other", permission_mode="ask")
    begin(found)
    assert (session().preset, session().permission_mode) == ("other", "unattended")


def test_a_follow_up_whose_worker_died_before_it_was_sent_keeps_its_place(
    card: Card, doing: Column, bob: User
) -> None:
    found = start(card, doing)
    prompt = begin(found)
    message = messages.post(card, "later", by=bob.pk)
    assert end(found, prompt) is True
    taken = KIND.take_over(found.run_id, dead=found.worker_id, worker_id="w2", at=timezone.now())
    assert taken is not None
    KIND.release(taken)
    message.refresh_from_db()
    assert (message.queue, message.index) == ("queued", None)
    review = Column.objects.create(
        project=card.project, board=doing.board, name="Review", column_type="active", position=9
    )
    card.refresh_from_db()
    cards.move_card(card, to=review, by=None)
    message.refresh_from_db()
    assert (message.session_id, message.queue) == (session().pk, "queued")
    found = claim("w2")
    assert end(found, begin(found)) is True
    assert begin(found).text == "later"


def test_a_turn_that_ends_over_an_open_question_moves_no_card(card: Card, doing: Column) -> None:
    Card.objects.filter(pk=card.pk).update(auto_mode=True)
    card.refresh_from_db()
    found = start(card, doing)
    prompt = begin(found)
    request = ask(found, prompt)
    assert end(found, prompt) is False
    card.refresh_from_db()
    assert card.column_id == doing.pk
    assert session().state == State.COMPLETED
    request.refresh_from_db()
    assert request.state == "withdrawn"


def test_a_permission_that_may_have_been_used_is_told_as_such_and_not_given_again(
    card: Card, doing: Column, bob: User
) -> None:
    found = start(card, doing)
    prompt = begin(found)
    request = ask(found, prompt)
    answering.answer(card, request.pk, {"option_id": "yes"}, by=bob)
    assert waiting.news(found, [request.pk]).answers[request.pk]["granted"] is True
    again = begin(after_a_death(found))
    assert again.note is not None
    assert "whether you did it is not known" in again.text


def test_a_permission_that_nobody_heard_is_told_once_and_used_once(
    card: Card, doing: Column, bob: User
) -> None:
    found = start(card, doing)
    request = ask(found, begin(found))
    answering.answer(card, request.pk, {"option_id": "yes"}, by=bob)
    found = after_a_death(found)
    assert "do it now" in begin(found).text
    found = after_a_death(found)
    prompt = begin(found)
    assert "do it now" not in prompt.text
    assert "whether you did it is not known" in prompt.text
    asked = requests.Asked(kind="permission", title="Deploy", fingerprint="f")
    reused = waiting.ask(found, prompt.turn_id, asked)
    assert reused is not None
    assert reused.answer is not None
    assert reused.answer["granted"]
    new = waiting.ask(found, prompt.turn_id, asked)
    assert new is not None
    assert new.answer is None


def overtaken(card: Card, doing: Column, bob: User) -> Claim:
    """A session whose task hasn't left, with a message that is to be sent before it."""
    cards.move_card(card, to=doing, by=None)
    message = messages.post(card, "first", by=bob.pk)
    messages.send_now(card, message.pk, by=bob.pk)
    return claim()


def test_a_message_sent_now_overtakes_a_task_that_has_not_left(
    card: Card, doing: Column, bob: User
) -> None:
    found = overtaken(card, doing, bob)
    prompt = begin(found)
    assert prompt.text == "first"
    assert end(found, prompt) is True
    second = turns.begin(found)
    assert second is not None
    assert "a hole" in second.text
    assert end(found, second) is False
    assert Turn.objects.filter(session=session()).count() == 2


def test_a_message_to_be_sent_now_is_held_when_the_agent_cannot_start(
    card: Card, doing: Column, bob: User
) -> None:
    found = overtaken(card, doing, bob)
    error = ("agent_start_failed", "It did not start.")
    assert end(found, None, stop_reason=None, error=error) is False
    KIND.release(found)
    assert (session().state, session().error_code) == (State.FAILED, "agent_start_failed")
    messages.post(card, "second", by=bob.pk)
    found = claim()
    assert begin(found).text == "first"


def test_after_a_crash_the_turn_under_way_comes_before_a_task_that_it_overtook(
    card: Card, doing: Column, bob: User
) -> None:
    found = overtaken(card, doing, bob)
    sent = begin(found)
    found = after_a_death(found)
    assert list(Turn.objects.order_by("pk").values_list("resumes", flat=True)) == [0, 1]
    again = begin(found)
    assert again.turn_id == sent.turn_id
    assert again.note is not None
    end(found, again, stop_reason=None, error=("rate_limited", "Slow."), retry_after=3600)
    assert Turn.objects.get(pk=sent.turn_id).limit_tries == 1


def test_a_conversations_cost_is_counted_once(card: Card, doing: Column) -> None:
    found = start(card, doing)
    begin(found)
    for cost in (1.0, 2.0, 3.0):
        attempts.add_usage(found, input_tokens=1, output_tokens=1, cached_tokens=0, cost_usd=cost)
    assert session().cost_usd == 3.0


def test_only_what_was_stored_is_logged(
    card: Card,
    doing: Column,
    bob: User,
    caplog: pytest.LogCaptureFixture,
    django_capture_on_commit_callbacks: Any,
) -> None:
    cards.move_card(card, to=doing, by=None)
    with caplog.at_level(logging.INFO, "apps.agents.sessions"):
        with contextlib.suppress(OperationalError), transaction.atomic():
            sessions.cancel(card, by=bob.pk)
            raise OperationalError("database or disk is full")
        assert "is cancelled" not in caplog.text
        with django_capture_on_commit_callbacks(execute=True):
            sessions.cancel(card, by=bob.pk)
    assert "is cancelled" in caplog.text


def test_answers_that_cannot_be_stored_are_refused(
    api: Any, card: Card, doing: Column, bob: User
) -> None:
    found = start(card, doing)
    prompt = begin(found)
    field = {"id": "q", "title": "Q", "type": "string", "options": [], "required": False}
    asked = requests.Asked(
        kind="question", title="Why?", fingerprint="f", body={"questions": [field]}
    )
    opened = waiting.ask(found, prompt.turn_id, asked)
    assert opened is not None
    url = (
        f"/api/projects/{card.project_id}/cards/{card.pk}/agent/requests/{opened.request_id}/answer"
    )
    for value in ("a\0", "x" * 20_001, {"a": 1}, None, 1 << 70):
        api(bob).post(url, {"answers": {"q": value}}, 400)
    api(bob).post(url, {"answers": {str(n): "x" for n in range(51)}}, 400)
    assert api(bob).post(url, {"answers": {"q": "because"}}, 200)["state"] == "answered"
