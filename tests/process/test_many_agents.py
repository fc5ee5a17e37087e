"""What the load of `make bench` measures, small: here only that it is right."""

from __future__ import annotations

from pathlib import Path

from tests.bench.steady import Load
from tests.process.board import Board


def test_what_many_agents_say_at_once_is_stored_and_heard_in_order(
    board: Board, tmp_path: Path
) -> None:
    load = Load(board, tmp_path, agents=10, rate=20, phases=[5.0])
    with load.watched(sockets=2) as seen:
        assert load.run(seen).problems == []
    assert load.check_stored() == []
