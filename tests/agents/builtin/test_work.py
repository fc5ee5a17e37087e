"""Prompts that come to an end: what is done in the worktree and what the board is told."""

from __future__ import annotations

import time
from pathlib import Path

import acp
import pytest
from acp import schema

from tests.agents.builtin.conftest import Agent, StartAgent

pytestmark = [pytest.mark.process, pytest.mark.asyncio(loop_scope="module")]


async def test_a_start_is_answered_at_once_with_what_the_agent_can_do(
    start_agent: StartAgent,
) -> None:
    began = time.monotonic()
    agent = await start_agent()
    answer = await agent.initialize()

    # The bound leaves room for a busy machine; half a second is usual.
    assert time.monotonic() - began < 5
    can = answer.agent_capabilities
    assert can is not None
    assert can.load_session
    assert can.session_capabilities is not None
    assert can.session_capabilities.resume is not None
    assert can.session_capabilities.list is not None


async def test_a_file_is_written_while_words_and_thoughts_stream(
    agent: Agent, worktree: Path
) -> None:
    session = await agent.session(worktree)

    answer = await agent.prompt(session, "[write] please")

    assert answer.stop_reason == "end_turn"
    assert (worktree / "hello.txt").read_text() == "hello from the mock\n"
    assert agent.person.said(session) == "I will write the file now.Done: hello.txt is written."
    assert len(agent.person.of(session, schema.AgentThoughtChunk)) > 1
    [call] = agent.person.of(session, schema.ToolCallStart)
    assert (call.title, call.kind, call.status) == ("Write hello.txt", "edit", "in_progress")
    assert call.locations[0].path == str(worktree / "hello.txt")
    assert call.content[0].new_text == "hello from the mock\n"
    [end] = agent.person.of(session, schema.ToolCallProgress)
    assert (end.tool_call_id, end.status) == (call.tool_call_id, "completed")


async def test_usage_counts_all_requests_of_a_prompt(agent: Agent, worktree: Path) -> None:
    session = await agent.session(worktree)

    answer = await agent.prompt(session, "[write] please")

    usage = answer.usage
    assert usage is not None
    assert usage.input_tokens > 1234
    assert usage.total_tokens == usage.input_tokens + usage.output_tokens
    first, last = agent.person.of(session, schema.UsageUpdate)
    assert last.used == 1290
    assert last.size >= 200_000
    assert last.cost.currency == "USD"
    assert last.cost.amount > first.cost.amount > 0


async def test_a_command_runs_in_the_worktree_without_the_key(agent: Agent, worktree: Path) -> None:
    (worktree / "ran.txt").write_text("")
    session = await agent.session(worktree)

    await agent.prompt(session, "[bash] run")

    [end] = agent.person.of(session, schema.ToolCallProgress)
    assert (end.status, end.raw_output) == ("completed", "ran")
    assert (worktree / "ran.txt").read_text() == "ran\n"


async def test_a_file_is_edited_after_it_was_read(agent: Agent, worktree: Path) -> None:
    session = await agent.session(worktree)

    await agent.prompt(session, "[edit] the readme")

    assert (worktree / "README.md").read_text() == "# demo, edited\n"
    read, edit = agent.person.of(session, schema.ToolCallStart)
    assert (read.kind, edit.kind) == ("read", "edit")
    assert (edit.content[0].old_text, edit.content[0].new_text) == ("# demo", "# demo, edited")


async def test_a_todo_list_becomes_a_plan_on_the_board(agent: Agent, worktree: Path) -> None:
    session = await agent.session(worktree)

    await agent.prompt(session, "[todo] keep one")

    [plan] = agent.person.of(session, schema.AgentPlanUpdate)
    assert [(entry.content, entry.status) for entry in plan.entries] == [
        ("first thing", "in_progress"),
        ("second thing", "pending"),
    ]


async def test_a_follow_up_goes_on_in_the_same_conversation(agent: Agent, worktree: Path) -> None:
    session = await agent.session(worktree)
    await agent.prompt(session, "[write] first")

    answer = await agent.prompt(session, "[echo] second")

    assert answer.stop_reason == "end_turn"
    assert agent.person.said(session).endswith("Echo: this is the follow-up answer.")


@pytest.mark.parametrize("model", ["openai:gpt-5", "qwen3:8b"])
async def test_openai_and_servers_like_it_work_too(
    start_agent: StartAgent, provider: str, worktree: Path, model: str
) -> None:
    agent = await start_agent(
        OPENAI_API_KEY="sk-mock", OPENAI_BASE_URL=f"{provider}/v1", BUILTIN_MODEL=model
    )
    await agent.initialize()
    session = await agent.session(worktree)

    answer = await agent.prompt(session, "[write] please")

    assert answer.stop_reason == "end_turn"
    assert (worktree / "hello.txt").exists()


async def test_a_prompt_ends_after_the_most_requests_it_may_take(
    start_agent: StartAgent, provider: str, worktree: Path
) -> None:
    agent = await start_agent(
        OPENAI_API_KEY="k", OPENAI_BASE_URL=f"{provider}/v1", BUILTIN_MAX_REQUESTS="1"
    )
    await agent.initialize()
    session = await agent.session(worktree)

    answer = await agent.prompt(session, "[edit] the readme")

    assert answer.stop_reason == "max_turn_requests"


async def test_a_repository_with_modules_of_known_names_changes_nothing(
    start_agent: StartAgent, worktree: Path
) -> None:
    bomb = "raise SystemExit('the worktree was imported')\n"
    for name in ("json.py", "acp.py", "apps/__init__.py", "apps/agents/__init__.py"):
        (worktree / name).parent.mkdir(parents=True, exist_ok=True)
        (worktree / name).write_text(bomb)
    agent = await start_agent(cwd=worktree)
    await agent.initialize()
    session = await agent.session(worktree)

    await agent.prompt(session, "[write] please")
    answer = await agent.prompt(session, "[bash] please")

    assert answer.stop_reason == "end_turn"
    assert (worktree / "hello.txt").exists()


async def test_without_a_key_the_start_says_what_to_set(
    start_agent: StartAgent, worktree: Path
) -> None:
    agent = await start_agent(LANG="C.UTF-8")
    await agent.initialize()

    with pytest.raises(acp.RequestError) as caught:
        await agent.session(worktree)

    assert caught.value.code == -32000
    assert "ANTHROPIC_API_KEY" in str(caught.value)


async def test_a_worktree_that_is_missing_is_named(agent: Agent, tmp_path: Path) -> None:
    with pytest.raises(acp.RequestError) as caught:
        await agent.session(tmp_path / "nowhere")

    assert caught.value.code == -32602
    assert "nowhere" in str(caught.value)
