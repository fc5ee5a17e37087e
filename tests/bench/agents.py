"""Diff, files, and how soon an agent's process is alive after a move; against raw git in the same run."""

from __future__ import annotations

import json
import shutil
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.bench.table import Row, milliseconds
from tests.process.board import FAKE_AGENT, Board, board_in
from tests.process.repository import git
from tests.process.server import until

ROUNDS = 15
STARTS = 12


def _median_ms(act: Callable[[], object]) -> float:
    times = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        act()
        times.append(time.perf_counter() - began)
    return 1000 * statistics.median(times)


def _raw(folder: Path, *arguments: str) -> float:
    def run() -> None:
        subprocess.run(["git", *arguments], cwd=folder, check=True, capture_output=True)

    run()
    return _median_ms(run)


def diff(folder: Path) -> Iterator[Row]:
    with board_in(folder / "diff") as board:
        lines = "".join(f"line {number} of a file of usual length\n" for number in range(100))
        files = {f"src/part{n // 20}/file{n}.py": lines for n in range(200)}
        project = board.make_project(path=board.make_repository(files))
        edit = "for f in src/*/*.py; do sed -i '10,14s/line/LINE/' $f; done"
        card = board.work(project, f"[tool run {edit}]")
        board.finish(card, timeout=60)
        found = board.api.get(f"{card.url}/diff")
        assert found["stats"] == {"filesChanged": 200, "insertions": 1000, "deletions": 1000}
        ours = _median_ms(lambda: board.api.get(f"{card.url}/diff"))
        floor = _raw(board.worktree(card), "diff", "HEAD")
        yield milliseconds(
            "diff, 200 files x 5 lines", ours, at_most=1.3 * floor, floor=floor, floor_is="git diff"
        )


def files(folder: Path) -> Iterator[Row]:
    with board_in(folder / "files") as board:
        names = {f"dir{n // 200}/sub{n // 20}/file{n}.txt": "x\n" for n in range(20_000)}
        path = board.make_repository(names)
        project = board.make_project(path=path)
        url = f"/projects/{project.id}/files"
        assert len(board.api.get(url)) == 20_000
        ours = _median_ms(lambda: board.api.get(url))
        floor = _raw(path, "ls-files", "-z")
        yield milliseconds(
            "20,000 files listed",
            ours,
            at_most=2 * floor + 5,
            floor=floor,
            floor_is="git ls-files",
        )


def alive(folder: Path) -> Iterator[Row]:
    """From just before the move's request to the agent's first own instruction, less what an interpreter
    needs for that by itself."""
    with board_in(folder / "alive", KANBAN_MAX_AGENTS="50") as board:
        path = board.make_repository({f"file{n}.txt": "x\n" for n in range(20)})
        project = board.make_project(path=path)
        cards = [board.card(project, "[say hi]") for _ in range(STARTS)]
        own = _own_start_ms(board, folder)
        times = []
        for count, card in enumerate(cards, start=1):
            began = time.time()
            board.move(card)
            until(lambda count=count: len(board.notes("starts")) == count, what="the start")
            times.append(1000 * (float(str(board.notes("starts")[-1]["time"])) - began) - own)
            board.finish(card)
        floor = _worktree_add_ms(path, folder / "raw-worktrees")
        yield milliseconds(
            "move → agent process alive, small repository",
            statistics.median(times[1:]),
            at_most=35,
            floor=floor,
            floor_is="git worktree add",
        )


def _own_start_ms(board: Board, folder: Path) -> float:
    home = folder / "agent-home"
    home.mkdir()
    times = []
    for _ in range(ROUNDS):
        began = time.time()
        subprocess.run(
            FAKE_AGENT, env={"HOME": str(home)}, stdin=subprocess.DEVNULL, check=True, cwd=home
        )
        noted = json.loads((home / "starts.jsonl").read_text().splitlines()[-1])["time"]
        times.append(1000 * (noted - began))
    return statistics.median(times)


def _worktree_add_ms(repository: Path, target: Path) -> float:
    numbers = iter(range(10_000))

    def add() -> None:
        number = next(numbers)
        subprocess.run(
            [
                *("git", "worktree", "add", "-q", "--no-track"),
                *("-b", f"raw/{number}", str(target / str(number))),
            ],
            cwd=repository,
            check=True,
            capture_output=True,
        )

    add()
    found = _median_ms(add)
    shutil.rmtree(target)
    git(repository, "worktree", "prune")
    return found
