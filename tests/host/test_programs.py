from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from apps.host import programs


def program(folder: Path, text: str) -> Path:
    path = folder / "agent"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def gone(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return True
    return state == "Z"


def test_a_version_is_found_in_whatever_surrounds_it(tmp_path: Path) -> None:
    assert programs.version(program(tmp_path, "echo 'agent v1.20.3-beta.1 (abc)'")) == (
        "1.20.3-beta.1"
    )
    assert programs.version(program(tmp_path, "echo 2.0.14 '>&2' >&2")) == "2.0.14"


def test_a_program_learns_nothing_of_the_servers_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-9.9.9")
    monkeypatch.setenv("KANBAN_SECRET_KEY", "8.8.8")
    path = program(tmp_path, 'env; test "$HOME" = "$PWD" || echo 7.7.7; echo agent 1.0.0')
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    assert programs.version(path) == "1.0.0"


def test_a_program_that_hangs_is_ended_with_all_it_started(tmp_path: Path) -> None:
    note = tmp_path / "pid"
    path = program(tmp_path, f"sleep 60 & echo $! > {note}; wait")
    began = time.monotonic()
    with pytest.raises(programs.ProgramProblem, match=r"did not answer within 0.5 s"):
        programs.version(path, within=0.5)
    assert time.monotonic() - began < 2
    deadline = time.monotonic() + 2
    while not gone(int(note.read_text())) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert gone(int(note.read_text()))


def test_a_program_that_floods_is_cut_short(tmp_path: Path) -> None:
    began = time.monotonic()
    with pytest.raises(programs.ProgramProblem):
        programs.version(program(tmp_path, "exec yes"), within=3)
    assert time.monotonic() - began < 5


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("echo broken node >&2; exit 3", "exit code 3: broken node"),
        ("echo hello", "does not say which version"),
    ],
)
def test_what_a_broken_program_did_is_told(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(programs.ProgramProblem, match=said):
        programs.version(program(tmp_path, text))


def test_a_file_that_is_no_program_is_told(tmp_path: Path) -> None:
    path = tmp_path / "agent"
    path.write_bytes(b"\x7fELF nonsense")
    path.chmod(0o755)
    with pytest.raises(programs.ProgramProblem, match="can't be started"):
        programs.version(path)


def test_bubblewrap_counts_only_when_it_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert programs.sandbox_problem() == "bwrap is not on PATH"
    bwrap = program(tmp_path, "echo 'bwrap: No permissions to create a namespace' >&2; exit 1")
    bwrap.rename(tmp_path / "bwrap")
    assert programs.sandbox_problem() == "bwrap: No permissions to create a namespace"
    os.truncate(tmp_path / "bwrap", 0)
    (tmp_path / "bwrap").write_text("#!/bin/sh\nexit 0\n")
    assert programs.sandbox_problem() is None
