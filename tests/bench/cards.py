"""Reading lists, creating and moving cards over HTTP."""

from __future__ import annotations

import itertools
import json
import threading
from collections.abc import Iterator
from pathlib import Path

from tests.bench import load
from tests.bench.bare import bare
from tests.bench.commits import durable_commit
from tests.bench.table import Row, milliseconds, no_errors, promise, rate
from tests.process.board import Board, Project, board_in

SECONDS = 3.0
WRITES_A_SECOND = 20
LEAST = {
    # cards: (daphne, uvicorn)
    10: (4_500, 20_000),
    1_000: (1_100, 3_000),
    10_000: (150, 150),
}
LEAST_WHILE_WRITING = (2_500, 4_500)


def _fill(board: Board, project: Project, count: int) -> None:
    def some(share: int) -> None:
        for number in range(share):
            board.card(project, "", title=f"Card {number} with a title of the usual length")

    threads = [threading.Thread(target=some, args=[count // 4 + (n < count % 4)]) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def lists(folder: Path, server: str, sizes: list[int]) -> Iterator[Row]:
    with board_in(folder / f"lists-{sizes[0]}-{server}", KANBAN_ASGI=server) as board:
        board.api.patience = 0
        for size in sizes:
            project = board.make_project()
            _fill(board, project, size)
            path = f"/api/projects/{project.id}/cards"
            status, body = board.api.ask("GET", path.removeprefix("/api"))
            assert status == 200
            assert len(body["data"]) == size
            with bare(server, len(json.dumps(body, separators=(",", ":")))) as port:
                floor = load.read(port, "/", token=None, connections=32, seconds=SECONDS).rate
            least = LEAST[size][server == "uvicorn"]
            yield from _read(board, path, f"list {size:,} cards, {server}", least, floor)
            if size == 10:
                with _Writing(board) as writing:
                    least = LEAST_WHILE_WRITING[server == "uvicorn"]
                    what = f"  with {WRITES_A_SECOND} writes/s elsewhere, {server}"
                    yield from _read(board, path, what, least, floor)
                yield promise("  every write of these was accepted", writing.problems)


def _read(board: Board, path: str, what: str, least: float, floor: float) -> Iterator[Row]:
    found = load.read(board.port, path, token=board.api.token, connections=32, seconds=SECONDS)
    yield rate(what, found.rate, at_least=least, floor=floor, floor_is="bare ASGI, same bytes")
    yield no_errors("reading", found.errors)


class _Writing:
    """Somebody else changes another project all the while."""

    def __init__(self, board: Board) -> None:
        self.board = board
        self.project = board.make_project()
        self.problems: list[str] = []
        self.over = threading.Event()
        self.thread = threading.Thread(target=self._write)

    def _write(self) -> None:
        while not self.over.wait(1 / WRITES_A_SECOND):
            try:
                self.board.card(self.project, "x")
            except (AssertionError, OSError) as error:
                self.problems.append(str(error))

    def __enter__(self) -> _Writing:
        self.thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self.over.set()
        self.thread.join()


def create(folder: Path, server: str) -> Iterator[Row]:
    with board_in(folder / f"create-{server}", KANBAN_ASGI=server) as board:
        project = board.make_project()
        body = json.dumps({"projectId": project.id, "title": "A card", "prompt": "Do it."}).encode()
        asked = load.request("POST", "/api/cards", token=board.api.token, body=body)
        load.send(board.port, lambda _n: asked, connections=1, seconds=0.5)
        found = load.send(board.port, lambda _n: asked, connections=1, seconds=SECONDS)
        commit = durable_commit(board, folder)
        yield milliseconds(
            f"create, 1 client, p50, {server}",
            found.p50_ms,
            at_most=3.0,
            floor=commit.ms,
            floor_is=f"one commit, {commit.where}",
        )
        yield no_errors("creating", found.errors)


def move(folder: Path, server: str) -> Iterator[Row]:
    """Eight clients, each with cards of its own, in one project."""
    with board_in(folder / f"move-{server}", KANBAN_ASGI=server) as board:
        project = board.make_project()
        backlog = project.columns["Backlog"]
        other = board.add_column(project, "Later", "backlog")
        cards = [board.card(project, "").id for _ in range(80)]
        asked: list[Iterator[bytes]] = [
            itertools.cycle(
                load.request(
                    "PATCH",
                    f"/api/projects/{project.id}/cards/{card}/move",
                    token=board.api.token,
                    body=json.dumps({"columnId": column, "position": 0}).encode(),
                )
                for column in (other, backlog)
                for card in cards[client::8]
            )
            for client in range(8)
        ]
        load.send(board.port, lambda n: next(asked[n]), connections=8, seconds=0.5)
        found = load.send(board.port, lambda n: next(asked[n]), connections=8, seconds=SECONDS)
        listed = board.api.get(f"/projects/{project.id}/cards")
        places: dict[str, list[int]] = {}
        for card in listed:
            places.setdefault(card["columnId"], []).append(card["position"])
        commit = durable_commit(board, folder)
        yield rate(
            f"move, 8 clients, {server}",
            found.rate,
            at_least=450,
            floor=1000 / commit.ms,
            floor_is=f"commits, {commit.where}",
        )
        yield no_errors("moving", found.errors)
        yield promise(
            "  positions without gap or repeat",
            [
                f"{column}: {sorted(each)}"
                for column, each in places.items()
                if sorted(each) != list(range(len(each)))
            ],
            of=f"{len(listed)} cards",
        )
