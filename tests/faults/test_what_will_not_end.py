"""Processes that no signal ends, and git at work for minutes, when somebody wants to stop or go on."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.faults.conftest import Ground
from tests.faults.tracing import unkillable
from tests.process.board import Board
from tests.process.repository import git
from tests.process.server import until


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """Comes first on the server's PATH."""
    folder = tmp_path / "bin"
    folder.mkdir()
    return folder


@pytest.fixture
def board(ground: Ground, programs: Path) -> Iterator[Board]:
    path = f"{programs}:{os.environ['PATH']}"
    with ground.board(KANBAN_MAX_AGENTS="10", PATH=path) as running:
        yield running


def slow_git(programs: Path) -> Path:
    """`git worktree add` takes a minute as long as the file that is returned exists."""
    slow, real = programs / "slow", shutil.which("git")
    slow.touch()
    script = programs / "git"
    script.write_text(
        f'#!/bin/sh\ncase "$*" in *"worktree add"*)'
        f' [ -e {slow} ] && echo x >> {programs}/begun && sleep 60;; esac\nexec {real} "$@"\n'
    )
    script.chmod(0o755)
    return slow


def wait_begun(programs: Path, times: int = 1) -> None:
    begun = programs / "begun"
    until(
        lambda: begun.exists() and len(begun.read_text().split()) >= times,
        timeout=30,
        what="git worktree add",
    )


def sleeping_gits(board: Board) -> list[psutil.Process]:
    return [each for each in board.agents() if "sleep" in each.name() or "git" in each.name()]


@pytest.mark.long
def test_beside_a_process_that_cannot_be_ended_nothing_is_started_and_a_sentence_says_why(
    board: Board,
) -> None:
    project = board.make_project()
    card = board.work(project, "[grandchild ticks] [say one] [sleep 60]")
    board.wait_said(card, "one")
    grandchild = next(each for each in board.agents() if each.ppid() == 1)
    with unkillable(grandchild.pid):
        board.kill("worker")
        board.wait_said(card, f"Process {grandchild.pid} of an earlier attempt", timeout=60)
        starts = len(board.notes("starts"))
        assert board.session(card)["status"] == "interrupted"
        # It holds up nobody else, however long it lasts.
        others = [board.work(project, "[say hi]") for _ in range(5)]
        for other in others:
            board.finish(other, timeout=30)
        assert len(board.notes("starts")) == starts + len(others)
        assert len(board.prompts(card)) == 1
        said = [m for m in board.messages(card) if "can't be ended" in m["content"]]
        assert len(said) == 1
    until(lambda: len(board.prompts(card)) == 2, timeout=30, what="the session's going on")
    board.api.post(f"{card.url}/agent/cancel")
    board.wait_status(card, "cancelled")


@pytest.mark.long
def test_an_agent_that_cannot_be_ended_is_said_to_be_there_and_goes_on_once_it_is_gone(
    board: Board,
) -> None:
    card = board.work(board.make_project(), "[say one] [sleep 60]")
    board.wait_said(card, "one")
    agent = next(each for each in board.agents() if "fake_agent" in " ".join(each.cmdline()))
    with unkillable(agent.pid):
        board.api.post(f"{card.url}/agent/cancel")
        until(
            lambda: any("can't be ended" in each["content"] for each in board.messages(card)),
            timeout=60,
            what="the sentence",
        )
        assert board.session(card)["status"] == "cancelled"
        board.api.post(f"{card.url}/agent/message", {"content": "[say two]"})
        time.sleep(3)
        assert len(board.prompts(card)) == 1
    board.finish(card, timeout=30)
    assert board.texts(card)[-1] == "two"


@pytest.mark.long
@pytest.mark.parametrize("worker", ["lives", "dies"])
def test_where_a_deleted_cards_agent_cannot_be_ended_in_the_projects_own_directory_none_is_started(
    board: Board, worker: str
) -> None:
    project = board.make_project(worktree=False)
    first = board.work(project, "[say one] [sleep 60]")
    board.wait_said(first, "one")
    agent = next(each for each in board.agents() if "fake_agent" in " ".join(each.cmdline()))
    second = board.work(project, "[say two]")
    with unkillable(agent.pid):
        board.api.delete(f"{first.url}?force=true")
        if worker == "dies":
            board.kill("worker")
        # Longer than its end is waited for twice.
        time.sleep(27)
        assert not board.prompts(second)
        until(
            lambda: board.session(second)["queueReason"] == "path_in_use",
            timeout=20,
            what="why it waits",
        )
        # It holds up nobody else.
        board.finish(board.work(board.make_project(worktree=False), "[say hi]"), timeout=30)
    board.finish(second, timeout=40)
    assert board.texts(second) == ["two"]


@pytest.mark.long
def test_what_a_dead_worker_has_left_elsewhere_keeps_nobody_out_of_a_projects_own_directory(
    board: Board,
) -> None:
    # With a full stop, which no secret begins with: nothing of it is held back.
    elsewhere = board.work(board.make_project(worktree=False), "[say one.] [sleep 60]")
    board.wait_said(elsewhere, "one")
    hangs = next(each for each in board.agents() if "fake_agent" in " ".join(each.cmdline()))
    card = board.work(board.make_project(worktree=False), "[say two.] [sleep 60]")
    board.wait_said(card, "two")
    with unkillable(hangs.pid):
        board.kill("worker")
        until(lambda: len(board.prompts(card)) == 2, timeout=40, what="the session's going on")
        assert len(board.prompts(elsewhere)) == 1
    board.api.post(f"{card.url}/agent/cancel")
    board.wait_status(card, "cancelled")


