"""The built-in agent before people: permissions, plans and questions, over kills and restarts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.process.board import Board, Card, Project, board_in
from tests.process.provider import Provider, store_key
from tests.process.server import until
from tests.process.test_requests import answer, open_request, worker_down

pytestmark = pytest.mark.both_databases

SCRIPTS = [
    {
        "prompt": "\\[run\\]",
        "steps": [
            {"say": [{"do": "bash", "command": "echo ran >> ran.txt"}]},
            {"say": [{"text": "It ran."}]},
        ],
    },
    {
        "prompt": "\\[better\\]",
        "steps": [
            {"say": [{"do": "exit_plan", "plan": "# A better plan"}]},
            {"say": [{"do": "write_file", "path": "planned.txt", "content": "as planned\n"}]},
            {"say": [{"text": "Carried out."}]},
        ],
    },
    {
        "prompt": "\\[plan\\]",
        "steps": [
            {"say": [{"do": "exit_plan", "plan": "# A plan"}]},
            {"say": [{"do": "write_file", "path": "planned.txt", "content": "as planned\n"}]},
            {"say": [{"text": "Carried out."}]},
        ],
    },
    {
        "prompt": "\\[ask\\]",
        "steps": [
            {"say": [{"do": "ask", "question": "Which colour?", "options": ["red", "blue"]}]},
            {"say": [{"text": "Thanks."}]},
        ],
    },
]


@pytest.fixture(scope="module")
def provider(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Provider]:
    with Provider(SCRIPTS, tmp_path_factory.mktemp("provider")) as running:
        yield running


@pytest.fixture(scope="module")
def key(board: Board, provider: Provider) -> str:
    return store_key(board, provider)


def calls(board: Board, card: Card) -> list[Any]:
    return [m["toolCall"] for m in board.assert_gapless(card) if m["type"] == "tool_call"]


def make_project(board: Board, key: str, mode: str) -> Project:
    project = board.make_project(agent="builtin", permissionMode=mode)
    board.api.put(f"/projects/{project.id}/credential", {"credentialId": key})
    return project


def test_a_command_runs_once_it_was_allowed(board: Board, key: str) -> None:
    card = board.work(make_project(board, key, "ask"), "[run]")
    request = open_request(board, card)
    assert request["toolCall"]["input"] == {"command": "echo ran >> ran.txt"}
    assert not (board.worktree(card) / "ran.txt").exists()
    answer(board, card, request, optionId="allow")
    board.finish(card)
    assert (board.worktree(card) / "ran.txt").read_text() == "ran\n"


def test_a_command_that_was_allowed_while_no_worker_lived_runs_exactly_once(
    board: Board, key: str
) -> None:
    card = board.work(make_project(board, key, "ask"), "[run]")
    request = open_request(board, card)
    with worker_down(board):
        answer(board, card, request, optionId="allow")
    board.finish(card, timeout=40)
    assert (board.worktree(card) / "ran.txt").read_text() == "ran\n"
    assert len(board.api.get(f"{card.url}/agent/requests")) == 1
    assert [call["status"] for call in calls(board, card)] == ["cancelled", "completed"]


def test_a_call_of_a_parked_agent_waits_for_its_answer_and_is_made_anew_with_it(
    tmp_path: Path, provider: Provider
) -> None:
    with board_in(tmp_path, KANBAN_PARK_AFTER="1") as board:
        project = make_project(board, store_key(board, provider), "ask")
        cards = [board.work(project, "[run]") for _ in range(2)]
        asked = [open_request(board, card) for card in cards]
        assert "status" not in asked[0]["toolCall"]
        until(lambda: not board.agents(), timeout=15, what="the agents' end")
        for card in cards:
            assert [call["status"] for call in calls(board, card)] == ["pending"]
        answer(board, cards[0], asked[0], optionId="allow")
        board.finish(cards[0], timeout=40)
        waited, made = calls(board, cards[0])
        assert (waited["status"], made["status"]) == ("cancelled", "completed")
        assert "started again" in waited["output"]
        assert (board.worktree(cards[0]) / "ran.txt").read_text() == "ran\n"
        board.api.post(f"{cards[1].url}/agent/cancel")
        [dropped] = calls(board, cards[1])
        assert (dropped["status"], dropped["output"]) == (
            "cancelled",
            "Not done: its turn was ended.",
        )


def test_a_plan_is_revised_then_approved_and_carried_out(board: Board, key: str) -> None:
    card = board.work(make_project(board, key, "plan"), "[plan]")
    first = open_request(board, card)
    assert (first["kind"], first["plan"]) == ("plan", "# A plan")
    answer(board, card, first, text="[better]")
    second = open_request(board, card)
    assert second["plan"] == "# A better plan"
    assert not (board.worktree(card) / "planned.txt").exists()
    answer(board, card, second, optionId="exit-plan-unattended")
    board.finish(card)
    assert (board.worktree(card) / "planned.txt").read_text() == "as planned\n"


def test_a_plan_may_be_approved_with_every_change_to_be_asked_for(board: Board, key: str) -> None:
    card = board.work(make_project(board, key, "plan"), "[plan]")
    answer(board, card, open_request(board, card), optionId="exit-plan-ask")
    change = open_request(board, card)
    assert (change["kind"], change["title"]) == ("permission", "Write planned.txt")
    answer(board, card, change, optionId="reject")
    board.finish(card)
    assert not (board.worktree(card) / "planned.txt").exists()


def test_a_plan_that_was_approved_while_no_worker_lived_ends_plan_mode(
    board: Board, key: str
) -> None:
    card = board.work(make_project(board, key, "plan"), "[plan]")
    request = open_request(board, card)
    with worker_down(board):
        answer(board, card, request, optionId="exit-plan-unattended")
    board.finish(card, timeout=40)
    # The script wants to hand over its plan once more, for which there is no tool outside of plan mode.
    assert "no tool for action exit_plan" in board.texts(card)[-1]


def test_a_question_survives_its_worker(board: Board, key: str) -> None:
    card = board.work(make_project(board, key, "unattended"), "[ask]")
    request = open_request(board, card)
    assert request["title"] == "Which colour?"
    first = request["questions"][0]
    assert [each["value"] for each in first["options"]] == ["red", "blue"]
    with worker_down(board):
        answer(board, card, request, answers={first["id"]: "blue"})
    # The agent that was started anew is told the answer; the script has it ask once more all the same.
    again = open_request(board, card)
    answer(board, card, again, answers={first["id"]: "blue"})
    board.finish(card)
    assert board.texts(card)[-1] == "Thanks."
