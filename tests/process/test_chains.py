"""Cards that wait for each other, and columns that take one at a time, with a worker that runs them."""

from __future__ import annotations

import pytest

from tests.process.board import Board, Card, Project
from tests.process.server import until

pytestmark = pytest.mark.both_databases


def _done(board: Board, card: Card) -> bool:
    return bool(board.get(card)["completedAt"])


def test_a_chain_of_cards_starts_by_itself_one_after_the_other(
    board: Board, project: Project
) -> None:
    cards: list[Card] = []
    for number in range(3):
        waits = {"blockedBy": [cards[-1].id]} if cards else {}
        prompt = f"task {number} of {project.id} [sleep 0.2] [say done]"
        cards.append(board.card(project, prompt, autoMode=True, **waits))
    # The last first: each but the first of the chain is deferred until its turn.
    for card in reversed(cards):
        board.move(card)
    assert board.get(cards[-1])["deferredReason"]["code"] == "blocked"
    until(lambda: all(_done(board, card) for card in cards), timeout=30, what="the whole chain")
    assert {board.get(card)["columnId"] for card in cards} == {project.columns["Done"]}
    sessions = [board.session(card) for card in cards]
    assert [each["status"] for each in sessions] == ["completed"] * 3
    for before, after in ((sessions[0], sessions[1]), (sessions[1], sessions[2])):
        assert before["endedAt"] <= after["startedAt"]


def test_a_column_that_takes_one_card_runs_two_one_after_the_other(
    board: Board, project: Project
) -> None:
    column = project.columns["In Progress"]
    board.api.patch(f"/projects/{project.id}/columns/{column}", {"wipLimit": 1})
    go = project.path.with_suffix(".go")
    until_told = f"[tool run until test -e {go}; do sleep 0.05; done]"
    first = board.work(project, f"[say one] {until_told}", autoMode=True)
    board.wait_said(first, "one")
    second = board.work(project, "[say two]", autoMode=True)
    assert board.get(second)["columnId"] == column
    until(lambda: board.session(second)["queueReason"] == "wip_limit", what="the reason")
    assert board.session(second)["queuePosition"] == 1
    go.touch()
    until(lambda: _done(board, second), what="the second card")
    assert _done(board, first)
    assert board.texts(second) == ["two"]
    first_end = board.session(first)["endedAt"]
    assert first_end <= board.session(second)["startedAt"]


def test_a_step_that_waits_for_approval_keeps_the_place_of_its_card(
    board: Board, project: Project
) -> None:
    column = project.columns["In Progress"]
    board.api.patch(f"/projects/{project.id}/columns/{column}", {"wipLimit": 1})
    first = board.work(project, "[say one]")
    board.finish(first)
    assert board.get(first)["pendingApproval"] is True
    second = board.work(project, "[say two]")
    until(lambda: board.session(second)["queueReason"] == "wip_limit", what="the reason")
    board.api.post(f"{first.url}/approve-auto")
    board.finish(second)
    assert _done(board, first)


def test_a_card_goes_along_its_own_way_with_its_own_instructions(
    board: Board, project: Project
) -> None:
    board.add_column(project, "Review", "active", "the column's words")
    board.add_column(project, "Polish", "active", "the column's words")
    card = board.card(project, "[say hi]", autoMode=True)
    columns = project.columns
    steps = [
        {"columnId": columns["Polish"], "prompt": "words for polishing"},
        {"columnId": columns["In Progress"]},
    ]
    board.api.put(f"{card.url}/pipeline", {"steps": steps})
    board.api.post(f"{card.url}/activate")
    until(lambda: _done(board, card), what="the way's end")
    sessions = board.api.get(f"{card.url}/agent/sessions")
    assert [each["columnName"] for each in sessions] == ["In Progress", "Polish"]
    prompts = board.prompts(card)
    assert "words for polishing" in prompts[0]
    assert not any("the column's words" in prompt for prompt in prompts)


def test_clean_all_stops_agents_and_keeps_what_they_did_as_patches(
    board: Board, project: Project
) -> None:
    dirty = board.work(project, "[tool write work.txt precious]")
    board.finish(dirty)
    running = board.work(project, "[say here] [ignore-cancel] [sleep 60]")
    board.wait_said(running, "here")
    column = project.columns["In Progress"]
    with board.watch(project) as watch:
        board.api.post(f"/projects/{project.id}/columns/{column}/clean-all")
        told = watch.wait(
            lambda frame: frame["type"] == "card.deleted" and frame["data"]["id"] == dirty.id,
            what="the deletion",
        )
    assert board.api.get(f"/projects/{project.id}/cards") == []
    until(
        lambda: not any(board.worktree(card).exists() for card in (dirty, running)),
        timeout=15,
        what="the worktrees' removal",
    )
    patch = board.data / "patches" / told["data"]["patch"]
    assert "+precious" in patch.read_text()
    assert not [each for each in board.agents() if str(board.worktree(running)) in each.cwd()]
