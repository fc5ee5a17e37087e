"""The main job with the built-in agent against a scripted model provider."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.process.board import Board, Project
from tests.process.provider import KEY, Provider, store_key
from tests.process.repository import git

SCRIPTS = [
    {
        "prompt": "\\[write\\]",
        "steps": [
            {
                "say": [
                    {"thinking": "A greeting is wanted."},
                    {"text": "I will write the file now."},
                    {"do": "write_file", "path": "hello.txt", "content": "hello from the model\n"},
                ]
            },
            {
                "say": [{"text": "Now the rest."}, {"do": "bash", "command": "echo ran > ran.txt"}],
            },
            {"say": [{"text": "Both files are written."}]},
        ],
    },
    {
        "prompt": "\\[escape\\]",
        "steps": [
            {"say": [{"do": "write_file", "path": "../../outside.txt", "content": "x\n"}]},
            {"say": [{"text": "It was refused."}]},
        ],
    },
    {
        "prompt": "\\[environment\\]",
        "steps": [
            {"say": [{"do": "bash", "command": "env > env.txt"}]},
            {"say": [{"text": "Written."}]},
        ],
    },
    {
        "prompt": "\\[leak\\]",
        "steps": [
            {
                "say": [
                    {"do": "bash", "command": "tr '\\0' '\\n' </proc/$PPID/environ | grep _API_KEY"}
                ]
            },
            {"say": [{"text": "Printed."}]},
        ],
    },
    {
        "prompt": "\\[refused\\]",
        "steps": [{"error": {"status": 401, "message": "invalid x-api-key"}}],
    },
    {
        "prompt": "\\[slow\\]",
        "steps": [
            {"say": [{"text": "I start."}, {"do": "bash", "command": "sleep 60 & sleep 61"}]},
            {"say": [{"text": "Never said."}]},
        ],
    },
]


@pytest.fixture(scope="module")
def provider(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Provider]:
    with Provider(SCRIPTS, tmp_path_factory.mktemp("provider")) as running:
        yield running


@pytest.fixture
def keyed(board: Board, provider: Provider) -> Project:
    """A project of the built-in agent with a key."""
    project = board.make_project(agent="builtin")
    board.api.put(
        f"/projects/{project.id}/credential", {"credentialId": store_key(board, provider)}
    )
    return project


def test_a_card_that_is_moved_to_an_active_column_is_worked_on_in_its_own_worktree(
    board: Board, keyed: Project
) -> None:
    project = keyed
    with board.watch(project) as watch:
        card = board.card(project, "[write] a greeting")
        board.move(card)
        moved = watch.wait(lambda frame: frame["type"] == "card.moved", what="card.moved")
        assert moved["data"]["id"] == card.id
        session = board.wait_status(card, "running", "completed")
        watch.subscribe(sessionId=session["sessionId"], after=-1)
        watch.status(session["sessionId"], "completed", timeout=30)

        messages = board.assert_gapless(card)
        watch.wait(
            lambda frame: (
                frame["type"] == "agent.message" and frame["data"]["index"] == messages[-1]["index"]
            ),
            what="the last message at the socket",
        )
        transcript = watch.transcript(session["sessionId"])
        seqs = watch.seqs()

    assert sorted(transcript) == [message["index"] for message in messages]
    assert [transcript[each["index"]]["content"] for each in messages] == [
        each["content"] for each in messages
    ]
    assert seqs == list(range(seqs[0], seqs[0] + len(seqs)))
    assert "I will write the file now." in board.texts(card)
    assert "Both files are written." in board.texts(card)
    assert any(message["type"] == "reasoning" for message in messages)
    calls = [message["toolCall"] for message in messages if message["type"] == "tool_call"]
    assert [call["status"] for call in calls] == ["completed", "completed"]

    diff = board.api.get(f"{card.url}/diff")
    assert "+hello from the model" in diff["diff"]
    assert diff["stats"] == {"filesChanged": 2, "insertions": 2, "deletions": 0}
    assert (board.worktree(card) / "ran.txt").read_text() == "ran\n"
    assert git(project.path, "status", "--porcelain") == ""
    assert not (project.path / "hello.txt").exists()
    assert board.get(card)["pendingApproval"] is True
    ended = board.session(card)
    assert ended["endedAt"] is not None
    assert ended["inputTokens"] > 0
    assert ended["outputTokens"] > 0


def test_without_a_key_the_card_is_deferred_and_starts_once_a_key_is_there(
    board: Board, provider: Provider
) -> None:
    project = board.make_project(agent=None)
    card = board.card(project, "[write] a greeting")
    moved = board.move(card)

    assert moved["deferred"] is True
    assert moved["deferredReason"]["code"] == "no_credential"
    assert "credential" in moved["deferredReason"]["message"]
    assert board.session(card) is None
    refused = board.api.refusal("POST", f"{card.url}/activate")
    assert refused.status == 409
    assert refused.code == "no_credential"

    key = store_key(board, provider)
    board.api.put(f"{card.url}/credential", {"credentialId": key})
    board.api.post(f"{card.url}/activate")
    board.finish(card, timeout=30)
    assert board.get(card)["deferred"] is False
    assert (board.worktree(card) / "hello.txt").exists()


def test_the_key_is_in_no_answer_and_not_in_the_log(board: Board, keyed: Project) -> None:
    card = board.work(keyed, "[write] a greeting")
    board.finish(card, timeout=30)
    key = "sk-ant-a-key-for-tests-0123456789"
    listed = board.api.get("/credentials")
    assert listed[0]["apiKey"] == "sk-ant-...****"
    assert key not in str(listed)
    assert key not in str(board.messages(card))
    assert key not in board.log(10_000_000)
    database = board.data / "kanban.sqlite3"
    assert key.encode() not in database.read_bytes()


def test_the_agents_shell_sees_neither_the_key_nor_the_servers_settings(
    board: Board, keyed: Project
) -> None:
    card = board.work(keyed, "[environment]")
    board.finish(card, timeout=30)
    seen = (board.worktree(card) / "env.txt").read_text()
    assert "sk-ant-a-key-for-tests-0123456789" not in seen
    assert "KANBAN_" not in seen
    assert "VIRTUAL_ENV" not in seen
    assert f"HOME={board.data}/homes/" in seen


def test_a_key_that_a_command_printed_is_stored_nowhere(board: Board, keyed: Project) -> None:
    card = board.work(keyed, "[leak]")
    board.finish(card)
    [call] = [each["toolCall"] for each in board.messages(card) if each["toolCall"]]
    assert "ANTHROPIC_API_KEY=****" in call["output"]
    stored = [path for path in (board.data / "homes").rglob("*.json") if path.is_file()]
    assert stored
    assert not [path for path in stored if KEY in path.read_text(errors="replace")]


def test_a_path_outside_the_worktree_is_refused_to_the_agent(board: Board, keyed: Project) -> None:
    card = board.work(keyed, "[escape]")
    board.finish(card, timeout=30)
    assert not (board.data / "outside.txt").exists()
    [call] = [each["toolCall"] for each in board.messages(card) if each["type"] == "tool_call"]
    assert call["status"] == "failed"


def test_a_key_that_the_provider_refuses_fails_the_session_with_a_sentence(
    board: Board, keyed: Project
) -> None:
    card = board.work(keyed, "[refused]")
    session = board.wait_status(card, "failed", timeout=30)
    assert session["error"]["code"] == "auth_failed"
    assert "key" in session["error"]["message"].lower()


def test_cancel_ends_the_builtin_agent_and_its_shells_children_within_two_seconds(
    board: Board, keyed: Project
) -> None:
    card = board.work(keyed, "[slow]")
    board.wait_status(card, "running", timeout=30)
    board.wait_said(card, "sleep 61", timeout=30)
    began = time.monotonic()
    board.api.post(f"{card.url}/agent/cancel")
    board.wait_status(card, "cancelled", timeout=5)
    while any("sleep" in " ".join(each.cmdline()) for each in board.agents()):
        assert time.monotonic() - began < 2.5
    assert time.monotonic() - began < 2.5


def test_the_agent_does_not_see_the_servers_own_modules_or_the_repositorys(
    board: Board, provider: Provider
) -> None:
    path = board.make_repository({"json.py": "raise SystemExit(9)\n", "apps/__init__.py": "boom\n"})
    project = board.make_project(agent="builtin", path=Path(path))
    board.api.put(
        f"/projects/{project.id}/credential", {"credentialId": store_key(board, provider)}
    )
    card = board.work(project, "[write]")
    board.finish(card, timeout=30)
