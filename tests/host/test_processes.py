from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import uvloop

from apps.host import privacy, processes
from apps.host.errors import SpawnFailed
from apps.host.proc import ProcessRef, alive
from apps.host.processes import spawn, terminate, terminate_group
from apps.host.sweeping import sweep
from tests.host.running import ENV, until


async def test_a_process_gets_the_given_environment_and_its_marker_only(
    tmp_path: Path, host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KANBAN_SECRET_KEY", "hidden")
    marker = f"{host}:sess_001.1"
    process = await spawn(["env"], cwd=tmp_path, env=ENV, marker=marker)
    assert process.stdout is not None
    output = (await process.stdout.read()).decode()
    assert await process.wait() == 0
    assert sorted(output.split()) == sorted([f"PATH={ENV['PATH']}", f"BOARD_RUN={marker}"])


async def test_processes_started_at_once_leave_the_threads_signals_blocked_as_they_were(
    tmp_path: Path, host: str
) -> None:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
    try:
        started = await asyncio.gather(
            *(
                spawn(["sleep", "60"], cwd=tmp_path, env=ENV, marker=f"{host}:sess_00{n}.1")
                for n in range(8)
            )
        )
        assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == {*before, signal.SIGUSR1}
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    for process in started:
        assert _blocked(process.pid) == 0
        await terminate(process, grace=0.1)


def _blocked(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("SigBlk:")[2].split()[0], 16)


async def test_a_process_leads_its_own_session_and_is_known_by_pid_and_start(
    tmp_path: Path, host: str
) -> None:
    process = await spawn(["sleep", "60"], cwd=tmp_path, env=ENV, marker=f"{host}:sess_001.1")
    assert os.getsid(process.pid) == process.pid
    assert alive(process.ref)
    assert not alive(ProcessRef(process.pid, process.ref.start_time + 1))
    assert await terminate(process) == -signal.SIGTERM
    assert not alive(process.ref)


async def test_signals_the_server_blocks_are_not_blocked_in_a_process(
    tmp_path: Path, host: str
) -> None:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGUSR1})
    try:
        process = await spawn(
            ["grep", "SigBlk", "/proc/self/status"],
            cwd=tmp_path,
            env=ENV,
            marker=f"{host}:sess_001.1",
        )
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    assert process.stdout is not None
    assert int((await process.stdout.read()).split()[1], 16) == 0
    await process.wait()


async def test_a_process_that_ignores_sigterm_is_killed_after_the_grace(
    tmp_path: Path, host: str
) -> None:
    process = await spawn(
        ["sh", "-c", "trap '' TERM; echo ready; while :; do sleep 0.05; done"],
        cwd=tmp_path,
        env=ENV,
        marker=f"{host}:sess_001.1",
    )
    assert process.stdout is not None
    await process.stdout.readline()
    began = time.monotonic()
    assert await terminate(process, grace=0.2) == -signal.SIGKILL
    assert time.monotonic() - began < 1.5


@contextlib.contextmanager
def unkillable(pid: int) -> Iterator[None]:
    """By another process: this one is the parent, and would be told of the trace instead of the end."""
    code = (
        "import sys\nfrom tests.faults.tracing import unkillable\n"
        "with unkillable(int(sys.argv[1])):\n  print('', flush=True)\n  sys.stdin.read()"
    )
    tracer = subprocess.Popen(
        [sys.executable, "-c", code, str(pid)],
        cwd=processes.INSTALL_DIR,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with tracer:
        assert tracer.stdout is not None
        assert tracer.stdout.readline()
        yield


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="made by ptrace")
@pytest.mark.parametrize("end", [terminate, terminate_group])
async def test_nobody_waits_for_ever_for_a_process_that_no_signal_ends(
    tmp_path: Path, host: str, monkeypatch: pytest.MonkeyPatch, end: Any
) -> None:
    monkeypatch.setattr(processes, "SWEEP_LIMIT_S", 0.3)
    process = await spawn(["sleep", "60"], cwd=tmp_path, env=ENV, marker=f"{host}:sess_001.1")
    with unkillable(process.pid):
        assert await asyncio.wait_for(end(process, 0.1), 3) == -signal.SIGKILL
        assert alive(process.ref)
    assert await asyncio.wait_for(process.wait(), 3) < 0


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="told apart by /proc")
@pytest.mark.parametrize("end", [terminate, terminate_group])
async def test_a_stranger_that_has_got_the_id_of_an_ended_process_is_left_alone(
    tmp_path: Path, host: str, end: Any
) -> None:
    process = await spawn(["true"], cwd=tmp_path, env=ENV, marker=f"{host}:sess_001.1")
    assert await process.wait() == 0
    stranger = subprocess.Popen(["sleep", "60"], start_new_session=True)
    try:
        process.pid = stranger.pid
        process.ref = ProcessRef(stranger.pid, process.ref.start_time - 1)
        assert await asyncio.wait_for(end(process, 0.1), 1) == 0
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


