"""What moving, completing and deleting a card does to its agent and its worktree."""

from __future__ import annotations

import json
import os
import time

import pytest

from tests.process.board import Board, Card, Project
from tests.process.repository import git
from tests.process.server import until

pytestmark = pytest.mark.both_databases


def test_two_active_columns_in_auto_mode_are_run_one_after_the_other(
    board: Board, project: Project
) -> None:
    board.add_column(project, "Review", "active", "[tool append steps.txt review]")
    order = [project.columns[name] for name in ("In Progress", "Review", "Done")]
    card = board.card(project, "[tool append steps.txt task]")
    board.api.patch(f"{card.url}/auto-mode", {"enabled": True})
    with board.watch(project) as watch:
        board.move(card)
        until(lambda: board.get(card)["columnId"] == project.columns["Done"], what="done")
        watch.wait(
            lambda frame: (
                frame["type"] == "card.moved"
                and frame["data"]["columnId"] == project.columns["Done"]
            ),
            what="the last move",
        )
        moves = [
            frame["data"]["columnId"]
            for frame in watch.frames
            if frame["type"] == "card.moved" and frame["data"]["id"] == card.id
        ]
    assert moves == order
    sessions = board.api.get(f"{card.url}/agent/sessions")
    assert [each["columnName"] for each in sessions] == ["Review", "In Progress"]
    assert {each["status"] for each in sessions} == {"completed"}
    steps = (board.worktree(card) / "steps.txt").read_text().split()
    assert steps == ["task", "task", "review"]
    assert board.get(card)["completedAt"] is not None


def test_without_auto_mode_a_finished_card_waits_for_approval(
    board: Board, project: Project
) -> None:
    card = board.work(project, "[say hi]")
    board.finish(card)
    found = board.get(card)
    assert found["pendingApproval"] is True
    assert found["columnId"] == project.columns["In Progress"]


def test_moving_a_running_card_restarts_it_without_two_agents_in_one_worktree(
    board: Board, project: Project
) -> None:
    board.add_column(project, "Review", "active")
    card = board.work(project, "[ignore-cancel] [grandchild ticks] [say here] [sleep 60]")
    board.wait_said(card, "here")
    for number in range(8):
        board.move(card, ("Review", "In Progress")[number % 2])
        time.sleep(0.1)
    until(
        lambda: board.session(card)["status"] == "running" and "here" in board.texts(card),
        timeout=20,
        what="the last session",
    )
    place = str(board.worktree(card))
    starts = [note for note in board.notes("starts") if note["cwd"] == place]
    assert not [note for note in board.notes("overlaps") if note["cwd"] == place]
    running = [each for each in board.agents() if each.cwd() == place]
    assert len(running) == 2  # the agent and its grandchild
    assert 2 <= len(starts) <= 9
    board.api.post(f"{card.url}/agent/cancel")
    board.wait_status(card, "cancelled")
    statuses = [each["status"] for each in board.api.get(f"{card.url}/agent/sessions")]
    assert set(statuses) == {"cancelled"}


def test_moving_a_running_card_out_of_the_active_columns_cancels(
    board: Board, project: Project
) -> None:
    card = board.work(project, "[say here] [sleep 60]")
    board.wait_said(card, "here")
    board.move(card, "Backlog")
    board.wait_status(card, "cancelled", timeout=3)


def test_a_move_within_the_column_leaves_the_agent_alone(board: Board, project: Project) -> None:
    card = board.work(project, "[say here] [sleep 1] [say end]")
    board.wait_said(card, "here")
    board.move(card, position=0)
    board.finish(card)
    assert "".join(board.texts(card)) == "hereend"
    assert len(board.prompts(card)) == 1


def gone(board: Board, card: Card) -> bool:
    return not board.worktree(card).exists() and board.worktree(card).name not in git(
        card.project.path, "worktree", "list"
    )


