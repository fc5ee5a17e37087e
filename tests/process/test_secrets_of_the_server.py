"""What lies about where scripts and agents can get at it, and is not to be shown to a project's members."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, urlsplit

import pytest

from tests.process.board import FAKE_AGENT, Board, board_in
from tests.process.test_scripts import Script

pytestmark = pytest.mark.both_databases

CLIENT = "client-secret-/of-the-operator"
CODE = "a-code-that-the-operator-chose"
PROXY = "http://board:the-proxys-p%40ssword@127.0.0.1:9"
PRESET = f"""
[ours]
name = "Ours"
command = {json.dumps(FAKE_AGENT)}
needs_credential = false
[ours.environment]
OUR_API_KEY = "a-key-of-the-operator"
OUR_LICENSE = "https://board:a-password-of-the-operator@license.example"
OUR_KEY_FILE = "/etc/ours.key"
OUR_MODE = "thorough"
"""


@pytest.fixture
def open_board(tmp_path: Path) -> Iterator[Board]:
    clients = {
        "openai": {
            "clientId": "board",
            "clientSecret": CLIENT,
            "authorizationUrl": "https://provider.example/authorize",
            "tokenUrl": "https://provider.example/token",
        }
    }
    with board_in(
        tmp_path,
        KANBAN_SANDBOX="off",
        KANBAN_OAUTH_CLIENTS=json.dumps(clients),
        KANBAN_SETUP_CODE=CODE,
        HTTPS_PROXY=PROXY,
        http_proxy=PROXY.removeprefix("http://"),
    ) as board:
        yield board


def keys_of(board: Board, project_id: str) -> list[str]:
    """Of the project and of one of its cards."""
    keys = ["sk-the-key-of-the-project", "sk-the-key-of-another-card"]
    ids = [
        board.api.post("/credentials", {"name": "k", "provider": "anthropic", "apiKey": key})["id"]
        for key in keys
    ]
    other = board.api.post("/cards", {"projectId": project_id, "title": "Other"})["id"]
    board.api.put(f"/projects/{project_id}/credential", {"credentialId": ids[0]})
    board.api.put(f"/projects/{project_id}/cards/{other}/credential", {"credentialId": ids[1]})
    return keys


def test_neither_a_script_nor_an_agent_shows_them(open_board: Board) -> None:
    board = open_board
    project = board.make_project()
    secret = (board.data / "secret_key").read_text().strip()
    hidden = [secret, CLIENT, quote(CLIENT, safe=""), CODE, *keys_of(board, project.id)]
    for name in ("KANBAN_DATABASE_URL", "KANBAN_REDIS_URL"):
        if password := urlsplit(board.environment.get(name, "")).password:
            hidden.append(password)
    left = board.data.parent / "left"
    left.write_text("".join(f"{value}\n" for value in hidden))
    masked = "****\n" * len(hidden)

    script = Script(board, project, f"cat {left}")
    script.run()
    assert script.wait("succeeded")["output"] == masked

    card = board.work(project, f"[tool run cat {left}]")
    board.finish(card)
    shown = json.dumps(board.messages(card))
    assert shown.count("****") == len(hidden)
    for value in hidden:
        assert value not in shown


def test_neither_shows_what_its_own_environment_holds_of_them(open_board: Board) -> None:
    board = open_board
    with (board.data / "presets.toml").open("a") as file:
        file.write(PRESET)
    project = board.make_project("ours")
    proxies = ["HTTPS_PROXY=http://board:****@127.0.0.1:9", "http_proxy=board:****@127.0.0.1:9"]

    script = Script(board, project, "env")
    script.run()
    printed = script.wait("succeeded")["output"].splitlines()
    assert set(proxies) <= set(printed)

    card = board.work(project, "[tool run env]")
    board.finish(card)
    [call] = [each["toolCall"] for each in board.messages(card) if each["toolCall"]]
    assert {
        *proxies,
        "OUR_API_KEY=****",
        "OUR_LICENSE=https://board:****@license.example",
        "OUR_KEY_FILE=/etc/ours.key",
        "OUR_MODE=thorough",
    } <= set(call["output"].splitlines())
