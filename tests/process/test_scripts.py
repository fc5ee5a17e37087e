"""Scripts in a real worker: what they print, how they end, and what is left of them."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.process.board import Board, Project, board_in
from tests.process.server import until

pytestmark = pytest.mark.both_databases

KEPT = 65_536


class Script:
    def __init__(self, board: Board, project: Project, command: str) -> None:
        self.board, self.project = board, project
        self.scripts = f"/projects/{project.id}/scripts"
        made = board.api.post(self.scripts, {"name": "Script", "command": command})
        self.id: str = made["id"]
        self.url = f"{self.scripts}/{self.id}"

    def run(self) -> Any:
        return self.board.api.post(f"{self.url}/run")

    def cancel(self) -> Any:
        return self.board.api.post(f"{self.url}/cancel")

    def status(self) -> Any:
        entries = self.board.api.get(f"{self.scripts}/status")
        (found,) = [each for each in entries if each["scriptId"] == self.id]
        return found

    def wait(self, *statuses: str, timeout: float = 20.0) -> Any:
        """A status other than `running` that isn't wanted ends the wait."""
        deadline = time.monotonic() + timeout
        while (found := self.status())["status"] not in statuses:
            if found["status"] != "running" or time.monotonic() > deadline:
                raise AssertionError(f"not {statuses}: {found}\n{self.board.log(3000)}")
            time.sleep(0.03)
        return found

    def wait_printed(self, text: str, *, timeout: float = 15.0) -> None:
        until(lambda: text in self.status()["output"], timeout=timeout, what=f"{text!r} printed")


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Board]:
    """A board of the test's own, whose processes it may kill."""
    with board_in(tmp_path) as board:
        yield board


def processes_with(text: str) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        try:
            if text in " ".join(process.cmdline()) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.Error:
            continue
    return [process for process in found if process.pid != os.getpid()]


def test_a_script_runs_in_the_projects_directory_and_its_end_is_told(
    board: Board, project: Project
) -> None:
    script = Script(board, project, "pwd; echo to stderr >&2; echo $((6 * 7))")
    assert script.status() == {
        "scriptId": script.id,
        "runId": None,
        "status": "idle",
        "startedAt": None,
        "finishedAt": None,
        "exitCode": None,
        "statusText": None,
        "error": None,
        "startedBy": None,
        "output": "",
    }
    with board.watch(project) as watch:
        started = script.run()
        assert (started["status"], started["exitCode"]) == ("running", None)
        assert started["runId"].startswith("run_")
        done = script.wait("succeeded")
        assert done["output"] == f"{project.path}\nto stderr\n42\n"
        assert (done["exitCode"], done["error"]) == (0, None)
        assert done["startedAt"] <= done["finishedAt"]
        told = watch.wait(
            lambda frame: (
                frame["type"] == "script.status" and frame["data"]["status"] == "succeeded"
            )
        )
    # Its output goes only to those who follow the run.
    assert told["data"] == {
        **{name: value for name, value in done.items() if name != "output"},
        "projectId": project.id,
    }


@pytest.mark.parametrize(
    ("command", "code", "said"),
    [
        ("echo oops; exit 3", 3, "exit code 3"),
        ("no-such-program", 127, "exit code 127"),
        ("if", 2, "exit code 2"),
        ("kill -9 $$", 137, "signal 9"),
    ],
)
def test_a_script_that_fails_says_how(
    board: Board, project: Project, command: str, code: int, said: str
) -> None:
    script = Script(board, project, command)
    script.run()
    ended = script.wait("failed")
    assert ended["exitCode"] == code
    assert said in ended["error"]["message"]
    assert ended["statusText"] == ended["error"]["message"]


def test_a_project_whose_directory_is_gone_says_so(board: Board) -> None:
    project = board.make_project()
    script = Script(board, project, "true")
    project.path.rename(project.path.with_name("elsewhere"))
    script.run()
    ended = script.wait("failed")
    assert ended["error"]["code"] == "directory_missing"
    assert str(project.path) in ended["error"]["message"]
    assert ended["exitCode"] is None


def test_a_script_does_not_run_where_a_link_leads_that_replaced_the_directory(
    board: Board, tmp_path: Path
) -> None:
    project = board.make_project()
    script = Script(board, project, "pwd")
    project.path.rename(project.path.with_name("aside"))
    project.path.symlink_to(tmp_path)
    script.run()
    ended = script.wait("failed")
    assert ended["error"]["code"] == "project_path_moved"
    assert ended["output"] == ""