def test_deleting_a_running_card_needs_force_and_then_stops_agent_and_removes_worktree(
    board: Board, project: Project
) -> None:
    card = board.work(project, "[say here] [ignore-cancel] [sleep 60]")
    board.wait_said(card, "here")
    assert board.worktree(card).is_dir()
    refused = board.api.refusal("DELETE", card.url)
    assert (refused.status, refused.code) == (409, "agent_running")
    board.api.delete(f"{card.url}?force=true")
    assert board.api.refusal("GET", card.url).status == 404
    until(lambda: gone(board, card), timeout=10, what="the worktree's removal")
    assert not [each for each in board.agents() if str(board.worktree(card)) in each.cwd()]
    assert f"card/{card.id}" in git(project.path, "branch", "--list", "card/*")


def test_where_a_deleted_cards_agent_still_ends_in_the_projects_own_directory_none_is_started(
    board: Board,
) -> None:
    project = board.make_project(worktree=False)
    first = board.work(project, "[ignore-cancel] [say here] [sleep 60]")
    board.wait_said(first, "here")
    second = board.work(project, "[say there]")
    until(
        lambda: board.session(second)["queueReason"] == "path_in_use", what="the second's waiting"
    )
    board.api.delete(f"{first.url}?force=true")
    board.finish(second, timeout=30)
    place = str(project.path)
    assert len([note for note in board.notes("starts") if note["cwd"] == place]) == 2
    assert not [note for note in board.notes("overlaps") if note["cwd"] == place]


def test_a_dirty_worktree_is_deleted_only_by_force_and_a_patch_is_kept(
    board: Board, project: Project
) -> None:
    card = board.work(project, "[tool write work.txt precious] [tool append README.md more]")
    board.finish(card)
    refused = board.api.refusal("DELETE", card.url)
    assert (refused.status, refused.code) == (409, "worktree_dirty")
    assert (board.worktree(card) / "work.txt").exists()
    board.api.delete(f"{card.url}?force=true")
    until(lambda: gone(board, card), timeout=10, what="the worktree's removal")
    [patch] = (board.data / "patches").glob(f"{card.id}-*.patch")
    assert "+precious" in patch.read_text()
    assert "+more" in patch.read_text()


def test_a_clean_worktree_goes_with_its_card(board: Board, project: Project) -> None:
    card = board.work(project, "[say nothing]")
    board.finish(card)
    board.api.delete(card.url)
    until(lambda: gone(board, card), timeout=10, what="the worktree's removal")


def test_the_main_checkout_is_never_touched(board: Board, project: Project) -> None:
    (project.path / "draft.txt").write_text("mine\n")
    git(project.path, "add", "draft.txt")
    before = git(project.path, "status", "--porcelain"), git(project.path, "rev-parse", "HEAD")
    card = board.work(project, "[tool write a.txt x] [tool run git add -A && git commit -qm agent]")
    board.finish(card)
    diff = board.api.get(f"{card.url}/diff")
    assert "+x" in diff["diff"]
    assert "draft" not in diff["diff"]
    after = git(project.path, "status", "--porcelain"), git(project.path, "rev-parse", "HEAD")
    assert after == before


def test_an_agent_gets_its_own_home_and_none_of_the_servers_secrets(
    board: Board, project: Project
) -> None:
    card = board.work(project, "[environment environment.json]")
    board.finish(card)
    given = json.loads((board.worktree(card) / "environment.json").read_text())
    assert given["HOME"].startswith(str(board.data / "homes"))
    assert given["BOARD_RUN"].endswith(f":{board.session(card)['sessionId']}.1")
    assert given["GIT_AUTHOR_EMAIL"] == "alice@example.com"
    assert not [name for name in given if name.startswith(("KANBAN_", "DJANGO_", "PYTHON"))]


def test_agents_and_git_write_with_the_umask_that_the_server_was_started_with(
    board: Board, project: Project
) -> None:
    card = board.work(project, "[tool append done.txt once]")
    board.finish(card)
    os.umask(umask := os.umask(0))
    for name in ("done.txt", "README.md"):
        assert (board.worktree(card) / name).stat().st_mode & 0o777 == 0o666 & ~umask
    assert (board.data / "host_id").stat().st_mode & 0o077 == 0
