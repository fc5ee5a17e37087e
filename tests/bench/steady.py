"""Many agents that talk at once on one worker: is all stored and heard, in order, how soon, at what cost.

An agent puts the time into each of its messages just before it writes the line; a socket's client looks at
the clock when it has read the frame. Agents and clients run on the same machine and are not counted.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from tests.bench import bare_reader, load
from tests.bench.sockets import open_socket
from tests.bench.table import Row, no_errors, promise
from tests.process.board import Board, board_in
from tests.process.server import until

_STEADY = re.compile(rb'"content":"steady (\d+) (\d+)"')
_SESSION = re.compile(rb'"sessionId":"([^"]+)"')
_INDEX = re.compile(rb'"index":(-?\d+)')
# What the first moments cost, when everything begins at once, is no matter of steady work.
_BEGINNING_S = 2.0


@dataclass
class Browsers:
    """Sockets that follow the project and some of its sessions, in a thread of their own.

    `heard` has (number, seconds from the agent's write to here) by socket and session; `lacking`, the last
    index of what a session had said before it was followed, until that has come. Entered, they lack nothing:
    five hundred replays are no matter of steady work.
    """

    port: int
    token: str
    project: str
    sessions: list[list[str]]
    heard: dict[tuple[int, str], list[tuple[int, float]]] = field(
        default_factory=lambda: defaultdict(list)
    )
    ended: int = 0
    lacking: dict[tuple[int, bytes], int] = field(default_factory=dict)

    def __enter__(self) -> Browsers:
        self._opened, self._subscribed = threading.Event(), 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._watch()))
        self._thread.start()
        assert self._opened.wait(60), "not every socket follows what it should"
        return self

    def __exit__(self, *_error: object) -> None:
        self._over.set()
        self._thread.join()

    @property
    def count(self) -> int:
        return sum(map(len, self.heard.values()))

    async def _watch(self) -> None:
        readers = [
            await open_socket(self.port, f"/api/ws?token={self.token}", self._listener(number))
            for number in range(len(self.sessions))
        ]
        for reader, sessions in zip(readers, self.sessions, strict=True):
            reader.subscribe(projectId=self.project)
            for session in sessions:
                reader.subscribe(sessionId=session)
        topics = sum(1 + len(sessions) for sessions in self.sessions)
        while self._subscribed < topics or self.lacking:
            await asyncio.sleep(0.05)
        self._opened.set()
        while not self._over.is_set():
            await asyncio.sleep(0.1)
            self.ended = sum(reader.ended for reader in readers)
        for reader in readers:
            reader.close()

    def _listener(self, number: int) -> Callable[[float, bytes], None]:
        def heard(now: float, payload: bytes) -> None:
            said = _STEADY.search(payload)
            session = _SESSION.search(payload)
            if said is not None and session is not None:
                took = now - int(said[2]) / 1e9
                self.heard[number, session[1].decode()].append((int(said[1]), took))
                return
            index = _INDEX.search(payload)
            if payload.startswith(b'{"type":"subscribed"'):
                self._subscribed += 1
                if session is not None and index is not None and int(index[1]) >= 0:
                    self.lacking[number, session[1]] = int(index[1])
            elif session is not None and index is not None:
                owed = self.lacking.get((number, session[1]))
                if owed is not None and int(index[1]) >= owed:
                    del self.lacking[number, session[1]]

        return heard


@dataclass
class Found:
    """Delays and ages in milliseconds, costs in microseconds of CPU for each message, memory in MB.

    `problems`: whatever was not heard, or out of order.
    """

    delays: list[float]
    worker_us: float
    web_us: float
    agents_us: float
    memory: list[tuple[float, float]]
    problems: list[str]

    def percentile(self, share: float) -> float:
        return sorted(self.delays)[min(len(self.delays) - 1, int(len(self.delays) * share))]


@dataclass
class Load:
    """Cards whose agents wait at the first gate; each phase lasts that many seconds."""

    board: Board
    folder: Path
    agents: int
    rate: int
    phases: list[float]

    def __post_init__(self) -> None:
        self.gates = [self.folder / f"gate{number}" for number in range(len(self.phases))]
        self.done = 0
        project = self.board.make_project("steady")
        prompt = " ".join(
            f"[steady {self.rate}/s for {seconds} s after {gate}]"
            for seconds, gate in zip(self.phases, self.gates, strict=True)
        )
        self.cards = [self.board.work(project, prompt) for _ in range(self.agents)]
        self.project = project
        until(self._all_run, timeout=30 + self.agents, what="all agents at work", every=0.5)
        self.sessions = {card.id: str(self.board.session(card)["sessionId"]) for card in self.cards}

    def _all_run(self) -> bool:
        listed = self.board.api.get(f"/projects/{self.project.id}/cards")
        return sum(card["agentStatus"] == "running" for card in listed) == self.agents

    def watched(self, sockets: int) -> Browsers:
        """Each of the sockets follows all of the sessions."""
        names = list(self.sessions.values())
        token = self.board.api.token or ""
        return Browsers(self.board.port, token, self.project.id, [names] * sockets)

    def run(
        self, seen: Browsers, meanwhile: contextlib.AbstractContextManager[object] | None = None
    ) -> Found:
        """Open the next gate, and watch until everything was heard."""
        seconds, gate = self.phases.pop(0), self.gates.pop(0)
        count = int(self.rate * seconds)
        expected = list(range(self.done, self.done + count))
        self.done += count
        servers = [psutil.Process(self.board.pid(role)) for role in ("worker", "web")]
        agents = self.board.agents()
        memory = []
        seen.heard.clear()
        with meanwhile or contextlib.nullcontext():
            gate.touch()
            began = time.monotonic()
            time.sleep(_BEGINNING_S)
            counted, before = time.monotonic(), [*map(_cpu, servers), sum(map(_cpu, agents))]
            for share in (0.25, 1.0):
                time.sleep(max(0.0, began + share * seconds - time.monotonic()))
                memory.append(tuple(_own_mb(each) for each in servers))
            after = [*map(_cpu, servers), sum(map(_cpu, agents))]
            messages = self.agents * self.rate * (time.monotonic() - counted)
        with contextlib.suppress(AssertionError):
            wanted = sum(map(len, seen.sessions)) * count
            until(lambda: seen.count >= wanted, timeout=20, what="all messages", every=0.1)
        problems = [f"{seen.ended} sockets were closed"] if seen.ended else []
        for number, names in enumerate(seen.sessions):
            for name in names:
                heard = [each for each, _ in seen.heard[number, name]]
                if heard != expected:
                    problems.append(f"socket {number}, {name}: {_difference(heard, expected)}")
        delays = [1000 * took for heard in seen.heard.values() for _, took in heard]
        cost = [1e6 * (now - then) / messages for now, then in zip(after, before, strict=True)]
        return Found(delays, cost[0], cost[1], cost[2], memory, problems)  # type: ignore[arg-type]

    def check_stored(self) -> list[str]:
        """Wait for the end of the turns; what isn't in the database as it was written."""
        problems = []
        for card in self.cards:
            self.board.finish(card, timeout=60)
            stored = [
                int(message["content"].split()[1])
                for message in self.board.assert_gapless(card, self.sessions[card.id])
                if message["content"].startswith("steady ")
            ]
            if stored != list(range(self.done)):
                problems.append(f"{card.id}: {_difference(stored, list(range(self.done)))}")
        return problems


def _cpu(process: psutil.Process) -> float:
    with contextlib.suppress(psutil.Error):
        times = process.cpu_times()
        return float(times.user + times.system)
    return 0.0


def _own_mb(process: psutil.Process) -> float:
    """Without the pages of SQLite's file, which it maps, and of the programs."""
    memory = process.memory_info()
    return float(memory.rss - memory.shared) / 1e6


def _difference(found: list[int], expected: list[int]) -> str:
    missing = sorted(set(expected) - set(found))
    twice = len(found) - len(set(found))
    return f"{len(missing)} missing {missing[:5]}, {twice} twice, sorted {found == sorted(found)}"


class _Readers:
    """Others read the list of cards all the while, over 32 connections."""

    def __init__(self, made: Load, seconds: float) -> None:
        path = f"/api/projects/{made.project.id}/cards"
        token = made.board.api.token

        def read() -> None:
            self.found = load.read(
                made.board.port, path, token=token, connections=32, seconds=seconds
            )

        self.thread = threading.Thread(target=read)

    def __enter__(self) -> None:
        self.thread.start()

    def __exit__(self, *_error: object) -> None:
        self.thread.join()


AGENTS, RATE, SOCKETS = 100, 20, 5


def steady(folder: Path, server: str, seconds: float) -> Iterator[Row]:
    what = f"{AGENTS} agents x {RATE}/s, {SOCKETS} sockets, {server}"
    bare = bare_reader.ask(AGENTS, RATE, 10)
    environment = {"KANBAN_MAX_AGENTS": str(AGENTS), "KANBAN_ASGI": server}
    place = folder / f"steady-{server}"
    with board_in(place, **environment) as board:
        made = Load(board, place, AGENTS, RATE, [seconds, 15])
        readers = _Readers(made, 14)
        with made.watched(SOCKETS) as seen:
            found = made.run(seen)
            crowded = made.run(seen, readers)
        problems = [*found.problems, *crowded.problems, *made.check_stored()]
    bare = (bare + bare_reader.ask(AGENTS, RATE, 10)) / 2
    wanted = AGENTS * made.done
    yield promise(f"{what}: all stored and heard in order", problems, of=f"{wanted:,} written")
    p99 = found.percentile(0.99)
    yield Row(
        "  line written → frame read, p50/p99",
        f"{found.percentile(0.5):.0f}/{p99:.0f} ms",
        "p99 ≤ 60 ms",
        "",
        "",
        p99 <= 60,
    )
    yield Row(
        f"  the same with 32 readers of the list ({readers.found.rate:,.0f}/s), p50/p99",
        f"{crowded.percentile(0.5):.0f}/{crowded.percentile(0.99):.0f} ms",
        f"p99 ≤ {3 * p99:.0f} ms",
        f"{p99:.0f} ms (without them)",
        f"{crowded.percentile(0.99) / p99:.1f}x",
        crowded.percentile(0.99) <= 3 * p99,
    )
    yield no_errors("these readers", readers.found.errors)
    yield Row(
        f"  worker's CPU for a message (web {found.web_us:.0f}, agents {found.agents_us:.0f} µs)",
        f"{found.worker_us:.0f} µs",
        f"≤ {2 * bare:.0f} µs",
        f"{bare:.0f} µs (asyncio readline + json.loads)",
        f"{found.worker_us / bare:.1f}x",
        found.worker_us <= 2 * bare,
    )
    (worker, web), (later_worker, later_web) = found.memory
    yield Row(
        f"  memory of worker and web after {seconds / 4:.0f} and {seconds:.0f} s",
        f"{worker:.0f} → {later_worker:.0f}, {web:.0f} → {later_web:.0f} MB",
        "+5 MB at most",
        "",
        "",
        later_worker - worker <= 5 and later_web - web <= 5,
    )
