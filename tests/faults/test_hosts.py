"""Several hosts, each with a data directory of its own, on one database."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

from tests.faults.conftest import Servers
from tests.faults.crew import crew_in


def test_a_diff_comes_from_the_host_that_has_the_worktree(servers: Servers, tmp_path: Path) -> None:
    with crew_in(tmp_path / "crew", **servers.environment) as crew:
        [here] = crew.workers
        here.terminate()
        here.wait(15)
        there = tmp_path / "there"
        there.mkdir()
        for name in ("presets.toml", "secret_key"):
            if (crew.data / name).exists():
                shutil.copy2(crew.data / name, there / name)
        worker = crew.add_worker(KANBAN_DATA_DIR=str(there))
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
