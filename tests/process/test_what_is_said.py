"""Whoever reads a card or its transcript is told what happened to the work and what comes next."""

from __future__ import annotations

import pytest

from tests.process.board import Board, Card, Project
from tests.process.test_requests import open_request

pytestmark = pytest.mark.both_databases


def said_by_the_server(board: Board, card: Card) -> list[str]:
    return [m["content"] for m in board.assert_gapless(card) if m["type"] == "status"]


def test_a_transcript_says_who_stopped_the_agent_and_what_was_left_unanswered(board: Board) -> None:
    card = board.work(board.make_project(permissionMode="ask"), "[ask-permission Deploy]")
    open_request(board, card)
    for _ in range(2):
        board.api.post(f"{card.url}/agent/cancel")
    board.wait_status(card, "cancelled")
    assert said_by_the_server(board, card) == [
        "Alice stopped the agent.",
        "“Deploy” was not answered: the work that asked it was ended.",
    ]


def test_a_transcript_says_who_moved_the_card_away_from_its_agent(
    board: Board, project: Project
) -> None:
    card = board.work(project, "[say one] [sleep 60]")
    board.wait_said(card, "one")
    board.move(card, "Done")
    board.wait_status(card, "cancelled")
    [said] = said_by_the_server(board, card)
    assert said == "Alice moved the card to “Done”, which ends this work."


def test_a_transcript_says_whose_message_ended_a_turn(board: Board, project: Project) -> None:
    card = board.work(project, "[say one] [sleep 60]")
    board.wait_said(card, "one")
    urgent = board.api.post(f"{card.url}/agent/message", {"content": "[say two]"})
    for _ in range(2):
        board.api.post(f"{card.url}/agent/messages/{urgent['id']}/send-now")
    board.finish(card)
    [said] = said_by_the_server(board, card)
    assert said == "Alice had a message sent at once, which ends the turn under way."
