"""One server for all tests that leave it as it was; those that kill or configure it start their own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.process.board import Board, Project, board_in

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.process)


@pytest.fixture(scope="session")
def board(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Board]:
    with board_in(tmp_path_factory.mktemp("board"), KANBAN_MAX_AGENTS="20") as running:
        yield running


@pytest.fixture
def project(board: Board) -> Project:
    """Its agent is the scripted one."""
    return board.make_project()
