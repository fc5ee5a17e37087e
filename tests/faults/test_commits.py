"""Connections to PostgreSQL cut exactly at a COMMIT: before it arrives, or before its answer comes back."""

from __future__ import annotations

import itertools
import random
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from tests.client import Form
from tests.faults.conftest import Servers
from tests.faults.proxy import CommitCutter, When
from tests.faults.rounds import FULL, ROUNDS, share
from tests.process.board import FINAL, Board, Card, board_in
from tests.process.server import until

LINES = 2_000
CUTS = 20


def final(board: Board, card: Card) -> bool:
    """Asked again when the question's own connection was cut."""
    status, answer = board.api.ask("GET", f"{card.url}/agent")
    return status == 200 and answer["data"]["status"] in FINAL


def behind(cutter: CommitCutter, servers: Servers) -> dict[str, str]:
    return {
        **servers.environment,
        "KANBAN_DATABASE_URL": servers.postgres.url(servers.database, cutter.port),
    }


@pytest.mark.parametrize(
    "cuts", [*([("before",), ("after",)] * (ROUNDS >= FULL)), ("before", "after")]
)
def test_lines_stored_over_a_connection_that_is_cut_at_commit_are_there_once_and_in_order(
    servers: Servers, tmp_path: Path, cuts: tuple[When, ...]
) -> None:
    stores, kinds = itertools.count(1), itertools.cycle(cuts)

    def decide(statements: bytes) -> When | None:
        if b"INSERT INTO agents_agentmessage" not in statements or len(cutter.cuts) >= CUTS:
            return None
        return next(kinds) if next(stores) % 4 == 0 else None

    with (
        CommitCutter(servers.postgres.port, decide) as cutter,
        board_in(tmp_path / "board", **behind(cutter, servers)) as board,
    ):
        card = board.work(board.make_project(), f"[lines {LINES // 16}/s for 16 s] [say end]")
        board.finish(card, timeout=90)
        messages = board.assert_gapless(card)
        assert len(cutter.cuts) == CUTS
        titles = [each["content"] for each in messages if each["type"] == "tool_call"]
        assert titles == [f"line {number}" for number in range(LINES)]
        assert len(messages) == LINES + 2  # the prompt and the last word
        assert len(board.prompts(card)) == 1


def test_a_request_whose_commit_was_not_answered_says_what_became_of_it(
    servers: Servers, tmp_path: Path
) -> None:
    cut: list[When | None] = [None]

    def decide(statements: bytes) -> When | None:
        return cut[0] if b"INSERT INTO cards_card (" in statements else None

    with (
        CommitCutter(servers.postgres.port, decide) as cutter,
        board_in(tmp_path / "board", **behind(cutter, servers)) as board,
    ):
        project = board.make_project()
        cases: list[tuple[When, int]] = [("after", 201), ("before", 503)]
        for when, expected in cases:
            cut[0] = when
            for number in range(share(20, least=3)):
                body = {"projectId": project.id, "title": f"{when} {number}", "prompt": "x"}
                status, answer = board.api.ask("POST", "/cards", body)
                assert (status, "data" in answer) == (expected, expected == 201), answer
        cut[0] = None
        titles = [card["title"] for card in board.api.get(f"/projects/{project.id}/cards")]
        assert sorted(titles) == sorted({t for t in titles if t.startswith("after")})
        assert len(titles) == share(20, least=3)
        assert len(cutter.cuts) == 2 * len(titles)


@contextmanager
def gone_at_commit(
    servers: Servers, tmp_path: Path, statement: bytes
) -> Iterator[tuple[CommitCutter, Board]]:
    """The database is out of reach once it has stored the first transaction with such a statement."""

    def decide(statements: bytes) -> When | None:
        if cutter.cuts or statement not in statements:
            return None
        cutter.closed = True
        return "after"

    with (
        CommitCutter(servers.postgres.port, decide) as cutter,
        board_in(tmp_path / "board", **behind(cutter, servers)) as board,
    ):
        yield cutter, board


def test_a_request_that_never_hears_what_became_of_its_commit_says_so(
    servers: Servers, tmp_path: Path
) -> None:
    with gone_at_commit(servers, tmp_path, b"INSERT INTO cards_card (") as (cutter, board):
        project = board.make_project()
        body = {"projectId": project.id, "title": "Dig", "prompt": "x", "externalId": "once"}
        status, answer = board.api.ask("POST", "/cards", body)
        assert (status, answer["error"]["code"]) == (503, "unavailable")
        assert "Look before you repeat it" in answer["error"]["message"]
        cutter.closed = False
        until(lambda: board.api.ask("GET", "/projects")[0] == 200, what="the database is back")
        titles = [card["title"] for card in board.api.get(f"/projects/{project.id}/cards")]
        assert titles == ["Dig"]
        assert board.api.post("/cards", body)["title"] == "Dig"
        assert len(board.api.get(f"/projects/{project.id}/cards")) == 1


