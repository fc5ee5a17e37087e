"""Whatever is sent in: a 4xx in the error format, never a 500, and no traceback in the log."""

from __future__ import annotations

import http.client
import json
from typing import Any

import pytest
from websockets.sync.client import connect

from tests.process.board import Board, Project

BODIES: list[bytes] = [
    b"{",
    b"[]",
    b"null",
    b'"text"',
    b"12",
    b"\xff\xfe\x00",
    b'{"title": "\\ud800"}',
    b'{"title": "a\\u0000b"}',
    b"[" * 5_000,
    b'{"projectId": 99999999999999999999, "title": "x"}',
    b'{"projectId": "proj_99999999999999999999", "title": "x"}',
    b'{"projectId": {"a": 1}, "title": ["x"], "columnId": [], "prompt": 5, "name": {}, "path": []}',
    b'{"columnId": "col_99999999999999999999", "position": 1e400, "enabled": "maybe", "content": 3}',
    json.dumps({"title": "t" * 100_000, "name": "n" * 100_000, "content": "c" * 200_000}).encode(),
]


def ask(board: Board, method: str, path: str, body: bytes) -> tuple[int, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", board.port, timeout=20)
    try:
        connection.request(
            method,
            path,
            body=body,
            headers={
                "Content-Type": "application/json",
                "Authorization": f"Bearer {board.api.token}",
            },
        )
        response = connection.getresponse()
        text = response.read()
        return response.status, json.loads(text) if text else None
    finally:
        connection.close()


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/api/projects"),
        ("PATCH", "/api/projects/{project}"),
        ("PATCH", "/api/projects/reorder"),
        ("POST", "/api/projects/{project}/boards"),
        ("POST", "/api/projects/{project}/columns"),
        ("PATCH", "/api/projects/{project}/columns/reorder"),
        ("POST", "/api/cards"),
        ("PATCH", "/api/projects/{project}/cards/{card}"),
        ("PATCH", "/api/projects/{project}/cards/{card}/move"),
        ("PATCH", "/api/projects/{project}/cards/{card}/auto-mode"),
        ("PUT", "/api/projects/{project}/cards/{card}/credential"),
        ("POST", "/api/projects/{project}/cards/{card}/agent/message"),
        ("POST", "/api/credentials"),
        ("POST", "/api/auth/login"),
        ("POST", "/api/auth/change-password"),
    ],
)
def test_a_bad_body_is_refused_in_the_error_format(
    board: Board, project: Project, method: str, path: str
) -> None:
    card = board.card(project, "x")
    before = len(board.log(100_000_000))
    url = path.format(project=project.id, card=card.id)
    for body in BODIES:
        status, answer = ask(board, method, url, body)
        # Unknown fields are ignored, so a PATCH that holds nothing else changes nothing.
        assert status < 500, (status, body[:80], answer, board.log(2_000))
        if status >= 400:
            assert set(answer) == {"error"}
            assert answer["error"]["code"]
            assert answer["error"]["message"]
    assert "Traceback" not in board.log(100_000_000)[before:]


@pytest.mark.parametrize(
    "path",
    [
        "/projects/99999999999999999999",
        "/projects/proj_99999999999999999999/cards",
        "/projects/proj_9223372036854775808",
        "/projects/{project}/cards/card_99999999999999999999",
        "/projects/{project}/cards/card_999999",
        "/projects/{project}/cards/card_001%2f..%2f..",
        "/projects/-1/cards",
        "/cards/card_999999",
        "/nothing/of/the/kind",
    ],
)
def test_an_id_that_is_nobodys_is_a_404(board: Board, project: Project, path: str) -> None:
    refused = board.api.refusal("GET", path.format(project=project.id))
    assert refused.status == 404
    assert refused.code


@pytest.mark.parametrize("path", ["/projects/%00", "/%ff%fe"])
def test_a_badly_encoded_address_is_a_400(board: Board, path: str) -> None:
    assert board.api.refusal("GET", path).status == 400


def test_other_peoples_things_look_missing(board: Board, project: Project) -> None:
    card = board.card(project, "secret")
    made = board.api.post(
        "/auth/register",
        {"email": "charlie@example.com", "password": "a long enough one", "displayName": "Charlie"},
    )
    alice, board.api.token = board.api.token, made["token"]
    try:
        for method, path in (
            ("GET", f"/projects/{project.id}"),
            ("GET", card.url),
            ("GET", f"/cards/{card.id}"),
            ("GET", f"{card.url}/agent/messages"),
            ("GET", f"{card.url}/diff"),
            ("DELETE", card.url),
            ("POST", f"{card.url}/agent/cancel"),
        ):
            assert board.api.refusal(method, path).status == 404, path
    finally:
        board.api.token = alice


def test_bad_frames_are_answered_and_close_nothing(board: Board, project: Project) -> None:
    url = f"ws://127.0.0.1:{board.port}/api/ws?token={board.api.token}"
    with connect(url) as socket:
        for frame in (
            "{",
            "[]",
            "null",
            '{"type": 5}',
            '{"type": "dance"}',
            '{"type": "subscribe"}',
            '{"type": "subscribe", "payload": {"projectId": "proj_99999999999999999999"}}',
            '{"type": "subscribe", "payload": {"projectId": "proj_999999"}}',
            '{"type": "subscribe", "payload": {"sessionId": "sess_999999", "after": "x"}}',
            '{"type": "subscribe", "payload": {"projectId": 1, "since": "a:b:c"}}',
            "x" * 70_000,
            b"\x00\xff",
        ):
            socket.send(frame)
            answer = json.loads(socket.recv(timeout=5))
            assert answer["type"] in ("error", "subscribed", "resync"), (frame, answer)
        socket.send(json.dumps({"type": "subscribe", "payload": {"projectId": project.id}}))
        while json.loads(socket.recv(timeout=5)).get("data", {}).get("projectId") != project.id:
            pass


def test_a_foreign_host_or_origin_is_turned_away(board: Board) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", board.port, timeout=5)
    try:
        connection.request("GET", "/api/health", headers={"Host": "evil.example"})
        response = connection.getresponse()
        assert response.status == 400
        response.read()
        connection.request(
            "POST", "/api/auth/login", body=b"{}", headers={"Origin": "http://evil.example"}
        )
        response = connection.getresponse()
        assert response.status in (400, 403)
        response.read()
    finally:
        connection.close()
