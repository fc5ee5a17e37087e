"""Modes in which a person has a say, and questions to that person."""

from __future__ import annotations

from pathlib import Path

import acp
import pytest
from acp import schema

from tests.agents.builtin.conftest import Agent

pytestmark = [pytest.mark.process, pytest.mark.asyncio(loop_scope="module")]


async def test_an_approved_plan_is_carried_out_without_further_questions(
    agent: Agent, worktree: Path
) -> None:
    agent.person.choose = lambda options: "exit-plan-unattended"
    session = await agent.session(worktree, "plan")

    answer = await agent.prompt(session, "[plan] something")

    assert answer.stop_reason == "end_turn"
    [(_, call, options)] = agent.person.asked
    assert call.kind == "switch_mode"
    assert call.raw_input["plan"].startswith("# Plan")
    assert call.content[0].content.text == call.raw_input["plan"]
    assert [option.kind for option in options] == ["allow_once", "allow_once", "reject_once"]
    assert (worktree / "planned.txt").read_text() == "as planned\n"
    [mode] = agent.person.of(session, schema.CurrentModeUpdate)
    assert mode.current_mode_id == "unattended"


async def test_a_plan_may_be_approved_with_every_change_to_be_confirmed(
    agent: Agent, worktree: Path
) -> None:
    chosen = iter(["exit-plan-ask", "allow"])
    agent.person.choose = lambda options: next(chosen)
    session = await agent.session(worktree, "plan")

    await agent.prompt(session, "[plan] something")

    assert [call.title for _, call, _ in agent.person.asked] == [
        "Approve the plan",
        "Write planned.txt",
    ]
    assert (worktree / "planned.txt").exists()


async def test_a_rejected_plan_ends_the_turn_and_changes_nothing(
    agent: Agent, worktree: Path
) -> None:
    agent.person.choose = lambda options: "reject"
    session = await agent.session(worktree, "plan")

    answer = await agent.prompt(session, "[plan] something")

    assert answer.stop_reason == "end_turn"
    assert agent.person.of(session, schema.ToolCallProgress)[-1].status == "failed"
    assert [path.name for path in worktree.iterdir()] == ["README.md"]

    agent.person.choose = lambda options: "exit-plan-unattended"
    await agent.prompt(session, "[plan] with the remarks heeded")
    assert (worktree / "planned.txt").exists()


async def test_nothing_is_changed_in_plan_mode_whatever_the_model_tries(
    agent: Agent, worktree: Path
) -> None:
    session = await agent.session(worktree, "plan")

    await agent.prompt(session, "[write] anyway")

    assert [path.name for path in worktree.iterdir()] == ["README.md"]
    assert agent.person.of(session, schema.ToolCallProgress)[-1].status == "failed"
    assert agent.person.asked == []


async def test_asking_mode_waits_for_permission_and_runs_after_it(
    agent: Agent, worktree: Path
) -> None:
    agent.person.choose = lambda options: "allow"
    session = await agent.session(worktree, "ask")

    await agent.prompt(session, "[bash] run")

    [(_, call, options)] = agent.person.asked
    assert call.raw_input == {"command": "echo ran > ran.txt && cat ran.txt"}
    assert [option.kind for option in options] == ["allow_once", "allow_always", "reject_once"]
    states = [update.status for update in agent.person.of(session, schema.ToolCallProgress)]
    assert states == ["in_progress", "completed"]
    assert (worktree / "ran.txt").exists()


async def test_asking_mode_does_not_ask_for_reading(agent: Agent, worktree: Path) -> None:
    agent.person.choose = lambda options: "reject"
    session = await agent.session(worktree, "ask")

    await agent.prompt(session, "[edit] the readme")

    assert [call.title for _, call, _ in agent.person.asked] == ["Edit README.md"]
    assert (worktree / "README.md").read_text() == "# demo\n"
    assert agent.person.of(session, schema.ToolCallProgress)[-1].status == "failed"


async def test_a_permission_for_the_session_is_asked_for_once(agent: Agent, worktree: Path) -> None:
    agent.person.choose = lambda options: "allow-always"
    session = await agent.session(worktree, "ask")

    await agent.prompt(session, "[bash] run")
    await agent.prompt(session, "[bash] again")

    assert len(agent.person.asked) == 1


async def test_a_dismissed_permission_request_cancels_the_turn(
    agent: Agent, worktree: Path
) -> None:
    agent.person.choose = lambda options: None
    session = await agent.session(worktree, "ask")

    answer = await agent.prompt(session, "[bash] run")

    assert answer.stop_reason == "cancelled"
    assert not (worktree / "ran.txt").exists()


async def test_a_question_reaches_the_person_as_a_form(agent: Agent, worktree: Path) -> None:
    agent.person.answers = {"question_0": "blue", "question_0_custom": "a dark one"}
    session = await agent.session(worktree)

    await agent.prompt(session, "[ask] me")

    [(message, mode)] = agent.person.questions
    assert message == "Which colour?"
    field = mode.requested_schema.properties["question_0"]
    assert [option.const for option in field.one_of] == ["red", "blue"]
    end = agent.person.of(session, schema.ToolCallProgress)[-1]
    assert end.raw_output == "Which colour?\n> blue. a dark one"


async def test_a_question_that_nobody_answers_does_not_stop_the_work(
    agent: Agent, worktree: Path
) -> None:
    session = await agent.session(worktree)

    answer = await agent.prompt(session, "[ask] me")

    assert answer.stop_reason == "end_turn"
    assert agent.person.of(session, schema.ToolCallProgress)[-1].status == "failed"
    assert agent.person.said(session) == "Thanks for the answer."


async def test_an_unknown_mode_is_refused(agent: Agent, worktree: Path) -> None:
    with pytest.raises(acp.RequestError) as caught:
        await agent.session(worktree, "yolo")

    assert "unattended, ask, plan" in str(caught.value)
