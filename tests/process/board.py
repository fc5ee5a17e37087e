"""The whole product, as a person with a browser and a shell sees it."""

from __future__ import annotations

import contextlib
import itertools
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.process.client import Client
from tests.process.ground import servers_below
from tests.process.repository import make_repository
from tests.process.server import ROOT, Server
from tests.process.watch import Watch

PASSWORD = "correct horse battery"
FINAL = ("completed", "failed", "cancelled")
STEADY_AGENT = [sys.executable, "-S", "-E", str(ROOT / "tests" / "fakes" / "steady_agent.py")]
FAKE_AGENT = [sys.executable, "-S", "-E", str(ROOT / "tests" / "fakes" / "fake_agent.py")]


def presets() -> str:
    """`presets.toml` with the scripted agent in all its variants, each a preset of that name."""
    variants: dict[str, dict[str, Any]] = {
        "fake": {},
        "fake-resume": {"options": ["--resume"]},
        "dies": {"options": ["--die-at-start"]},
        "hangs": {"options": ["--hang-init"], "start_seconds": 1},
        "garbage": {"options": ["--garbage"], "start_seconds": 1},
        "silent": {"silence_seconds": 1.5},
        "forgetful": {"options": ["--unknown-session"]},
        "no-key": {"options": ["--auth-required"]},
        "kills-worker": {"command": ["/bin/sh", "-c", "kill -9 $PPID"]},
        "with-modes": {"modes": '{unattended = "unattended"}'},
        "absent": {"command": ["no-such-agent-program"]},
        "steady": {"command": STEADY_AGENT},
    }
    lines = []
    for name, extra in variants.items():
        command = extra.pop("command", FAKE_AGENT) + extra.pop("options", [])
        lines += [f"[{name}]", f'name = "{name.title()}"', f"command = {json.dumps(command)}"]
        extra.setdefault("modes", '{ ask = "ask", plan = "plan" }')
        lines += ["needs_credential = false", *(f"{key} = {value}" for key, value in extra.items())]
    return "\n".join(lines) + "\n"


@dataclass
class Project:
    """A project with its repository; columns by name."""

    id: str
    path: Path
    columns: dict[str, str]
    board_id: str


@dataclass
class Card:
    id: str
    project: Project

    @property
    def url(self) -> str:
        return f"/projects/{self.project.id}/cards/{self.id}"


