"""From a committed change to 200 browsers: `python -m tests.bench.fanout [daphne|uvicorn]`.

The floor is the same server, clients and moment with a consumer that only says again what it hears.
Both stand on SQLite and a Redis of their own, or on what `KANBAN_TEST_ON=servers` gives to boards.
Times are from just before the commit (for the floor: from the send of the message that is said again) to the
client's own read, in milliseconds; the load generator shares the machine.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.bench.sockets import Reader, open_socket
from tests.process.ground import servers_below
from tests.realtime.processes import RedisServer, WebServer

SOCKETS = 200
EVENTS = 150
PAUSE_S = 0.02


def percentile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


def _figures(delays: list[float]) -> dict[str, float]:
    return {
        "p50_ms": round(statistics.median(delays), 2),
        "p99_ms": round(percentile(delays, 0.99), 2),
    }


class _Socket:
    """A socket and what it heard, each with its time."""

    def __init__(self) -> None:
        self.frames: list[tuple[float, bytes]] = []
        self.reader: Reader | None = None

    @property
    def open(self) -> Reader:
        assert self.reader is not None
        return self.reader


async def _open(port: int, path: str) -> _Socket:
    socket = _Socket()
    socket.reader = await open_socket(
        port, path, lambda when, payload: socket.frames.append((when, payload))
    )
    return socket


async def _until(readers: list[_Socket], count: int, within: float = 20.0) -> None:
    deadline = time.monotonic() + within
    while any(len(reader.frames) < count for reader in readers):
        if time.monotonic() > deadline:
            raise TimeoutError("not everybody heard everything")
        await asyncio.sleep(0.01)


async def _floor(port: int) -> list[float]:
    readers = [await _open(port, "/bare") for _ in range(SOCKETS)]
    sent = []
    filling = "x" * 200
    for number in range(EVENTS):
        sent.append(time.monotonic())
        readers[0].open.say(
            f'{{"type":"card.updated","seq":{number},"data":{{"note":"{filling}"}}}}'
        )
        await asyncio.sleep(PAUSE_S)
    await _until(readers, EVENTS)
    delays = []
    for reader in readers:
        delays += [1000 * (at - began) for (at, _), began in zip(reader.frames, sent, strict=True)]
        reader.open.close()
    return delays


async def _hub(
    port: int, token: str, project_id: int, publish: Any
) -> tuple[list[float], list[str]]:
    """Delays at the sockets that heard everything, and what the others lack."""
    readers = [await _open(port, f"/api/ws?token={token}") for _ in range(SOCKETS)]
    for reader in readers:
        reader.open.subscribe(projectId=project_id)
    await _until(readers, 1)
    sent = []
    loop = asyncio.get_running_loop()
    for number in range(EVENTS):
        sent.append(await loop.run_in_executor(None, publish, number))
        await asyncio.sleep(PAUSE_S)
    with contextlib.suppress(TimeoutError):
        await _until(readers, EVENTS + 1)
    delays, problems = [], []
    wanted = list(range(1, EVENTS + 1))
    for number, reader in enumerate(readers):
        heard = reader.frames[1:]
        seqs = [json.loads(payload)["seq"] for _, payload in heard]
        if seqs == wanted:
            delays += [1000 * (at - began) for (at, _), began in zip(heard, sent, strict=True)]
        else:
            missing = sorted(set(wanted) - set(seqs))
            problems.append(f"socket {number}: {len(seqs)} heard, missing {missing[:5]}")
        reader.open.close()
    if not delays:
        raise RuntimeError(f"no socket heard everything in order: {problems[0]}")
    return delays, problems


def measure(kind: str = "daphne") -> dict[str, Any]:
    """`{"hub": {"p50_ms", "p99_ms"}, "floor": {…}, "problems": […], …}`: events lost or out of order."""
    folder = Path(tempfile.mkdtemp(prefix="ka-bench-", dir="/tmp"))
    os.environ["KANBAN_DATA_DIR"] = str(folder)
    os.environ["DJANGO_SETTINGS_MODULE"] = "kanban_agents.settings"
    try:
        with _servers(folder) as environment:
            os.environ.update(environment)
            return _measure(kind, folder)
    finally:
        shutil.rmtree(folder)


@contextlib.contextmanager
def _servers(folder: Path) -> Iterator[dict[str, str]]:
    with servers_below(folder) as below:
        if below:
            yield below
            return
        redis = RedisServer()
        redis.start()
        try:
            yield {"KANBAN_REDIS_URL": redis.url}
        finally:
            redis.remove()


def _measure(kind: str, folder: Path) -> dict[str, Any]:
    import django

    django.setup()
    from django.conf import settings
    from django.core.management import call_command
    from django.db import connections, transaction

    from apps.accounts import tokens
    from apps.accounts.models import User
    from apps.events import bus
    from apps.projects.models import Project
    from tests.realtime.conftest import Noted

    call_command("migrate", verbosity=0)
    alice = User.objects.create_user("alice@example.com", display_name="alice")
    project = Project.objects.create(name="Garden", path="/srv/garden", owner=alice)
    bus.create_stream(project.pk)
    filling = "x" * 200

    def publish(number: int) -> float:
        began = time.monotonic()
        with transaction.atomic():
            bus.lock(project.pk)
            bus.publish(Noted(project_id=project.pk, note=filling))
        return began

    web = WebServer(
        kind,
        redis_url=os.environ["KANBAN_REDIS_URL"],
        database=str(settings.DATABASES["default"]["NAME"]),
        data_dir=folder,
    )
    try:
        floor = asyncio.run(_floor(web.port))
        hub, problems = asyncio.run(_hub(web.port, tokens.issue(alice), project.pk, publish))
        again = asyncio.run(_floor(web.port))
    finally:
        web.stop()
        connections.close_all()
    return {
        "server": kind,
        "sockets": SOCKETS,
        "events": EVENTS,
        "hub": _figures(hub),
        "floor": _figures(floor + again),
        "problems": problems,
    }


if __name__ == "__main__":
    print(json.dumps(measure(*sys.argv[1:]), indent=2))
