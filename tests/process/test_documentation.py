"""What README.md and docs/api.md tell people to type is typed here."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.process.board import PASSWORD, Board, Project, board_in
from tests.process.provider import Provider, Script, store_key
from tests.process.server import ROOT, until

SCRIPTS: list[Script] = [
    {
        "prompt": "Write fixed\\.txt",
        "steps": [
            {"say": [{"do": "write_file", "path": "fixed.txt", "content": "A typo.\n"}]},
            {"say": [{"text": "It is written."}]},
        ],
    }
]

# Milliseconds of thought: time for a web process to die and another to come.
SLOW = {"first_delay_ms": 4_000}


def _blocks(path: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", (ROOT / path).read_text(), re.DOTALL | re.M)


def _ci_script(board: Board, project: Project) -> list[str]:
    """The lines of the README for a CI bot, as a command."""
    [lines] = [each for each in _blocks("README.md", "sh") if "build-4711" in each]
    for said, meant in (
        ("127.0.0.1:37100", f"127.0.0.1:{board.port}"),
        ("me@example.com", "alice@example.com"),
        ("a long password", PASSWORD),
        ("proj_001", project.id),
    ):
        assert said in lines
        lines = lines.replace(said, meant)
    return ["sh", "-u", "-c", lines]


def _project_with_key(board: Board, provider: Provider) -> Project:
    project = board.make_project(agent="builtin")
    credential = {"credentialId": store_key(board, provider)}
    board.api.put(f"/projects/{project.id}/credential", credential)
    return project


def test_a_ci_bot_lives_from_the_lines_in_the_readme(board: Board, tmp_path: Path) -> None:
    with Provider(SCRIPTS, tmp_path) as provider:
        command = _ci_script(board, _project_with_key(board, provider))
        done, again = (
            subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
            for _ in range(2)
        )
    assert re.match(r"card_\d+ is completed\n", done.stdout), done.stdout
    assert "+A typo." in done.stdout
    assert again.stdout == done.stdout


def test_the_ci_bot_waits_on_though_the_web_process_dies(tmp_path: Path) -> None:
    [script] = SCRIPTS
    slow = {**script, "steps": [{**step, "pace": SLOW} for step in script["steps"]]}
    with board_in(tmp_path / "board") as board, Provider([slow], tmp_path) as provider:
        project = _project_with_key(board, provider)
        bot = subprocess.Popen(
            _ci_script(board, project), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        cards = f"/projects/{project.id}/cards"

        def at_work() -> bool:
            return any(card["agentStatus"] == "running" for card in board.api.get(cards))

        until(at_work, what="the agent at work")
        web = board.pid("web")
        board.api.close()
        os.kill(web, signal.SIGKILL)
        board.wait_replaced("web", web)
        output, errors = bot.communicate(timeout=60)
    assert bot.returncode == 0, errors
    assert re.match(r"card_\d+ is completed\n", output), output
    assert "+A typo." in output


def test_the_ci_bot_says_why_its_card_has_not_started(board: Board) -> None:
    command = _ci_script(board, board.make_project(agent="builtin"))
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert re.fullmatch(r"card_\d+ is null\n", done.stdout), done.stdout
    assert "no_credential" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_ci_bot_fails_when_its_agent_failed(board: Board) -> None:
    command = _ci_script(board, board.make_project(agent="dies"))
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert re.fullmatch(r"card_\d+ is failed\n", done.stdout), done.stdout
    assert done.stderr.strip() not in ("", "null")


CLIENTS = {
    "python": [sys.executable],
    # Node 20 has sockets only if asked for them.
    "javascript": ["node", "--experimental-websocket", "--no-warnings"],
}
SUFFIXES = {"python": "py", "javascript": "mjs"}


@contextlib.contextmanager
def _follower(language: str, folder: Path, *arguments: str) -> Iterator[Path]:
    """The client of docs/api.md at work; where it writes to."""
    [text] = _blocks("docs/api.md", language)
    program, output = folder / f"client.{SUFFIXES[language]}", folder / "client.log"
    program.write_text(text)
    with output.open("wb") as log:
        process = subprocess.Popen(
            [*CLIENTS[language], str(program), *arguments], stdout=log, stderr=log
        )
    try:
        yield output
    finally:
        process.terminate()
        process.wait(5)


@pytest.mark.parametrize("language", CLIENTS)
def test_the_client_in_the_documentation_misses_nothing_though_the_server_dies(
    language: str, tmp_path: Path
) -> None:
    with board_in(tmp_path / "board") as board:
        project = board.make_project()
        socket = f"ws://127.0.0.1:{board.port}/api/ws"
        with _follower(language, tmp_path, socket, str(board.api.token), project.id) as output:

            def told() -> list[list[str]]:
                return [line.split() for line in output.read_text().splitlines()]

            until(lambda: bool(told()), what="subscribed")
            ids = [board.card(project, "x").id]
            web = board.pid("web")
            board.api.close()
            os.kill(web, signal.SIGKILL)
            until(lambda: board.pid("web") not in (0, web), what="another web process")
            board.wait_healthy()
            ids += [board.card(project, "x").id for _ in range(3)]
            board.terminate()
            # Longer than a client waits before it connects again: it finds nobody listening.
            time.sleep(2)
            board.start()
            ids += [board.card(project, "x").id for _ in range(2)]
            until(lambda: told()[-1][-1] == ids[-1], what="the last card", timeout=30)
            lines = told()
    assert lines[0][0] == "subscribed"
    seqs = [int(line[1]) for line in lines]
    assert seqs == list(range(seqs[0], seqs[0] + len(seqs)))
    assert [line[2] for line in lines if line[0] == "card.created"] == ids