def test_a_file_that_was_stored_outlives_a_request_that_never_hears_of_it(
    servers: Servers, tmp_path: Path
) -> None:
    with gone_at_commit(servers, tmp_path, b'UPDATE "cards_attachment"') as (cutter, board):
        url = f"{board.card(board.make_project(), 'x').url}/attachments"
        form = Form.with_file("the only copy")
        request = urllib.request.Request(
            f"http://127.0.0.1:{board.port}/api{url}",
            form,
            {"Content-Type": form.content_type, "Authorization": f"Bearer {board.api.token}"},
        )
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(request, timeout=30)
        with refused.value as answer:
            assert answer.code == 503
            assert "Look before you repeat it" in answer.read().decode()
        cutter.closed = False
        until(lambda: board.api.ask("GET", "/projects")[0] == 200, what="the database is back")
        (made,) = board.api.get(url)
        assert made["available"] is True
        status, content = board.api.ask("GET", f"/attachments/{made['id']}")
        assert (status, content) == (200, "the only copy")


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_stop_whose_commits_are_cut_is_no_crash_and_the_work_goes_on(
    servers: Servers, tmp_path: Path, when: When
) -> None:
    cutting = [False]
    turns = itertools.count()

    def decide(_statements: bytes) -> When | None:
        return when if cutting[0] and next(turns) % 2 == 0 else None

    with (
        CommitCutter(servers.postgres.port, decide) as cutter,
        board_in(tmp_path / "board", **behind(cutter, servers)) as board,
    ):
        card = board.work(board.make_project(), "[say one] [sleep 8] [say end]")
        board.wait_said(card, "one")
        cutting[0] = True
        board.stop()
        cutting[0] = False
        assert cutter.cuts
        board.start()
        session = board.finish(card, timeout=60)
        assert session["status"] == "completed", session
        assert board.assert_gapless(card)
        assert len(board.conversations(card)) == 1


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_commit_cut_while_resumes_are_lined_up_leaves_them_apart(
    servers: Servers, tmp_path: Path, when: When
) -> None:
    def decide(statements: bytes) -> When | None:
        told = b'"queueReason":"resuming_one_by_one"' in statements
        return when if told and not cutter.cuts else None

    with (
        CommitCutter(servers.postgres.port, decide) as cutter,
        board_in(tmp_path / "board", KANBAN_MAX_AGENTS="4", **behind(cutter, servers)) as board,
    ):
        project = board.make_project()
        cards = [board.work(project, "[resumable] [say one] [sleep 3] [say end]") for _ in range(4)]
        for deaths in (1, 2):
            for card in cards:
                board.wait_said(card, "one")
                until(
                    lambda card=card, deaths=deaths: len(board.prompts(card)) == deaths,
                    what="the prompt",
                )
            board.kill("worker")
        for card in cards:
            board.finish(card, timeout=60)
        assert cutter.cuts == [when]
        starts = sorted(
            datetime.fromisoformat(board.session(card)["startedAt"]).timestamp() for card in cards
        )
        assert all(later - earlier > 4 for earlier, later in itertools.pairwise(starts)), starts


def test_a_run_that_ends_too_slowly_for_a_stop_is_left_as_interrupted_to_the_next_worker(
    servers: Servers, tmp_path: Path
) -> None:
    stopping, began = [False], [0.0]

    def decide(_statements: bytes) -> When | None:
        """For longer than a run has to end itself, and shorter than the worker has to sign off."""
        if not stopping[0]:
            return None
        began[0] = began[0] or time.monotonic()
        return "before" if time.monotonic() - began[0] < 3.4 else None

    def ask(columns: str) -> tuple[Any, ...]:
        (row,) = servers.postgres.ask(servers.database, f"SELECT {columns}")
        return row

    with (
        CommitCutter(servers.postgres.port, decide) as cutter,
        board_in(tmp_path / "board", **behind(cutter, servers)) as board,
    ):
        card = board.work(board.make_project(), "[say one] [sleep 8] [say end]")
        board.wait_said(card, "one")
        stopping[0] = True
        board.stop()
        stopping[0] = False
        assert "sess_001 did not end in time" in board.log()
        assert ask("state, deaths FROM agents_agentsession") == ("interrupted", 0)
        # By it the next one finds what is to be swept.
        assert ask("COUNT(*) FROM runs_worker") == (1,)
        board.start()
        session = board.finish(card, timeout=60)
        assert session["status"] == "completed", session
        assert board.assert_gapless(card)
        assert ask("MAX(resumes) FROM agents_turn") == (0,)
        assert ask("COUNT(*) FROM runs_worker") == (1,)


def test_a_cut_at_any_commit_of_the_worker_changes_nothing_for_its_jobs(
    servers: Servers, tmp_path: Path
) -> None:
    dice, cutting = random.Random(9), [False]

    def decide(_statements: bytes) -> When | None:
        if not cutting[0] or dice.random() > 0.15:
            return None
        return dice.choice(("before", "after"))

    with (
        CommitCutter(servers.postgres.port, decide) as cutter,
        board_in(tmp_path / "board", KANBAN_MAX_AGENTS="4", **behind(cutter, servers)) as board,
    ):
        project = board.make_project()
        prompt = "[say one] [tool append log.txt a] [usage 7 3] [sleep 0.2] [say end]"
        cards = [board.card(project, prompt) for _ in range(share(80))]
        for card in cards:
            board.move(card)
        cutting[0] = True
        for card in cards:
            until(lambda card=card: final(board, card), timeout=120, what=f"{card.id}'s end")
        cutting[0] = False
        assert len(cutter.cuts) >= len(cards) / 2
        for card in cards:
            messages = board.assert_gapless(card)
            session = board.session(card)
            assert session["status"] == "completed", (session, messages)
            assert board.prompts(card) == [f"# A task\n\n{prompt}"]
            assert board.texts(card) == ["one", "end"]
            assert (board.worktree(card) / "log.txt").read_text().split() == ["a"]
            assert (session["inputTokens"], session["outputTokens"]) == (7, 3)
            assert board.get(card)["pendingApproval"] is True
        assert not board.notes("overlaps")