@pytest.mark.parametrize("end", [terminate, terminate_group])
async def test_what_an_ended_process_has_left_in_its_group_is_ended(
    tmp_path: Path, host: str, end: Any
) -> None:
    process = await spawn(
        ["sh", "-c", "sleep 60 & echo $!"], cwd=tmp_path, env=ENV, marker=f"{host}:sess_001.1"
    )
    assert process.stdout is not None
    child = int(await process.stdout.readline())
    assert await process.wait() == 0
    assert await asyncio.wait_for(end(process, 0.1), 1) == 0
    assert await until(lambda: not alive(ProcessRef(child, 0)))


async def test_a_missing_program_or_directory_is_said_in_a_sentence(
    tmp_path: Path, host: str
) -> None:
    with pytest.raises(SpawnFailed) as caught:
        await spawn(["no-such-agent"], cwd=tmp_path, env=ENV, marker=f"{host}:sess_001.1")
    assert caught.value.code == "program_missing"
    assert "no-such-agent" in caught.value.message
    with pytest.raises(SpawnFailed) as caught:
        await spawn(["env"], cwd=tmp_path / "gone", env=ENV, marker=f"{host}:sess_001.1")
    assert caught.value.code == "directory_missing"


def test_the_end_is_seen_on_the_servers_own_loop_though_a_pipe_stays_open(
    tmp_path: Path, host: str
) -> None:
    async def main() -> int:
        process = await spawn(
            ["sh", "-c", "sleep 30 & exit 3"], cwd=tmp_path, env=ENV, marker=f"{host}:sess_001.1"
        )
        return await asyncio.wait_for(process.wait(), 5)

    for factory in (None, uvloop.new_event_loop):
        with asyncio.Runner(loop_factory=factory) as runner:
            assert runner.run(main()) == 3
            assert sweep(f"{host}:") == []
            runner.run(asyncio.sleep(0.05))


@pytest.mark.parametrize("factory", [None, uvloop.new_event_loop])
def test_a_child_writes_with_the_umask_that_the_server_was_started_with(
    tmp_path: Path, host: str, monkeypatch: pytest.MonkeyPatch, factory: Any
) -> None:
    async def main() -> None:
        process = await spawn(
            ["sh", "-c", "umask >said"], cwd=tmp_path, env=ENV, marker=f"{host}:sess_001.1"
        )
        assert await asyncio.wait_for(process.wait(), 5) == 0

    monkeypatch.setattr(privacy, "_given", 0o017)
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(main())
        runner.run(asyncio.sleep(0.05))
    assert int((tmp_path / "said").read_text(), 8) == 0o017


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the kernel does it there alone")
async def test_a_process_dies_with_the_server(tmp_path: Path, host: str) -> None:
    code = textwrap.dedent(
        f"""
        import asyncio, pathlib, time
        from apps.host.processes import spawn
        async def main():
            process = await spawn(["sleep", "60"], cwd=pathlib.Path("/"), env={ENV!r},
                                  marker="{host}:sess_001.1")
            print(process.pid, process.ref.start_time, flush=True)
            time.sleep(60)
        asyncio.run(main())
        """
    )
    server = subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=processes.INSTALL_DIR,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert server.stdout is not None
    with contextlib.closing(server.stdout):
        pid, start = (int(part) for part in server.stdout.readline().split())
    # Until it has become the program it may not have asked for the signal yet: see `tied`.
    name = Path(f"/proc/{pid}/comm")
    assert await until(lambda: name.read_text() == "sleep\n")
    assert alive(ProcessRef(pid, start))
    server.kill()
    server.wait()
    assert await until(lambda: not alive(ProcessRef(pid, start)), 2)


async def test_our_own_agents_take_nothing_from_the_worktree(tmp_path: Path, host: str) -> None:
    (tmp_path / "apps").mkdir()
    for name in ("apps/__init__.py", "json.py", "runpy.py", "sitecustomize.py"):
        (tmp_path / name).write_text("raise SystemExit('taken from the worktree')\n")
    process = await spawn(
        [*processes.python_argv("json.tool"), "--help"],
        cwd=tmp_path,
        env=ENV,
        marker=f"{host}:sess_001.1",
    )
    assert process.stdout is not None
    assert b"usage:" in await process.stdout.read()
    assert await process.wait() == 0
    process = await spawn(
        processes.python_argv("apps.host.guard"), cwd=tmp_path, env=ENV, marker=f"{host}:s_1.1"
    )
    assert process.stderr is not None
    assert b"IndexError" in await process.stderr.read()
    await process.wait()
