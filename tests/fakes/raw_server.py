"""A server that says exactly the bytes that a test wants, and remembers what it was asked."""

from __future__ import annotations

import contextlib
import re
import socket
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Protocol


class Send(Protocol):
    def __call__(self, data: bytes) -> None: ...


Behaviour = Callable[[Send], None]


def http(status: int, body: bytes, *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status} So", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


def says(*parts: bytes) -> Behaviour:
    def behave(send: Send) -> None:
        for part in parts:
            send(part)

    return behave


def _request(connection: socket.socket) -> bytes:
    with connection.makefile("rb") as stream:
        head = b""
        while line := stream.readline():
            head += line
            if line == b"\r\n":
                break
        length = re.search(rb"(?i)\r\ncontent-length: (\d+)", head)
        return head + (stream.read(int(length[1])) if length else b"")


class RawServer:
    """Use as a context manager. `closing` ends behaviours that wait or go on for ever.

    With `listens` False it takes connections and never reads from them.
    """

    def __init__(self, behaviour: Behaviour | None, *, listens: bool = True) -> None:
        self._behaviour = behaviour
        self._listens = listens
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._threads: list[threading.Thread] = []
        self.closing = threading.Event()
        self.asked: list[bytes] = []
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def __enter__(self) -> RawServer:
        self._start(self._accept)
        return self

    def _start(self, work: Callable[[], None]) -> None:
        thread = threading.Thread(target=work, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self._start(lambda found=connection: self._serve(found))  # type: ignore[misc]

    def _serve(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection:
            if self._listens:
                self.asked.append(_request(connection))
            if self._behaviour is None:
                self.closing.wait()
            else:
                self._behaviour(connection.sendall)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.closing.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(5)
