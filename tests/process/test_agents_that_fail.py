"""Programs that die, babble, hang or are not there; errors that a person can act on."""

from __future__ import annotations

from typing import Any

import pytest

from tests.process.board import Board, Project
from tests.process.server import until


def failed(board: Board, project: Project, prompt: str, *, timeout: float = 15.0) -> Any:
    card = board.work(project, prompt)
    session = board.wait_status(card, "failed", timeout=timeout)
    assert session["endedAt"] is not None
    error = session["error"]
    assert len(error["message"]) > 20
    assert board.get(card)["agentStatus"] == "failed"
    board.assert_gapless(card)
    return error


@pytest.mark.parametrize(
    ("agent", "code", "said"),
    [
        ("dies", "agent_start_failed", "cannot find the configuration"),
        ("hangs", "agent_start_failed", "did not answer"),
        ("garbage", "agent_start_failed", "Welcome to the agent"),
        ("no-key", "auth_failed", "API key"),
    ],
)
def test_an_agent_that_does_not_start_fails_the_session_and_says_why(
    board: Board, agent: str, code: str, said: str
) -> None:
    error = failed(board, board.make_project(agent), "[say hi]")
    assert error["code"] == code
    assert said in error["message"]


@pytest.mark.parametrize(
    ("prompt", "code"),
    [
        ("[say working] [die 3]", "agent_died"),
        ("[sleep 0.1] [stderr out of memory] [die-after 0.2] [sleep 5]", "agent_died"),
        ("[error -32603 server_error]", "provider_error"),
        ("[error -32603 Something broke]", "agent_error"),
        ("[garbage 1500] [sleep 20]", "agent_protocol"),
    ],
)
def test_a_turn_that_goes_wrong_fails_the_session_with_a_code(
    board: Board, project: Project, prompt: str, code: str
) -> None:
    assert failed(board, project, prompt)["code"] == code


def test_end_turn_after_an_error_of_the_provider_is_a_failure(
    board: Board, project: Project
) -> None:
    failed(board, project, "[end-turn-after-error]")


@pytest.mark.parametrize("reason", ["refusal", "max_tokens", "max_turn_requests"])
def test_a_stop_reason_other_than_end_turn_is_a_failure(
    board: Board, project: Project, reason: str
) -> None:
    failed(board, project, f"[say half] [stop {reason}]")


def test_an_agent_that_never_answers_is_stopped_after_its_silence(board: Board) -> None:
    error = failed(board, board.make_project("silent"), "[never-answer]")
    assert error["code"] == "agent_silent"


def test_a_missing_program_defers_the_card_with_what_to_do(board: Board) -> None:
    card = board.work(board.make_project("absent"), "[say hi]")
    until(lambda: board.get(card)["deferred"], what="deferred")
    reason = board.get(card)["deferredReason"]
    assert reason["code"] == "program_missing"
    assert "no-such-agent-program" in reason["message"]
    assert board.session(card)["statusText"] == reason["message"]
    assert board.api.get(f"/cards/{card.id}/status")["statusText"] == reason["message"]


def test_a_failed_card_stays_in_its_column_and_a_message_goes_on(
    board: Board, project: Project
) -> None:
    card = board.card(project, "[say one] [die]")
    board.api.patch(f"{card.url}/auto-mode", {"enabled": True})
    board.move(card)
    board.wait_status(card, "failed")
    assert board.get(card)["columnId"] == project.columns["In Progress"]
    board.api.post(f"{card.url}/agent/message", {"content": "[say two]"})
    board.finish(card)
    assert board.texts(card)[-1] == "two"


def test_another_key_leads_to_a_new_conversation_that_is_told_the_task(
    board: Board, project: Project
) -> None:
    card = board.work(project, "[error -32000 Authentication required]")
    board.wait_status(card, "failed")
    key = board.api.post(
        "/credentials", {"name": "Other", "provider": "anthropic", "apiKey": "sk-ant-another"}
    )
    board.api.put(f"{card.url}/credential", {"credentialId": key["id"]})
    board.api.post(f"{card.url}/agent/message", {"content": "go on"})
    until(lambda: len(board.prompts(card)) == 2, timeout=20, what="the second prompt")
    task, second = board.prompts(card)
    assert second == f"{task}\n\n---\n\ngo on"
    assert len(board.conversations(card)) == 2
    assert any("could not open its earlier" in each["content"] for each in board.messages(card))


def test_another_agent_is_not_asked_for_the_conversation_of_the_earlier_one(
    board: Board, project: Project
) -> None:
    card = board.work(project, "[crash-on-load] [say one]")
    board.finish(card)
    board.api.patch(f"/projects/{project.id}", {"agent": "fake-resume"})
    board.api.post(f"{card.url}/agent/message", {"content": "go on"})
    until(lambda: len(board.prompts(card)) == 2, timeout=20, what="the second prompt")
    task, second = board.prompts(card)
    assert "Its last words were:\n\none" in second
    assert second.endswith(f"{task}\n\n---\n\ngo on")
    assert len(board.conversations(card)) == 2
    assert any("could not open its earlier" in each["content"] for each in board.messages(card))


def test_bad_data_from_an_agent_is_stored_readably(board: Board, project: Project) -> None:
    card = board.work(
        project,
        "[nul] [thought x] [surrogate] [thought x] [bad-utf8] [garbage 3] [bigline 200kB]"
        " [update-without-start Unseen] [duplicate-titles]",
    )
    board.finish(card)
    messages = board.assert_gapless(card)
    text = "\n".join(board.texts(card))
    assert "a�b" in text
    assert "bad ��" in text
    assert "\0" not in str(messages)
    assert "b" * 200_000 in text
    calls = [each["toolCall"] for each in messages if each["type"] == "tool_call"]
    assert [call["title"] for call in calls] == ["Unseen", "Same title", "Same title"]
    assert {call["status"] for call in calls} == {"completed"}


def test_a_flood_of_fifty_megabytes_is_stored_whole(board: Board, project: Project) -> None:
    card = board.work(project, "[flood 50MB] [say done]")
    board.finish(card, timeout=60)
    messages = board.assert_gapless(card)
    calls = [each["toolCall"] for each in messages if each["type"] == "tool_call"]
    assert [call["title"] for call in calls] == [f"flood {number}" for number in range(5_000)]
    assert board.texts(card)[-1] == "done"
    # The worker lives on, and serves the next card at once.
    board.finish(board.work(project, "[say next]"), timeout=5)