def test_output_comes_live_to_whoever_follows_the_run_and_to_nobody_else(
    board: Board, project: Project
) -> None:
    go = project.path / "go"
    script = Script(
        board, project, f"echo first; until [ -e {go} ]; do sleep 0.05; done; echo second"
    )
    with board.watch(project) as other, board.watch() as watch:
        run_id = script.run()["runId"]
        answer = watch.subscribe(runId=run_id, after=-1)
        assert answer["type"] == "subscribed"
        assert answer["data"].keys() == {"runId", "index", "rev"}
        first = watch.wait(lambda frame: frame["type"] == "script.output")["data"]
        assert (first["runId"], first["index"]) == (run_id, 0)
        assert (first["content"], first["truncated"]) == ("first\n", False)
        go.touch()
        watch.wait(lambda frame: "second" in str(frame))
        script.wait("succeeded")
        with board.watch() as late:
            late.subscribe(runId=run_id, after=0)
            late.wait(lambda frame: "second" in str(frame))
            assert "first" not in str(late.frames)
        assert "script.output" not in {frame["type"] for frame in other.frames}
    assert script.status()["output"] == "first\nsecond\n"


def test_of_two_starts_at_once_one_runs_and_the_other_is_refused(
    board: Board, project: Project
) -> None:
    script = Script(board, project, "echo x >> starts; sleep 30")
    script.run()
    refused = board.api.refusal("POST", f"{script.url}/run")
    assert (refused.status, refused.code) == (409, "already_running")
    until((project.path / "starts").exists, what="its start")
    script.cancel()
    script.wait("cancelled")
    assert (project.path / "starts").read_text() == "x\n"
    refused = board.api.refusal("POST", f"{script.url}/cancel")
    assert (refused.status, refused.code) == (409, "not_running")


def test_a_cancelled_script_may_tidy_up_and_takes_detached_grandchildren_with_it(
    board: Board, project: Project
) -> None:
    tick = "while :; do echo x >> {0}; sleep 0.05; done"
    command = (
        f"setsid sh -c '{tick.format('detached')}' & "
        f"sh -c 'trap \"echo tidy > tidied; exit\" TERM; {tick.format('child')}' & "
        "echo up; wait"
    )
    script = Script(board, project, command)
    script.run()
    script.wait_printed("up")
    detached = project.path / "detached"
    until(detached.exists, what="the grandchild")
    until((project.path / "child").exists, what="the child")
    answer = script.cancel()
    assert answer["status"] == "running"
    assert "stopped" in answer["statusText"]
    assert script.wait("cancelled")["finishedAt"]
    assert (project.path / "tidied").read_text() == "tidy\n"
    size = detached.stat().st_size
    time.sleep(0.3)
    assert detached.stat().st_size == size


def test_a_script_that_ignores_its_end_is_killed_after_five_seconds(
    board: Board, project: Project
) -> None:
    script = Script(board, project, "trap '' TERM; echo up; while :; do sleep 0.1; done")
    script.run()
    script.wait_printed("up")
    began = time.monotonic()
    script.cancel()
    ended = script.wait("cancelled")
    assert 4.5 < time.monotonic() - began < 9
    assert ended["exitCode"] == 137


def test_what_a_script_leaves_in_the_background_ends_with_it(
    board: Board, project: Project
) -> None:
    script = Script(board, project, "sleep 7654321 & setsid sleep 7654321 & echo done")
    script.run()
    assert script.wait("succeeded")["output"] == "done\n"
    assert processes_with("sleep 7654321") == []


def test_a_flood_of_output_costs_no_memory_and_its_end_is_kept(
    board: Board, project: Project
) -> None:
    """50 MB of lines; the worker may not grow by more than a fraction of them."""
    lines = 50_000_000 // 1_000
    command = f"""awk 'BEGIN {{ for (i = 1; i <= {lines}; i++) printf "%0999d\\n", i }}'"""
    worker = psutil.Process(board.pid("worker"))
    before = worker.memory_info().rss
    script = Script(board, project, command)
    with board.watch() as watch:
        run_id = script.run()["runId"]
        watch.subscribe(runId=run_id, after=-1)
        most = before
        while script.status()["status"] == "running":
            most = max(most, worker.memory_info().rss)
            time.sleep(0.05)
        ended = script.wait("succeeded")
        watch.wait(lambda frame: f"{lines:0999d}" in str(frame), what="the last line")
        pieces = [frame["data"] for frame in watch.frames if frame["type"] == "script.output"]
    assert len(ended["output"]) == KEPT
    assert ended["output"].endswith(f"{lines:0999d}\n")
    assert most - before < 25_000_000
    assert any(piece["truncated"] for piece in pieces)
    assert all(len(piece["content"]) <= KEPT for piece in pieces)
    assert [piece["index"] for piece in pieces] == sorted(piece["index"] for piece in pieces)


def test_garbage_bytes_become_text_that_can_be_stored(board: Board, project: Project) -> None:
    command = r"printf 'a\000b\377c\355\240\200 \342\202'; sleep 0.3; printf '\254 \303'"
    script = Script(board, project, command)
    script.run()
    output = script.wait("succeeded")["output"]
    bad = "\ufffd"
    assert output == f"a{bad}b{bad}c{bad * 3} \u20ac {bad}"