class Board(Server):
    """`Server` with an account and words for what people do. `api` is alice, the first user."""

    def __init__(self, folder: Path, **environment: str) -> None:
        super().__init__(folder, **environment)
        self.data.mkdir(parents=True, mode=0o700)
        (self.data / "presets.toml").write_text(presets())
        self.api = Client(self.port)
        self._numbers = itertools.count(1)

    def setup(self) -> None:
        """The first account; it is super_admin."""
        made = self.api.post(
            "/auth/setup",
            {"email": "alice@example.com", "password": PASSWORD, "displayName": "Alice"},
        )
        self.api.token = made["token"]

    def start(self, *, timeout: float = 40.0) -> float:
        self.api.close()
        return super().start(timeout=timeout)

    def stop(self) -> None:
        self.api.close()
        super().stop()

    # Things

    def make_repository(self, files: dict[str, str] | None = None) -> Path:
        return make_repository(self.home / "code" / f"repo{next(self._numbers)}", files)

    def make_project(
        self, agent: str | None = "fake", path: Path | None = None, **settings: Any
    ) -> Project:
        """On a new repository unless a path is given; `settings` as in PATCH /projects/{id}."""
        path = path or self.make_repository()
        made = self.api.post("/projects", {"name": path.name, "path": str(path)})
        if agent is not None:
            settings["agent"] = agent
        if settings:
            self.api.patch(f"/projects/{made['id']}", settings)
        columns = self.api.get(f"/projects/{made['id']}/columns")
        names = {column["name"]: column["id"] for column in columns}
        return Project(made["id"], path, names, columns[0]["boardId"])

    def add_column(self, project: Project, name: str, kind: str, prompt: str | None = None) -> str:
        body = {"name": name, "columnType": kind, "boardId": project.board_id, "prompt": prompt}
        made: str = self.api.post(f"/projects/{project.id}/columns", body)["id"]
        project.columns[name] = made
        return made

    def card(self, project: Project, prompt: str, **fields: Any) -> Card:
        body = {"projectId": project.id, "title": "A task", "prompt": prompt, **fields}
        return Card(self.api.post("/cards", body)["id"], project)

    def move(self, card: Card, column: str = "In Progress", **fields: Any) -> Any:
        body = {"columnId": card.project.columns[column], **fields}
        return self.api.patch(f"{card.url}/move", body)

    def work(self, project: Project, prompt: str, **fields: Any) -> Card:
        """A new card, moved to the active column."""
        card = self.card(project, prompt, **fields)
        self.move(card)
        return card

    # What becomes of them

    def get(self, card: Card) -> Any:
        return self.api.get(card.url)

    def session(self, card: Card) -> Any:
        return self.api.get(f"{card.url}/agent")

    def wait_status(self, card: Card, *statuses: str, timeout: float = 20.0) -> Any:
        """Poll the card's current session until it has one of these; a final one that isn't fails at once."""
        deadline = time.monotonic() + timeout
        session = None
        while time.monotonic() < deadline:
            session = self.session(card)
            if session is not None:
                if session["status"] in statuses:
                    return session
                if session["status"] in FINAL:
                    break
            time.sleep(0.03)
        raise AssertionError(
            f"not {' or '.join(statuses)}: {session}\n"
            f"card: {self.get(card)}\nlast messages: {self.messages(card)[-4:]}\n{self.log(3000)}"
        )

    def finish(self, card: Card, *, timeout: float = 20.0) -> Any:
        return self.wait_status(card, "completed", timeout=timeout)

    def wait_said(self, card: Card, text: str, *, timeout: float = 15.0) -> None:
        """Until a message that no person wrote contains the text; fails at once when its session has failed.

        A prompt names what the agent is to say, and is there before the agent is.
        """
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            session = self.session(card)
            others = [each for each in self.messages(card) if each["role"] != "user"]
            if any(text in json.dumps(message) for message in others):
                return
            if session is not None and session["status"] == "failed":
                break
            time.sleep(0.05)
        raise AssertionError(f"{text!r} was not said: {self.messages(card)}\n{self.log(3000)}")

    def messages(self, card: Card, session_id: str | None = None) -> list[Any]:
        """All of one session (the newest unless named), oldest first, queued follow-ups last."""
        if session_id is None:
            session = self.session(card)
            if session is None:
                return []
            session_id = session["sessionId"]
        found: list[Any] = []
        bounds = f"sessionId={session_id}&limit=500"
        page = self.api.get(f"{card.url}/agent/messages?{bounds}")
        found = page["messages"]
        while page["hasMore"]:
            first = found[0]["index"]
            page = self.api.get(f"{card.url}/agent/messages?{bounds}&beforeIndex={first}")
            found = [each for each in page["messages"] if each["index"] is not None] + found
        return found

    def texts(self, card: Card, role: str = "assistant") -> list[str]:
        """What was said in that role, without thoughts, in the newest session."""
        return [
            message["content"]
            for message in self.messages(card)
            if message["role"] == role and message["type"] == "text"
        ]

    def assert_gapless(self, card: Card, session_id: str | None = None) -> list[Any]:
        """Every index from 0 on is there once; returns the messages."""
        messages = self.messages(card, session_id)
        sent = [each["index"] for each in messages if each["index"] is not None]
        assert sent == list(range(len(sent))), sent
        return messages

    def worktree(self, card: Card) -> Path:
        return self.data / "worktrees" / card.id

    def prompts(self, card: Card) -> list[str]:
        """What the scripted agent was sent for this card, as it arrived."""
        return [str(note["text"]) for note in self._received(card)]

    def conversations(self, card: Card) -> list[str]:
        """The agent's own sessions that the card's prompts went to, in their order, each once."""
        return list(dict.fromkeys(str(note["session"]) for note in self._received(card)))

    def _received(self, card: Card) -> list[dict[str, object]]:
        sessions = {each["sessionId"] for each in self.api.get(f"{card.url}/agent/sessions")}

        def of_card(note: dict[str, object]) -> bool:
            """A run is `<host id>:<session id>.<attempt>`."""
            return str(note["run"]).split(":")[-1].split(".")[0] in sessions

        return list(filter(of_card, self.notes("prompts")))

    def watch(self, project: Project | None = None) -> Watch:
        watch = Watch(self.port, self.api.token or "")
        if project is not None:
            watch.subscribe(projectId=project.id)
        return watch


@contextlib.contextmanager
def board_in(folder: Path, **environment: str) -> Iterator[Board]:
    """A board with its first account, running; stopped at the end, and nothing of it may be left."""
    with contextlib.ExitStack() as stack:
        if "KANBAN_DATABASE_URL" not in environment:
            environment |= stack.enter_context(servers_below(folder))
        board = Board(folder, **environment)
        stack.callback(board.stop)
        board.start()
        board.setup()
        yield board
