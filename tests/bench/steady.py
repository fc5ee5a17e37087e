"""Many agents that talk at once on one worker: is all stored and heard, in order, how soon, at what cost.

An agent puts the time into each of its messages just before it writes the line; a socket's client looks at
the clock when it has read the frame. Agents and clients run on the same machine and are not counted.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from tests.bench.bare_reader import STEADY_AGENT
from tests.bench.sockets import open_socket
from tests.process.board import Board, Card
from tests.process.server import until

_STEADY = re.compile(rb'"content":"steady (\d+) (\d+)"')
_SESSION = re.compile(rb'"sessionId":"([^"]+)"')
# What the first and the last moments cost is no matter of steady work.
_EDGE_S = 2.0


@dataclass
class Browsers:
    """Sockets that follow the project and its sessions, in a thread of their own.

    `heard` has (number, seconds from the agent's write to here) by socket and session.
    """

    port: int
    token: str
    project: str
    sessions: list[list[str]]
    heard: dict[tuple[int, str], list[tuple[int, float]]] = field(
        default_factory=lambda: defaultdict(list)
    )
    ended: int = 0

    def __enter__(self) -> Browsers:
        self._ready, self._over = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._watch()))
        self._thread.start()
        assert self._ready.wait(20)
        return self

    def __exit__(self, *_error: object) -> None:
        self._over.set()
        self._thread.join()

    async def _watch(self) -> None:
        readers = [
            await open_socket(self.port, f"/api/ws?token={self.token}", self._listener(number))
            for number in range(len(self.sessions))
        ]
        for reader, sessions in zip(readers, self.sessions, strict=True):
            reader.subscribe(projectId=self.project)
            for session in sessions:
                reader.subscribe(sessionId=session)
        await asyncio.sleep(1)
        self._ready.set()
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

        return heard


@dataclass
class Found:
    """Times in milliseconds, memory in MB. `problems`: whatever was lost or came out of order."""

    messages: int
    p50_ms: float
    p99_ms: float
    worst_ms: float
    worker_us: float
    web_us: float
    agents_us: float
    worker_mb: tuple[float, float]
    web_mb: tuple[float, float]
    problems: list[str]


def _percentile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


def prepare(board: Board, agents: int, rate: int, seconds: float, gate: Path) -> list[Card]:
    """Cards whose agents are at work and wait for the gate."""
    with (board.data / "presets.toml").open("a") as presets:
        presets.write(
            f'\n[steady]\nname = "Steady"\ncommand = {json.dumps(STEADY_AGENT)}\n'
            "needs_credential = false\n"
        )
    project = board.make_project("steady")
    prompt = f"[steady {rate}/s for {seconds} s after {gate}]"
    cards = [board.work(project, prompt) for _ in range(agents)]

    def running() -> bool:
        listed = board.api.get(f"/projects/{project.id}/cards")
        return sum(card["agentStatus"] == "running" for card in listed) == agents

    until(running, timeout=20 + agents, what="all agents at work", every=0.5)
    return cards


def run(
    board: Board,
    cards: list[Card],
    *,
    rate: int,
    seconds: float,
    gate: Path,
    sockets: int,
    all_follow_all: bool = True,
    meanwhile: contextlib.AbstractContextManager[object] | None = None,
) -> Found:
    """Open the gate and watch; each socket follows all sessions, or its share of them."""
    project = cards[0].project
    sessions = {card.id: board.session(card)["sessionId"] for card in cards}
    names = list(sessions.values())
    follows = [names if all_follow_all else names[n::sockets] for n in range(sockets)]
    worker, web = psutil.Process(board.pid("worker")), psutil.Process(board.pid("web"))
    with Browsers(board.port, board.api.token or "", project.id, follows) as browsers:
        agents = board.agents()
        with meanwhile or contextlib.nullcontext():
            gate.touch()
            time.sleep(_EDGE_S)
            before = [_cpu(worker), _cpu(web), sum(map(_cpu, agents))]
            counted = time.monotonic()
            memory = [(worker.memory_info().rss, web.memory_info().rss)]
            quarter = max(0.0, seconds / 4 - _EDGE_S)
            time.sleep(quarter)
            memory[0] = worker.memory_info().rss, web.memory_info().rss
            time.sleep(max(0.0, seconds - 2 * _EDGE_S - quarter))
            after = [_cpu(worker), _cpu(web), sum(map(_cpu, agents))]
            lines = len(cards) * rate * (time.monotonic() - counted)
            memory.append((worker.memory_info().rss, web.memory_info().rss))
            time.sleep(_EDGE_S)
        for card in cards:
            board.finish(card, timeout=30)
        expected = list(range(int(rate * seconds)))
        wanted = sum(map(len, follows)) * len(expected)
        with contextlib.suppress(AssertionError):
            until(
                lambda: sum(map(len, browsers.heard.values())) >= wanted,
                timeout=5,
                what="every message at every socket",
            )
    problems = [f"{browsers.ended} sockets were closed"] if browsers.ended else []
    for number, followed in enumerate(follows):
        for session in followed:
            heard = [each for each, _ in browsers.heard[number, session]]
            if heard != expected:
                problems.append(
                    f"socket {number} heard of {session}: {_difference(heard, expected)}"
                )
    for card in cards:
        stored = [
            int(message["content"].split()[1])
            for message in board.assert_gapless(card, sessions[card.id])
            if message["content"].startswith("steady ")
        ]
        if stored != expected:
            problems.append(f"stored of {card.id}: {_difference(stored, expected)}")
    delays = [1000 * took for heard in browsers.heard.values() for _, took in heard]
    cost = [1e6 * (now - then) / lines for now, then in zip(after, before, strict=True)]
    megabytes = [(a / 1e6, b / 1e6) for a, b in zip(*memory, strict=True)]
    return Found(
        len(delays),
        _percentile(delays, 0.5),
        _percentile(delays, 0.99),
        max(delays),
        *cost,
        *megabytes,
        problems,
    )


def _cpu(process: psutil.Process) -> float:
    with contextlib.suppress(psutil.Error):
        times = process.cpu_times()
        return float(times.user + times.system)
    return 0.0


def _difference(found: list[int], expected: list[int]) -> str:
    missing = sorted(set(expected) - set(found))
    twice = len(found) - len(set(found))
    return f"{len(missing)} missing {missing[:5]}, {twice} twice, sorted {found == sorted(found)}"
