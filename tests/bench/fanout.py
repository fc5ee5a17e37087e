"""From a committed change to 200 browsers: `python -m tests.bench.fanout [daphne|uvicorn]`.

The floor is the same server, clients and moment with a consumer that only says again what it hears.
Times are from just before the commit (for the floor: from the send of the message that is said again) to the
client's own read, in milliseconds; the load generator shares the machine.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

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


class _Reader(asyncio.Protocol):
    """Reads unmasked frames and notes when each came; cheaper than a client library, so that it measures
    the server."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.frames: list[tuple[float, bytes]] = []
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        now = time.perf_counter()
        self.data += data
        if not self.opened.done():
            end = self.data.find(b"\r\n\r\n")
            if end < 0:
                return
            del self.data[: end + 4]
            self.opened.set_result(None)
        while len(self.data) >= 2:
            length, at = self.data[1] & 127, 2
            if length == 126:
                length, at = int.from_bytes(self.data[2:4], "big"), 4
            if len(self.data) < at + length:
                return
            self.frames.append((now, bytes(self.data[at : at + length])))
            del self.data[: at + length]

    def say(self, text: str) -> None:
        payload = text.encode()
        header = bytes([0x81, 0x80 | 126]) + len(payload).to_bytes(2, "big")
        assert self.transport is not None
        self.transport.write(header + bytes(4) + payload)


async def _open(port: int, path: str) -> _Reader:
    loop = asyncio.get_running_loop()
    _, reader = await loop.create_connection(_Reader, "127.0.0.1", port)
    assert reader.transport is not None
    reader.transport.write(
        f"GET {path} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
    )
    await reader.opened
    return reader


async def _until(readers: list[_Reader], count: int, within: float = 20.0) -> None:
    deadline = time.perf_counter() + within
    while any(len(reader.frames) < count for reader in readers):
        if time.perf_counter() > deadline:
            raise TimeoutError("not everybody heard everything")
        await asyncio.sleep(0.01)


async def _floor(port: int) -> list[float]:
    readers = [await _open(port, "/bare") for _ in range(SOCKETS)]
    sent = []
    filling = "x" * 200
    for number in range(EVENTS):
        sent.append(time.perf_counter())
        readers[0].say(f'{{"type":"card.updated","seq":{number},"data":{{"note":"{filling}"}}}}')
        await asyncio.sleep(PAUSE_S)
    await _until(readers, EVENTS)
    delays = []
    for reader in readers:
        delays += [1000 * (at - began) for (at, _), began in zip(reader.frames, sent, strict=True)]
        assert reader.transport is not None
        reader.transport.close()
    return delays


async def _hub(port: int, token: str, project_id: int, publish: Any) -> list[float]:
    readers = [await _open(port, f"/api/ws?token={token}") for _ in range(SOCKETS)]
    for reader in readers:
        reader.say(
            json.dumps({"type": "subscribe", "payload": {"projectId": project_id}}).ljust(130)
        )
    await _until(readers, 1)
    sent = []
    loop = asyncio.get_running_loop()
    for number in range(EVENTS):
        sent.append(await loop.run_in_executor(None, publish, number))
        await asyncio.sleep(PAUSE_S)
    await _until(readers, EVENTS + 1)
    delays = []
    for reader in readers:
        heard = reader.frames[1:]
        seqs = [json.loads(payload)["seq"] for _, payload in heard]
        assert seqs == list(range(1, EVENTS + 1)), "a gap, a repeat or another order"
        delays += [1000 * (at - began) for (at, _), began in zip(heard, sent, strict=True)]
        assert reader.transport is not None
        reader.transport.close()
    return delays


def measure(kind: str = "daphne") -> dict[str, Any]:
    """`{"hub": {"p50_ms", "p99_ms"}, "floor": {…}, …}`; raises if anything was lost or out of order."""
    folder = Path(tempfile.mkdtemp(prefix="ka-bench-", dir="/tmp"))
    os.environ["KANBAN_DATA_DIR"] = str(folder)
    os.environ["DJANGO_SETTINGS_MODULE"] = "kanban_agents.settings"
    try:
        return _measure(kind, folder)
    finally:
        shutil.rmtree(folder)


def _measure(kind: str, folder: Path) -> dict[str, Any]:
    from tests.realtime.processes import RedisServer, WebServer

    redis = RedisServer()
    redis.start()
    os.environ["KANBAN_REDIS_URL"] = redis.url
    import django

    django.setup()
    from django.conf import settings
    from django.core.management import call_command
    from django.db import transaction

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
        began = time.perf_counter()
        with transaction.atomic():
            bus.lock(project.pk)
            bus.publish(Noted(project_id=project.pk, note=filling))
        return began

    web = WebServer(
        kind,
        redis_url=redis.url,
        database=str(settings.DATABASES["default"]["NAME"]),
        data_dir=folder,
    )
    try:
        floor = asyncio.run(_floor(web.port))
        hub = asyncio.run(_hub(web.port, tokens.issue(alice), project.pk, publish))
        again = asyncio.run(_floor(web.port))
    finally:
        web.stop()
        redis.remove()
    return {
        "server": kind,
        "sockets": SOCKETS,
        "events": EVENTS,
        "hub": _figures(hub),
        "floor": _figures(floor + again),
    }


if __name__ == "__main__":
    print(json.dumps(measure(*sys.argv[1:]), indent=2))
