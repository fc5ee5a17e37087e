from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from apps.host import proc, processes, sweeping
from apps.host.proc import alive
from apps.host.processes import kill_group, spawn, terminate
from apps.host.sweeping import sweep, sweep_run
from tests.host.running import ENV, grows, until

# Leaves the session, is nobody's child any more, and writes on; "bare" also empties its environment.
ESCAPE = textwrap.dedent(
    """
    import os, sys, time
    path, bare = sys.argv[1], sys.argv[2] == "bare"
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            loop = f"while :; do echo x >> {path}; sleep 0.02; done"
            os.execve("/bin/sh", ["sh", "-c", loop], {} if bare else dict(os.environ))
        if not bare:
            os._exit(0)
        time.sleep(60)
    time.sleep(60)
    """
)


@pytest.mark.parametrize("kind", ["marked", "bare"])
async def test_a_grandchild_that_left_the_session_is_swept(
    tmp_path: Path, host: str, kind: str
) -> None:
    log = tmp_path / "log"
    process = await spawn(
        [sys.executable, "-c", ESCAPE, str(log), kind],
        cwd=tmp_path,
        env=ENV,
        marker=f"{host}:sess_001.3",
    )
    assert await until(log.exists)
    if kind == "marked":
        kill_group(process.pid)
        await process.wait()
        assert grows(log)
    assert sweep_run(host, "sess_001") == []
    assert not grows(log)
    await process.wait()


async def test_a_sweep_means_one_run_and_never_its_namesake(tmp_path: Path, host: str) -> None:
    started = {
        wire: await spawn(["sleep", "60"], cwd=tmp_path, env=ENV, marker=f"{host}:{wire}")
        for wire in ("sess_1.1", "sess_1.2", "sess_1.3", "sess_10.1", "run_1.1")
    }

    def running() -> set[str]:
        return {wire for wire, process in started.items() if alive(process.ref)}

    assert sweep_run(host, "sess_1", fence=2) == []
    assert running() == {"sess_1.1", "sess_1.3", "sess_10.1", "run_1.1"}
    assert sweep_run(host, "sess_1", below_fence=3) == []
    assert running() == {"sess_1.3", "sess_10.1", "run_1.1"}
    assert sweep(f"{host}:sess_1.") == []
    assert running() == {"sess_10.1", "run_1.1"}
    with pytest.raises(ValueError, match="not a whole host or run"):
        sweep(f"{host}:sess_1")
    assert sweep(f"{host}:") == []
    assert running() == set()
    for process in started.values():
        await process.wait()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="markers are read from /proc")
async def test_a_sweep_finds_what_was_started_as_another_user_and_says_that_it_is_there(
    tmp_path: Path, host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = await spawn(["sleep", "60"], cwd=tmp_path, env=ENV, marker=f"{host}:sess_001.2")
    with monkeypatch.context() as patch:
        # Neither its environment nor its life is this user's.
        patch.setattr(sweeping, "environment", lambda _pid: b"")
        patch.setattr(os, "kill", lambda *_: (_ for _ in ()).throw(PermissionError))
        patch.setattr(sweeping, "SWEEP_LIMIT_S", 0.1)
        assert sweep_run(host, "sess_001", fence=2) == [process.pid]
        assert sweep_run(host, "sess_001", below_fence=2) == []
        assert sweep_run(host, "sess_0010") == []
    assert await terminate(process) == -signal.SIGTERM
    assert sweep_run(host, "sess_001") == []


async def test_a_sweep_spares_the_process_that_asks_for_it(tmp_path: Path, host: str) -> None:
    code = f"from apps.host.sweeping import sweep; print(sweep({host + ':'!r}))"
    process = await spawn(
        [sys.executable, "-c", code],
        cwd=processes.INSTALL_DIR,
        env=ENV,
        marker=f"{host}:sess_001.1",
    )
    assert process.stdout is not None
    assert (await process.stdout.read()).decode() == "[]\n"
    assert await process.wait() == 0


def test_a_sweep_that_finds_nothing_is_cheap() -> None:
    count = len([entry for entry in Path("/proc").iterdir() if entry.name.isdecimal()])
    took = []
    for _ in range(5):
        began = time.perf_counter()
        assert sweep_run("nobody", "sess_001") == []
        took.append(time.perf_counter() - began)
    assert min(took) < 0.01 * max(1, count / 100)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="markers are read from /proc")
def test_a_program_in_the_middle_of_exec_never_seems_to_have_no_environment(tmp_path: Path) -> None:
    """Its end is written after its start: 1 look in 8,500 finds both at the same place."""
    program = tmp_path / "again"
    program.write_text('#!/bin/sh\nexec "$0"\n')
    program.chmod(0o700)
    child = subprocess.Popen(
        [str(program)], env={"BOARD_RUN": "hexec:sess_001.1"}, start_new_session=True
    )
    try:
        time.sleep(0.002)
        until = time.monotonic() + 2
        while time.monotonic() < until:
            assert b"BOARD_RUN" in proc.environment(child.pid)
    finally:
        child.kill()
        child.wait()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="markers are read from /proc")
def test_a_program_without_an_environment_holds_up_no_sweep() -> None:
    child = subprocess.Popen(["/bin/sleep", "30"], env={}, start_new_session=True)
    try:
        time.sleep(0.1)
        began = time.perf_counter()
        assert proc.environment(child.pid) == b""
        assert time.perf_counter() - began < 0.03
    finally:
        child.kill()
        child.wait()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="markers are read from /proc")
def test_a_sweep_finds_what_is_in_the_middle_of_exec(tmp_path: Path) -> None:
    """For a moment such a process has no environment, as far as /proc can tell."""
    program = tmp_path / "again"
    program.write_text('#!/bin/sh\nexec "$0"\n')
    program.chmod(0o700)
    for number in range(60):
        child = subprocess.Popen(
            [str(program)], env={"BOARD_RUN": f"hexec:sess_001.{number}"}, start_new_session=True
        )
        try:
            time.sleep(0.002)
            assert sweep("hexec:") == []
            assert child.wait(1) == -signal.SIGKILL
        finally:
            child.kill()
            child.wait()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="markers are read from /proc")
@pytest.mark.parametrize("name", ["environ", "stat"])
def test_a_sweep_that_can_not_look_does_not_say_that_it_found_nothing(
    host: str, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    child = subprocess.Popen(
        ["/bin/sleep", "30"], env={"BOARD_RUN": f"{host}:sess_001.1"}, start_new_session=True
    )
    opened = os.open

    def without_descriptors(path: str, flags: int) -> int:
        """Other threads have taken the last one since the directory was read."""
        if path == f"/proc/{child.pid}/{name}":
            raise OSError(errno.EMFILE, "Too many open files")
        return opened(path, flags)

    try:
        with monkeypatch.context() as patch:
            patch.setattr(os, "open", without_descriptors)
            with pytest.raises(OSError, match="Too many open files"):
                sweep_run(host, "sess_001")
        assert sweep_run(host, "sess_001") == []
        assert child.wait(1) == -signal.SIGKILL
    finally:
        child.kill()
        child.wait()
