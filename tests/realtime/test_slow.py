from __future__ import annotations

import base64
import json
import os
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator

import psutil
import pytest
from django.utils import timezone

from apps.accounts import tokens
from apps.accounts.models import User
from apps.agents.models import AgentMessage, AgentSession
from apps.boards.models import Board, Column
from apps.cards.models import Card
from apps.events import bus, telling
from tests.realtime.client import Client
from tests.realtime.conftest import World
from tests.realtime.processes import WebServer

pytestmark = pytest.mark.process

Connect = Callable[[User], Client]


# The kernel alone holds up to 4 MB for a connection.
FILLING = "x" * 8_000
MORE_THAN_FITS = 2_500


class Sleeper:
    """A client that reads only when told to, with a small window."""

    def __init__(self, web: WebServer, user: User) -> None:
        self.socket = socket.socket()
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self.socket.settimeout(10)
        self.socket.connect(("127.0.0.1", web.port))
        key = base64.b64encode(os.urandom(16)).decode()
        self.socket.sendall(
            f"GET /api/ws?token={tokens.issue(user)} HTTP/1.1\r\nHost: localhost\r\n"
            "Upgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )
        self._data = bytearray()
        while b"\r\n\r\n" not in self._data:
            self._data += self.socket.recv(4096)
        del self._data[: self._data.index(b"\r\n\r\n") + 4]

    def __enter__(self) -> Sleeper:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def subscribe(self, **payload: int) -> None:
        text = json.dumps({"type": "subscribe", "payload": payload}).encode()
        assert len(text) < 126
        self.socket.sendall(bytes([0x81, 0x80 | len(text), 0, 0, 0, 0]) + text)

    def frames(self) -> Iterator[tuple[int, bytes]]:
        """(opcode, payload) until the connection is gone."""
        # Awake it reads as others do: by a small window megabytes may take minutes.
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        while True:
            yield self._take(2)[0] & 15, self._payload()

    def _payload(self) -> bytes:
        length = self._header[1] & 127
        if length == 126:
            length = struct.unpack(">H", self._take(2))[0]
        elif length == 127:
            length = struct.unpack(">Q", self._take(8))[0]
        return self._take(length)

    def _take(self, count: int) -> bytes:
        while len(self._data) < count:
            part = self.socket.recv(1 << 16)
            if not part:
                raise ConnectionResetError
            self._data += part
        taken = bytes(self._data[:count])
        del self._data[:count]
        self._header = taken
        return taken

    def close_code(self) -> int | None:
        """The code of the closing frame; None if the connection was cut before it could be read."""
        try:
            for opcode, payload in self.frames():
                if opcode == 8:
                    code: int = struct.unpack(">H", payload[:2])[0]
                    return code
        except ConnectionResetError:
            pass
        return None


def shout(world: World, number: int, filling: str = FILLING) -> None:
    """Not stored: only the way to the sockets is of interest."""
    position = bus.position(world.project.pk)
    assert position is not None
    text = f'{{"number":{number},"filling":"{filling}"}}'
    telling.tell_project(world.project.pk, position.epoch, 0, text)


def test_a_client_that_does_not_read_is_closed_and_the_others_never_notice(
    web: WebServer, connect: Connect, world: World
) -> None:
    client = connect(world.alice)
    with Sleeper(web, world.bob) as sleeper:
        sleeper.subscribe(projectId=world.project.pk)
        client.subscribe(projectId=world.project.pk)
        slowest = 0.0
        for number in range(MORE_THAN_FITS):
            shout(world, number)
            if number % 50 == 49:
                started = time.monotonic()
                assert [each["number"] for each in client.take(50)] == list(
                    range(number - 49, number + 1)
                )
                slowest = max(slowest, time.monotonic() - started)
        assert slowest < 1.0
        # Whoever doesn't even take the closing frame is cut off.
        assert sleeper.close_code() in (4408, None)
    assert memory_mb(web.process.pid) < 200


def memory_mb(pid: int) -> float:
    rss: int = psutil.Process(pid).memory_info().rss
    return rss / 1e6


def own_mb(pid: int) -> float:
    """Without the pages of SQLite's file, which it maps."""
    memory = psutil.Process(pid).memory_info()
    return float(memory.rss - memory.shared) / 1e6


def test_a_slow_client_that_reads_again_is_told_4408(
    web: WebServer, connect: Connect, world: World
) -> None:
    client = connect(world.alice)
    with Sleeper(web, world.bob) as sleeper:
        sleeper.subscribe(projectId=world.project.pk)
        client.subscribe(projectId=world.project.pk)
        reader = threading.Timer(0.0, lambda: codes.append(sleeper.close_code()))
        codes: list[int | None] = []
        for number in range(MORE_THAN_FITS):
            shout(world, number)
            client.next()
            if number == 1_900:
                reader.start()
        reader.join()
    assert codes == [4408]


def test_a_long_replay_waits_for_a_client_that_reads_slowly(web: WebServer, world: World) -> None:
    for _ in range(MORE_THAN_FITS):
        world.publish(FILLING)
    with Sleeper(web, world.bob) as sleeper:
        sleeper.subscribe(projectId=world.project.pk, since=0)
        time.sleep(1.0)
        world.publish()
        frames = sleeper.frames()
        assert json.loads(next(frames)[1])["type"] == "subscribed"
        heard = [json.loads(next(frames)[1])["seq"] for _ in range(MORE_THAN_FITS + 1)]
    assert heard == list(range(1, MORE_THAN_FITS + 2))


def test_a_long_transcript_is_sent_in_little_memory(
    web: WebServer, connect: Connect, world: World
) -> None:
    count = 12_000
    session = transcript_of(world, count)
    with connect(world.alice) as warm:
        warm.subscribe(projectId=world.project.pk)
    before = own_mb(web.process.pid)
    with Sleeper(web, world.bob) as sleeper:
        sleeper.subscribe(sessionId=session.pk)
        time.sleep(1.0)
        # Who comes meanwhile is not kept waiting.
        started = time.monotonic()
        with connect(world.alice) as other:
            other.subscribe(projectId=world.project.pk)
        assert time.monotonic() - started < 2
        frames = sleeper.frames()
        assert json.loads(next(frames)[1])["type"] == "subscribed"
        most = own_mb(web.process.pid)
        for number in range(count):
            opcode, payload = next(frames)
            assert opcode == 1
            assert f'"index":{number},'.encode() in payload
            if number % 5_000 == 0:
                most = max(most, own_mb(web.process.pid))
    assert most - before < 20


def test_long_events_are_replayed_in_little_memory(
    web: WebServer, connect: Connect, world: World
) -> None:
    longest, count = "x" * 400_000, 400
    for _ in range(count):
        world.publish(longest)
    with connect(world.alice) as warm:
        warm.subscribe(projectId=world.project.pk)
    before = most = own_mb(web.process.pid)
    with Sleeper(web, world.bob) as sleeper:
        sleeper.subscribe(projectId=world.project.pk, since=0)
        for _ in range(10):
            time.sleep(0.1)
            most = max(most, own_mb(web.process.pid))
        frames = sleeper.frames()
        assert json.loads(next(frames)[1])["type"] == "subscribed"
        heard = []
        for _ in range(count):
            heard.append(json.loads(next(frames)[1])["seq"])
            most = max(most, own_mb(web.process.pid))
    assert heard == list(range(1, count + 1))
    assert most - before < 40


def test_a_client_that_does_not_read_costs_little_memory_however_long_its_frames(
    web: WebServer, connect: Connect, world: World
) -> None:
    client = connect(world.alice)
    before = own_mb(web.process.pid)
    with Sleeper(web, world.bob) as sleeper:
        sleeper.subscribe(projectId=world.project.pk)
        client.subscribe(projectId=world.project.pk)
        for number in range(200):
            shout(world, number, filling="x" * 400_000)
            assert client.next()["number"] == number
        assert own_mb(web.process.pid) - before < 40
        assert sleeper.close_code() in (4408, None)


def transcript_of(world: World, count: int) -> AgentSession:
    project = world.project
    board = Board.objects.create(project=project, name="Board", position=0)
    column = Column.objects.create(
        project=project, board=board, name="Doing", column_type="active", position=0
    )
    card = Card.objects.create(project=project, column=column, position=0, title="Dig")
    session = AgentSession.objects.create(
        project_id=project.pk, card=card, next_index=count, next_rev=count + 1
    )
    now = timezone.now()
    AgentMessage.objects.bulk_create(
        (
            AgentMessage(
                session=session,
                index=number,
                rev=number + 1,
                role="assistant",
                type="text",
                content="x" * 300,
                created_at=now,
            )
            for number in range(count)
        ),
        batch_size=2_000,
    )
    return session
