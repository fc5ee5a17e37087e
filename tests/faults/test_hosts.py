"""Several hosts, each with a data directory of its own, on one database."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from subprocess import Popen

from tests.faults.conftest import Servers
from tests.faults.crew import Crew, crew_in


def another_host(crew: Crew, there: Path) -> Popen[bytes]:
    there.mkdir()
    for name in ("presets.toml", "secret_key"):
        if (crew.data / name).exists():
            shutil.copy2(crew.data / name, there / name)
    return crew.add_worker(KANBAN_DATA_DIR=str(there))


def test_a_diff_comes_from_the_host_that_has_the_worktree(servers: Servers, tmp_path: Path) -> None:
    with crew_in(tmp_path / "crew", **servers.environment) as crew:
        [here] = crew.workers
        here.terminate()
        here.wait(15)
        there = tmp_path / "there"
        worker = another_host(crew, there)
        card = crew.work(crew.make_project(), "[tool write made.txt by-the-other-host]")
        crew.finish(card, timeout=40)
        assert (there / "worktrees" / card.id / "made.txt").exists()
        assert not crew.worktree(card).exists()

        assert "by-the-other-host" in crew.api.get(f"{card.url}/diff")["diff"]
        assert crew.api.refusal("DELETE", card.url).code == "worktree_dirty"

        servers.redis.freeze()
        began = time.monotonic()
        refused = crew.api.refusal("GET", f"{card.url}/diff")
        assert (refused.status, refused.code) == (503, "host_unavailable")
        assert time.monotonic() - began < 13
        servers.redis.thaw()

        worker.terminate()
        worker.wait(15)
        began = time.monotonic()
        refused = crew.api.refusal("GET", f"{card.url}/diff")
        assert (refused.status, refused.code) == (503, "host_unavailable")
        assert "Start a worker" in (refused.message or "")
        assert time.monotonic() - began < 13


def test_a_cards_next_step_runs_on_the_host_that_has_its_worktree(
    servers: Servers, tmp_path: Path
) -> None:
    with crew_in(tmp_path / "crew", KANBAN_MAX_AGENTS="1", **servers.environment) as crew:
        card = crew.work(crew.make_project(), "[tool run echo step >> made.txt]")
        crew.finish(card, timeout=40)
        other = crew.work(crew.make_project(), "[say one] [sleep 60]")
        crew.wait_said(other, "one")
        there = tmp_path / "there"
        another_host(crew, there)
        # This host has no place left, so the other one is up and takes what it may.
        crew.finish(crew.work(crew.make_project(), "[say two]"), timeout=40)
        crew.move(card, "Backlog")
        crew.move(card)
        time.sleep(5)
        assert crew.session(card)["status"] == "queued"
        crew.api.post(f"{other.url}/agent/cancel")
        crew.finish(card, timeout=40)
        assert (crew.worktree(card) / "made.txt").read_text() == "step\nstep\n"
        assert not (there / "worktrees" / card.id).exists()
