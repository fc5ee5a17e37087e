"""A TCP proxy before PostgreSQL that cuts a connection exactly at a COMMIT.

Cut before it, the server never hears of the COMMIT; cut after it, the transaction is stored and the client is
not told. A client can't tell the two apart.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Literal

from tests.process.server import free_port

When = Literal["before", "after"]

_PROTOCOL_3 = 3 << 16
_TRANSACTION_ENDS = (b"COMMIT\0", b"ROLLBACK\0")


class CommitCutter:
    """`decide` gets the statements of a transaction at its COMMIT and says when to cut, None for not at all.

    It is called in several threads, but never twice at once. While `closed`, nobody gets a new connection.
    """

    def __init__(self, target_port: int, decide: Callable[[bytes], When | None]) -> None:
        self.target_port = target_port
        self.decide = decide
        self.cuts: list[When] = []
        self.closed = False
        self.port = free_port()
        self._deciding = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", self.port))
        self._open: set[socket.socket] = set()
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> CommitCutter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        _end(self._listener)
        for each in list(self._open):
            _end(each)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                if self.closed:
                    _end(client)
                    continue
                try:
                    server = socket.create_connection(("127.0.0.1", self.target_port))
                except OSError:
                    _end(client)
                    continue
                link = _Link(self, client, server)
                self._open |= {client, server}
                for pump in (link.to_server, link.to_client):
                    threading.Thread(target=self._pump, args=[link, pump], daemon=True).start()

    def _pump(self, link: _Link, pump: Callable[[], None]) -> None:
        with contextlib.suppress(OSError):
            pump()
        for each in (link.client, link.server):
            _end(each)
            self._open.discard(each)

    def judge(self, statements: bytes) -> When | None:
        with self._deciding:
            when = self.decide(statements)
            if when is not None:
                self.cuts.append(when)
            return when


class _Link:
    """One connection; each direction has a thread, which ends both when it returns."""

    def __init__(self, owner: CommitCutter, client: socket.socket, server: socket.socket) -> None:
        self.owner = owner
        self.client = client
        self.server = server
        self.swallow = False

    def to_server(self) -> None:
        stream = self.client.makefile("rb")
        # Questions for encryption come first; neither they nor the start have a type.
        while True:
            head = stream.read(8)
            if len(head) < 8:
                return
            length, code = struct.unpack("!II", head)
            self.server.sendall(head + stream.read(length - 8))
            if code == _PROTOCOL_3:
                break
        statements = b""
        while True:
            head = stream.read(5)
            if len(head) < 5:
                return
            kind, length = struct.unpack("!cI", head)
            body = stream.read(length - 4)
            if kind in b"QP":
                statement = body if kind == b"Q" else body.partition(b"\0")[2]
                if statement.startswith(b"COMMIT\0"):
                    when = self.owner.judge(statements)
                    if when == "before":
                        return
                    self.swallow = when == "after"
                if statement.startswith(_TRANSACTION_ENDS):
                    statements = b""
                elif len(statements) < 1_000_000:
                    statements += statement
            self.server.sendall(head + body)

    def to_client(self) -> None:
        while data := self.server.recv(1 << 16):
            # The server's answer means that the commit is done.
            if self.swallow:
                return
            self.client.sendall(data)


def _end(each: socket.socket) -> None:
    with contextlib.suppress(OSError):
        each.shutdown(socket.SHUT_RDWR)
    each.close()