def test_a_script_gets_no_secrets_and_none_that_it_finds_is_shown(tmp_path: Path) -> None:
    key = "sk-ant-server-key-of-the-test"
    environment = {
        "KANBAN_SECRET_KEY": "the-servers-very-own-secret-key-of-this-test-0123456789",
        "ANTHROPIC_API_KEY": key,
        "DJANGO_SOMETHING": "django-something",
        "SSH_AUTH_SOCK": "/tmp/agent.sock",
    }
    with board_in(tmp_path, **environment) as board:
        project = board.make_project()
        script = Script(board, project, "env; echo HOME is $HOME")
        script.run()
        output = script.wait("succeeded")["output"]
        assert f"BOARD_RUN={(board.data / 'host_id').read_text().strip()}:run_" in output
        assert "GIT_AUTHOR_NAME=Alice" in output
        for name, value in environment.items():
            assert name not in output
            assert value not in output
        assert "KANBAN_" not in output
        assert "VIRTUAL_ENV" not in output
        assert f"HOME is {board.data}/homes/" in output

        credential = "sk-a-key-that-an-agent-left-behind"
        made = board.api.post(
            "/credentials", {"name": "k", "provider": "anthropic", "apiKey": credential}
        )
        board.api.put(f"/projects/{project.id}/credential", {"credentialId": made["id"]})
        # In two writes, so that each half comes by itself.
        half = len(credential) // 2
        (project.path / "left").write_text(credential)
        leak = Script(
            board,
            project,
            f"head -c {half} left; sleep 0.4; tail -c +{half + 1} left; echo; echo {key}; echo end",
        )
        leak.run()
        output = leak.wait("succeeded")["output"]
        assert output == "****\n****\nend\n"


def test_a_script_whose_worker_is_killed_has_failed_and_is_not_run_again(own: Board) -> None:
    project = own.make_project()
    command = (
        "echo x >> starts; setsid sh -c 'while :; do echo x >> ticks; sleep 0.05; done' & "
        "echo up; wait"
    )
    script = Script(own, project, command)
    run_id = script.run()["runId"]
    script.wait_printed("up")
    ticks = project.path / "ticks"
    until(ticks.exists, what="its child")
    old = own.kill("worker")
    ended = script.wait("failed", timeout=30)
    assert ended["runId"] == run_id
    assert ended["error"]["code"] == "worker_died"
    assert "not known" in ended["error"]["message"]
    assert ended["output"] == "up\n"
    size = ticks.stat().st_size
    own.wait_replaced("worker", old)
    time.sleep(0.5)
    assert ticks.stat().st_size == size
    assert (project.path / "starts").read_text() == "x\n"
    assert script.run()["status"] == "running"
    until(lambda: (project.path / "starts").read_text() == "x\nx\n", what="a second start")
    script.cancel()
    script.wait("cancelled")


def test_after_a_restart_of_the_server_a_script_that_ran_is_idle_and_says_why(own: Board) -> None:
    project = own.make_project()
    done = Script(own, project, "echo done")
    done.run()
    done.wait("succeeded")
    script = Script(own, project, "echo x >> starts; echo up; exec sleep 6543210")
    script.run()
    script.wait_printed("up")
    own.terminate()
    assert processes_with("sleep 6543210") == []
    own.start()
    ended = script.status()
    assert ended["status"] == "idle"
    assert "server was stopped" in ended["statusText"]
    assert ended["output"] == "up\n"
    assert done.status()["status"] == "succeeded"
    time.sleep(2.5)
    assert (project.path / "starts").read_text() == "x\n"
    assert script.run()["status"] == "running"


def test_a_deleted_script_is_cancelled_and_so_are_those_of_a_deleted_project(
    board: Board,
) -> None:
    project = board.make_project()
    tidy = "trap 'echo tidy >> tidied; exit' TERM; echo up; while :; do sleep 0.05; done"
    first, second = Script(board, project, tidy), Script(board, project, tidy)
    for script in (first, second):
        script.run()
        script.wait_printed("up")
    tidied = project.path / "tidied"
    run_id = first.status()["runId"]
    with board.watch() as watch:
        watch.subscribe(runId=run_id)
        board.api.delete(first.url)
        until(tidied.exists, what="its end")
        gone = watch.wait(lambda frame: frame["type"] == "error", what="the end of the run")
        assert gone["data"]["runId"] == run_id
    board.api.delete(f"/projects/{project.id}")
    until(lambda: tidied.read_text() == "tidy\ntidy\n", what="the other's end")


def test_a_script_waits_while_no_worker_lives_and_can_be_cancelled_meanwhile(own: Board) -> None:
    """And then it never starts."""
    project = own.make_project()
    script = Script(own, project, "echo x >> starts")
    # Frozen, not killed: nobody takes its place for half a minute.
    worker = own.kill("worker", signal.SIGSTOP)
    try:
        waiting = script.run()
        assert (waiting["status"], waiting["startedAt"]) == ("running", None)
        assert waiting["statusText"]
        assert script.cancel()["status"] == "cancelled"
    finally:
        os.kill(worker, signal.SIGCONT)
    time.sleep(2.5)
    assert not (project.path / "starts").exists()
