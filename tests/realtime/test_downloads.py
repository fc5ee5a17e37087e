"""Clients that take what they asked for slowly, or not at all."""

from __future__ import annotations

import http.client
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from itertools import product

import pytest

from tests.process.server import ROOT, until
from tests.realtime.downloads import LIMIT, PIECE, PIECES

pytestmark = pytest.mark.process

IDLE_S = 1.5
SIZE = len(PIECE) * PIECES
# What the kernel takes for a client that doesn't read (up to 4 MB), and what the server has in hand.
UNDER_WAY = 20
CASES = list(product(("/streamed", "/whole"), ("Connection: keep-alive", "Connection: close")))


@dataclass
class Web:
    kind: str
    port: int
    process: subprocess.Popen[bytes]


@contextmanager
def serving(kind: str, idle_s: float = IDLE_S) -> Iterator[Web]:
    with socket.socket() as listener:
        # So that the kernel doesn't take all of an answer for a client that reads none of it.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 16)
        listener.bind(("127.0.0.1", 0))
        listener.listen(100)
        descriptor = listener.fileno()
        arguments = ["-m", "tests.realtime.downloads", kind, str(descriptor), str(idle_s)]
        process = subprocess.Popen([sys.executable, *arguments], cwd=ROOT, pass_fds=[descriptor])
        try:
            yield Web(kind, listener.getsockname()[1], process)
        finally:
            process.kill()
            process.wait()


@pytest.fixture(scope="module", params=["daphne", "uvicorn"])
def web(request: pytest.FixtureRequest) -> Iterator[Web]:
    with serving(request.param) as running:
        yield running


def made_before(web: Web) -> int:
    """The same, once the downloads of those that have just gone are over."""
    count, again = -1, made(web)
    while count != again:
        time.sleep(0.5)
        count, again = again, made(web)
    return count


def asked(web: Web, path: str, *headers: str) -> socket.socket:
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 15)
    client.settimeout(20)
    client.connect(("127.0.0.1", web.port))
    lines = (f"GET {path} HTTP/1.1", "Host: localhost", *headers, "", "")
    client.sendall("\r\n".join(lines).encode())
    return client


def begun(client: socket.socket) -> None:
    head = b""
    while b"\r\n\r\n" not in head:
        head += client.recv(1)


def taken(client: socket.socket, *, seconds: float = 0.0) -> int:
    """How much of the answer's body came until the connection was closed, or all of it was there."""
    begun(client)
    found, began = 0, time.monotonic()
    while found < SIZE and (part := client.recv(1 << 16)):
        found += len(part)
        early = began + seconds * found / SIZE - time.monotonic()
        time.sleep(max(0.0, early))
    return found


def made(web: Web) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", web.port, timeout=10)
    connection.request("GET", "/made")
    count = int(connection.getresponse().read())
    connection.close()
    return count


def test_whoever_reads_slowly_gets_all_of_it(web: Web) -> None:
    with ExitStack() as stack, ThreadPoolExecutor() as threads:
        clients = [stack.enter_context(asked(web, *case)) for case in CASES]
        assert list(threads.map(slowly, clients)) == [SIZE] * len(CASES)


def test_whoever_reads_so_slowly_that_a_piece_takes_long_is_not_cut_off(web: Web) -> None:
    with ExitStack() as stack, ThreadPoolExecutor() as threads:
        clients = [stack.enter_context(asked(web, *case)) for case in CASES]
        assert list(threads.map(at_a_trickle, clients)) == [SIZE] * len(CASES)


def test_slow_downloads_keep_no_other_request_out(web: Web) -> None:
    with ExitStack() as stack:
        for _ in range(LIMIT):
            stack.enter_context(asked(web, "/streamed")).recv(1)
        made(web)


def slowly(client: socket.socket) -> int:
    return taken(client, seconds=4 * IDLE_S)


def at_a_trickle(client: socket.socket) -> int:
    """40 KB/s for as long as a piece takes at that, which is longer than a connection may be idle."""
    begun(client)
    found, end = 0, time.monotonic() + 5 * IDLE_S
    while time.monotonic() < end:
        found += len(client.recv(4_000))
        time.sleep(0.1)
    while found < SIZE and (part := client.recv(1 << 16)):
        found += len(part)
    return found


def test_no_more_is_read_of_a_file_than_its_client_takes(web: Web) -> None:
    before = made_before(web)
    with asked(web, "/streamed") as client:
        client.recv(1)
        time.sleep(0.3)
        assert made(web) - before <= UNDER_WAY
        assert taken(client) == SIZE
    assert made(web) - before == PIECES


def test_whoever_takes_nothing_is_cut_off(web: Web) -> None:
    with ExitStack() as stack:
        clients = [stack.enter_context(asked(web, *case)) for case in CASES]
        for client in clients:
            client.recv(1)
        time.sleep(4 * IDLE_S)
        for client in clients:
            with suppress(ConnectionResetError):
                assert taken(client) < SIZE


def test_an_idle_connection_is_closed(web: Web) -> None:
    with asked(web, "/made") as client:
        until(lambda: not client.recv(1 << 16), what="closed", timeout=10)


def test_a_request_that_was_sent_along_with_another_gets_its_answer_however_long_that_takes(
    web: Web,
) -> None:
    with asked(
        web, "/made", "", "GET /late HTTP/1.1", "Host: localhost", "Connection: close"
    ) as client:
        answers = b""
        while part := client.recv(1 << 16):
            answers += part
        assert answers.endswith(b"late")


@pytest.mark.parametrize("kind", ["daphne", "uvicorn"])
def test_a_server_that_is_stopped_waits_for_nobody_who_reads_slowly(kind: str) -> None:
    with serving(kind, idle_s=40.0) as web, asked(web, "/streamed") as client:
        client.recv(1)
        web.process.terminate()
        web.process.wait(10)
