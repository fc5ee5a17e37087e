"""The same application behind the other web server."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.process.board import Board, board_in
from tests.process.server import until
from tests.process.watch import Watch


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Board]:
    with board_in(tmp_path_factory.mktemp("uvicorn"), KANBAN_ASGI="uvicorn") as running:
        yield running


def test_the_job_is_done_and_watched_behind_uvicorn(board: Board) -> None:
    project = board.make_project()
    with board.watch(project) as watch:
        card = board.card(project, "[say hello] [tool write a.txt x] [sleep 0.3] [say done]")
        board.move(card)
        session = board.wait_status(card, "running", "completed")["sessionId"]
        watch.subscribe(sessionId=session, after=-1)
        watch.status(session, "completed")
        messages = board.assert_gapless(card)
        watch.wait(
            lambda frame: (
                frame["type"] == "agent.message" and frame["data"]["index"] == messages[-1]["index"]
            ),
            what="the last message",
        )
        assert sorted(watch.transcript(session)) == [each["index"] for each in messages]
    assert "+x" in board.api.get(f"{card.url}/diff")["diff"]


def test_a_socket_without_a_good_token_is_closed_with_4001(board: Board) -> None:
    for token in ("", "nonsense", f"{board.api.token}x"):
        with Watch(board.port, token) as watch:
            until(lambda watch=watch: watch.close_code is not None, what="the close")
            assert watch.close_code == 4001
