"""The guard as a process: what it ends when a child of the supervisor has gone, and when that has."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from apps.host.disk import try_flock
from apps.host.processes import INSTALL_DIR
from tests.process.server import until

pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="markers are read from /proc"),
]


@dataclass
class Guarded:
    """A guard, workers that are locks only, and processes that bear their names."""

    workers: Path
    host: str = field(default_factory=lambda: f"test{secrets.token_hex(6)}")
    started: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start(self) -> None:
        read, self.pipe = os.pipe()
        argv = [sys.executable, "-m", "apps.host.guard", str(read), self.host, str(self.workers)]
        self.started.append(subprocess.Popen(argv, cwd=INSTALL_DIR, pass_fds=(read,)))
        os.close(read)

    def worker(self) -> str:
        return f"w{secrets.token_hex(8)}"

    def process(self, *, worker: str | None, run: str | None = None) -> subprocess.Popen[bytes]:
        env = {"BOARD_RUN": run or f"{self.host}:sess_001.1"}
        if worker is not None:
            env["BOARD_WORKER"] = worker
        made = subprocess.Popen(["/bin/sleep", "600"], env=env, start_new_session=True)
        self.started.append(made)
        return made

    def tell_of_a_death(self) -> None:
        os.write(self.pipe, b"+1\n-1\n")

    def close(self) -> None:
        for process in self.started[1:]:
            process.kill()
            process.wait()
        os.close(self.pipe)
        self.started[0].wait(5)


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[Guarded]:
    made = Guarded(tmp_path)
    made.start()
    yield made
    made.close()


def test_when_a_worker_has_died_its_processes_end_and_those_of_others_go_on(
    guarded: Guarded,
) -> None:
    dead, living = guarded.worker(), guarded.worker()
    lock = try_flock(guarded.workers / living)
    # Its lock file stays behind, or is gone where another worker was quicker.
    (guarded.workers / dead).touch()
    left = [guarded.process(worker=dead), guarded.process(worker=guarded.worker())]
    others = [
        guarded.process(worker=living),
        guarded.process(worker=None),
        *(guarded.process(worker=name) for name in ("../" + dead, ".", "w" * 5_000)),
        guarded.process(worker=dead, run="hother:sess_001.1"),
    ]
    guarded.tell_of_a_death()
    for process in left:
        assert process.wait(2) == -signal.SIGKILL
    assert [process.poll() for process in others] == [None] * len(others)
    # The next death is heard of too.
    assert lock is not None
    lock.release()
    guarded.tell_of_a_death()
    assert others[0].wait(2) == -signal.SIGKILL
    assert [process.poll() for process in others[1:]] == [None] * len(others[1:])


def test_what_clears_up_after_a_worker_is_itself_soon_gone(guarded: Guarded) -> None:
    guarded.process(worker=guarded.worker())
    guarded.tell_of_a_death()
    assert guarded.started[1].wait(2) == -signal.SIGKILL
    children = Path(f"/proc/{guarded.started[0].pid}/task/{guarded.started[0].pid}/children")
    until(lambda: not children.read_text(), timeout=2, what="the end of the guard's helper")