def test_a_cancel_does_not_wait_for_a_long_checkout(board: Board, programs: Path) -> None:
    slow = slow_git(programs)
    card = board.work(board.make_project(), "[say hi]")
    wait_begun(programs)
    began = time.monotonic()
    board.api.post(f"{card.url}/agent/cancel")
    board.wait_status(card, "cancelled", timeout=10)
    assert time.monotonic() - began < 4
    assert not sleeping_gits(board)
    assert not board.worktree(card).exists()
    slow.unlink()
    # The row, left as `creating`, is made again by the next run.
    board.api.post(f"{card.url}/agent/message", {"content": "[tool write a.txt x]"})
    board.finish(card, timeout=30)
    assert (board.worktree(card) / "a.txt").exists()
    assert git(card.project.path, "branch", "--list", "card/*").count("\n") == 1


def test_an_orderly_stop_does_not_wait_for_a_long_checkout_and_is_no_crash(
    board: Board, programs: Path
) -> None:
    slow = slow_git(programs)
    cards = [board.work(board.make_project(), "[say hi]") for _ in range(3)]
    wait_begun(programs, times=3)
    assert board.terminate() < 10
    board.wait_gone(timeout=2.0)
    slow.unlink()
    board.start()
    for card in cards:
        board.finish(card, timeout=30)
        assert len(board.prompts(card)) == 1


@pytest.mark.long
def test_a_card_whose_worktree_is_made_goes_on_after_a_killed_worker(board: Board) -> None:
    files = {f"d{number % 100}/f{number}.txt": f"{number}\n" for number in range(20_000)}
    project = board.make_project(path=board.make_repository(files))
    card = board.work(project, "[say hi]")
    place = board.worktree(card)
    until(lambda: _files(place) > 200, timeout=60, what="half a worktree", every=0.005)
    board.kill("worker")
    assert _files(place) < len(files)
    board.finish(card, timeout=90)
    assert not git(place, "status", "--porcelain")
    assert len(git(place, "ls-files").splitlines()) == len(files)
    assert git(project.path, "branch", "--list", "card/*").count("\n") == 1
    assert not list(project.path.glob(".git/**/*.lock"))


def _files(place: Path) -> int:
    return sum(len(names) for _, _, names in os.walk(place))


def test_a_worker_that_can_open_no_file_looks_for_processes_until_it_can(board: Board) -> None:
    card = board.work(board.make_project(), "[grandchild ticks] [say one] [sleep 60]")
    board.wait_said(card, "one")
    until(lambda: (board.worktree(card) / "ticks").exists(), what="the grandchild")
    grandchild = next(each for each in board.agents() if each.ppid() == 1)
    worker = psutil.Process(board.pid("worker"))
    before = worker.rlimit(psutil.RLIMIT_NOFILE)
    worker.rlimit(psutil.RLIMIT_NOFILE, (3, before[1]))
    board.api.post(f"{card.url}/agent/cancel")
    time.sleep(4)
    # Nobody has found it yet, so nothing may take its place.
    assert grandchild in board.agents()
    board.api.post(f"{card.url}/agent/message", {"content": "[say two]"})
    time.sleep(1)
    assert len(board.prompts(card)) == 1
    worker.rlimit(psutil.RLIMIT_NOFILE, before)
    board.finish(card, timeout=20)
    assert board.texts(card)[-1] == "two"
    assert grandchild not in board.agents()
    assert board.pid("worker") == worker.pid


def test_a_running_card_moved_twenty_times_never_has_two_agents(board: Board) -> None:
    project = board.make_project()
    board.add_column(project, "Review", "active")
    card = board.work(project, "[ignore-cancel] [grandchild ticks] [say here] [sleep 60]")
    board.wait_said(card, "here")
    place = str(board.worktree(card))
    began = time.monotonic()
    for number in range(20):
        board.move(card, ("Review", "In Progress")[number % 2])
        assert _agents_in(board, place) <= 1
        time.sleep(max(0.0, began + (number + 1) * 0.1 - time.monotonic()))
    until(
        lambda: board.session(card)["status"] == "running" and "here" in board.texts(card),
        timeout=40,
        what="the last session",
    )
    # The agents themselves found no other one alive in the directory.
    assert not board.notes("overlaps")
    assert _agents_in(board, place) == 1
    sessions = board.api.get(f"{card.url}/agent/sessions")
    assert [each["status"] for each in sessions].count("running") == 1
    assert {each["status"] for each in sessions[1:]} == {"cancelled"}
    board.api.post(f"{card.url}/agent/cancel")
    board.wait_status(card, "cancelled")


def _agents_in(board: Board, place: str) -> int:
    """Agents, without what they started: by their markers, one each."""
    found = set()
    for each in board.agents():
        try:
            if each.cwd() == place:
                found.add(each.environ()["BOARD_RUN"])
        except psutil.Error:
            continue
    return len(found)
