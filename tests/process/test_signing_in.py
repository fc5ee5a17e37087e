"""The built-in agent with a token that somebody got by signing in."""

from __future__ import annotations

import http.client
import json
from pathlib import Path
from urllib.parse import parse_qs, urlencode, urlsplit

from tests.fakes.raw_server import RawServer, Send
from tests.fakes.raw_server import http as answer
from tests.process.board import Board, board_in
from tests.process.provider import Provider

SCRIPTS = [{"prompt": "\\[greet\\]", "steps": [{"say": [{"text": "Hello with the new token."}]}]}]
RENEWED = "renewed-token-of-the-provider"


def token_endpoint() -> RawServer:
    """The first token has a minute to live; a refresh token gets one with an hour."""

    def grant(send: Send) -> None:
        form = parse_qs(server.asked[-1].decode().partition("\r\n\r\n")[2])
        renewed = form["grant_type"] == ["refresh_token"]
        given = {
            "access_token": RENEWED if renewed else "first-token-of-the-provider",
            "token_type": "Bearer",
            "expires_in": 3600 if renewed else 60,
            "refresh_token": "refresh",
        }
        send(answer(200, json.dumps(given).encode()))

    server = RawServer(grant)
    return server


def sign_in(board: Board) -> str:
    """As a browser does it; the credential's id."""
    connection = http.client.HTTPConnection("127.0.0.1", board.port)
    connection.request(
        "POST",
        "/api/credentials/oauth/init",
        json.dumps({"provider": "openai-compatible"}),
        {"Authorization": f"Bearer {board.api.token}", "Content-Type": "application/json"},
    )
    response = connection.getresponse()
    made = json.load(response)["data"]
    cookie = str(response.getheader("Set-Cookie")).partition(";")[0]
    state = parse_qs(urlsplit(made["authorizationUrl"]).query)["state"][0]
    back = urlencode({"state": state, "code": "a-code"})
    connection.request("GET", f"/api/credentials/oauth/callback?{back}", headers={"Cookie": cookie})
    response = connection.getresponse()
    assert "oauth=authorized" in str(response.getheader("Location"))
    connection.close()
    return str(made["id"])


def test_an_agent_is_given_a_token_that_was_renewed_first(tmp_path: Path) -> None:
    with Provider(SCRIPTS, tmp_path, keys=[RENEWED]) as provider, token_endpoint() as endpoint:
        client = {
            "clientId": "board",
            "authorizationUrl": "https://login.example.org/authorize",
            "tokenUrl": f"{endpoint.url}/token",
            "baseUrl": f"{provider.url}/v1",
        }
        clients = json.dumps({"openai-compatible": client})
        with board_in(tmp_path / "board", KANBAN_OAUTH_CLIENTS=clients) as board:
            project = board.make_project(agent="builtin", model="gpt-5")
            credential = sign_in(board)
            card = board.card(project, "[greet]")
            board.api.put(f"{card.url}/credential", {"credentialId": credential})
            board.move(card)
            board.finish(card)
            assert board.texts(card) == ["Hello with the new token."]
            assert "-token-of-the-provider" not in board.log(10_000_000)
