"""Bodies that nobody takes are refused before they have arrived, whatever the server."""

from __future__ import annotations

import contextlib
import http.client
import json
import select
import socket

import pytest

from kanban_agents.servers import LARGEST_BODY
from tests.realtime.processes import WebServer

pytestmark = pytest.mark.process

HEAD = b"POST /api/auth/login HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"


def test_a_body_that_is_announced_too_large_is_refused_unread(web: WebServer) -> None:
    with socket.create_connection(("127.0.0.1", web.port), timeout=10) as connection:
        connection.sendall(HEAD + b"Content-Length: 1000000000\r\n\r\n{")
        answer = b""
        while b"}}" not in answer and (part := connection.recv(4096)):
            answer += part
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"The body may have 2.5 MB at most." in answer


@pytest.mark.parametrize("path", [b"/api/projects/import", b"/api/projects/import?a=1"])
def test_a_project_to_import_may_be_larger_than_anything_else(web: WebServer, path: bytes) -> None:
    """It is read, and refused only for want of a token."""
    head = HEAD.replace(b"/api/auth/login", path)
    with socket.create_connection(("127.0.0.1", web.port), timeout=60) as connection:
        connection.sendall(head + b"Content-Length: 60000000\r\n\r\n")
        for _ in range(60):
            connection.sendall(b"x" * 1_000_000)
        answer = connection.recv(4096)
    assert answer.startswith(b"HTTP/1.1 401 ")
    with socket.create_connection(("127.0.0.1", web.port), timeout=10) as connection:
        connection.sendall(head + b"Content-Length: 210000000\r\n\r\n{")
        answer = connection.recv(4096)
    assert answer.startswith(b"HTTP/1.1 413 ")


def test_a_body_without_an_end_is_refused_on_its_way(web: WebServer) -> None:
    chunk = b"10000\r\n" + b"x" * 65_536 + b"\r\n"
    sent = 0
    with socket.create_connection(("127.0.0.1", web.port), timeout=10) as connection:
        connection.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
        with contextlib.suppress(ConnectionError):
            while not select.select([connection], [], [], 0)[0] and sent < 4 * LARGEST_BODY:
                connection.sendall(chunk)
                sent += 65_536
            assert connection.recv(4096).startswith(b"HTTP/1.1 413 ")
    # What the kernel still took counts as well.
    assert sent < 2 * LARGEST_BODY


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        ("multipart/form-data", 415),
        ("multipart/form-data; boundary=b", 415),
        ("application/x-www-form-urlencoded", 415),
        ("application/json", 400),
    ],
)
def test_a_broken_body_is_answered_in_json_whatever_it_claims_to_be(
    web: WebServer, kind: str, status: int
) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", web.port, timeout=10)
    with contextlib.closing(connection):
        connection.request("POST", "/api/auth/login", b"x", {"Content-Type": kind})
        answer = connection.getresponse()
        body = answer.read()
    assert (answer.status, answer.headers["Content-Type"]) == (status, "application/json"), body
    assert json.loads(body)["error"]["message"]
