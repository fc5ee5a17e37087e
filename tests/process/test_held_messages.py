"""What becomes of messages that were accepted and not sent yet, when people change their minds."""

from __future__ import annotations

import signal
from typing import Any

from tests.process.board import Board, Card, Project
from tests.process.test_requests import open_request


def held(board: Board, project: Project) -> tuple[Card, Any]:
    """A card whose agent failed with a message still in its queue."""
    card = board.work(project, "[sleep 0.5] [stop max_tokens]")
    message = board.api.post(f"{card.url}/agent/message", {"content": "[say held]"})
    board.wait_status(card, "failed")
    return card, message


def shown(board: Board, card: Card, message: Any) -> Any:
    messages = board.api.get(f"{card.url}/agent/messages?limit=500")["messages"]
    return next(each for each in messages if each["id"] == message["id"])


def test_a_held_message_goes_with_the_card_to_its_next_step(board: Board, project: Project) -> None:
    board.add_column(project, "Review", "active")
    card, message = held(board, project)
    board.api.patch(card.url, {"prompt": "[say better]"})
    board.move(card, "Review")
    board.finish(card)
    assert shown(board, card, message)["sessionId"] == board.session(card)["sessionId"]
    assert board.prompts(card)[-1] == "[say held]"
    assert board.prompts(card).count("[say held]") == 1


def test_complete_cancel_and_leaving_drop_a_held_message(board: Board, project: Project) -> None:
    for stop in ("complete", "agent/cancel", "move"):
        card, message = held(board, project)
        if stop == "move":
            board.move(card, "Backlog")
        else:
            board.api.post(f"{card.url}/{stop}")
        found = shown(board, card, message)
        assert (found["dropped"], found["queued"]) == (True, False), stop
        url = f"{card.url}/agent/messages/{message['id']}/send-now"
        assert board.api.refusal("POST", url).code == "message_dropped"


def test_complete_stops_an_agent_wherever_its_card_stands(board: Board, project: Project) -> None:
    for column in ("Backlog", "Done"):
        card = board.work(project, "[say hi]")
        board.finish(card)
        board.move(card, column)
        board.api.post(f"{card.url}/agent/message", {"content": "[sleep 30]"})
        board.wait_status(card, "running")
        board.api.post(f"{card.url}/complete")
        board.wait_status(card, "cancelled", timeout=10)


def test_a_message_for_which_a_turn_is_being_ended_cannot_be_dropped(board: Board) -> None:
    """What the turn asked was closed for its sake; without it the agent would wait for nobody's answer."""
    card = board.work(board.make_project(permissionMode="ask"), "[ask-permission Deploy] [say yes]")
    open_request(board, card)
    message = board.api.post(f"{card.url}/agent/message", {"content": "[say instead]"})
    url = f"{card.url}/agent/messages/{message['id']}"
    board.kill("worker", signal.SIGSTOP)
    try:
        board.api.post(f"{url}/send-now")
        assert board.api.refusal("DELETE", url).code == "message_sending"
    finally:
        board.kill("worker", signal.SIGCONT)
    board.finish(card)
    assert board.prompts(card)[-1] == "[say instead]"


def test_a_message_to_be_sent_now_by_an_agent_that_cannot_start_is_held_and_the_card_says_why(
    board: Board, project: Project
) -> None:
    board.api.patch(f"/projects/{project.id}", {"maxParallelAgents": 1, "agent": "dies"})
    card = board.work(project, "[say task]")
    board.wait_status(card, "failed")
    board.api.patch(f"/projects/{project.id}", {"agent": "fake"})
    other = board.work(project, "[sleep 30]")
    board.wait_status(other, "running")
    message = board.api.post(f"{card.url}/agent/message", {"content": "[say now]"})
    board.api.post(f"{card.url}/agent/messages/{message['id']}/send-now")
    board.api.patch(f"/projects/{project.id}", {"agent": "dies"})
    board.api.post(f"{other.url}/agent/cancel")
    failed = board.wait_status(card, "failed")
    assert failed["error"]["code"] == "agent_start_failed"
    assert shown(board, card, message)["queued"] is True
    board.api.patch(f"/projects/{project.id}", {"agent": "fake"})
    board.api.post(f"{card.url}/agent/message", {"content": "[say later]"})
    board.finish(card)
    assert board.texts(card) == ["now", "task", "later"]


def test_a_card_steps_on_for_no_message_that_was_dropped(board: Board, project: Project) -> None:
    board.api.patch(f"/projects/{project.id}", {"maxParallelAgents": 1})
    card = board.work(project, "[stop max_tokens]", autoMode=True)
    board.wait_status(card, "failed")
    other = board.work(project, "[sleep 30]")
    board.wait_status(other, "running")
    message = board.api.post(f"{card.url}/agent/message", {"content": "[say dropped]"})
    board.api.delete(f"{card.url}/agent/messages/{message['id']}")
    board.api.post(f"{other.url}/agent/cancel")
    board.wait_status(card, "cancelled")
    assert board.get(card)["columnId"] == project.columns["In Progress"]
    assert len(board.prompts(card)) == 1
