from __future__ import annotations

import itertools

from tests.process.board import Board, Project


def test_watchers_of_a_project_see_what_its_agents_do_at_most_once_a_second(
    board: Board, project: Project
) -> None:
    with board.watch(project) as watch:
        card = board.work(project, "[lines 50/s for 2 s] [say done]")
        board.finish(card)
        seen = [
            (frame["data"], at)
            for frame, at in zip(watch.frames, watch.arrived, strict=True)
            if frame["type"] == "agent.activity"
        ]
    assert all(data["cardId"] == card.id and data["activity"] == "tool" for data, _ in seen[:-1])
    assert all(data["title"] for data, _ in seen if data["activity"] == "tool")
    assert 2 <= len(seen) <= 4
    assert all(later - earlier > 0.8 for (_, earlier), (_, later) in itertools.pairwise(seen))
    assert not any("seq" in frame for frame in watch.frames if frame["type"] == "agent.activity")
