"""The tools on a real directory, without a model."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from apps.agents.builtin import shell
from apps.agents.builtin.store import Session
from apps.agents.builtin.tools import (
    EditFile,
    ListFiles,
    ReadFile,
    RunCommand,
    Search,
    ToolFailureError,
    WriteFile,
)
from apps.agents.builtin.workbench import Workbench
from tests.agents.builtin.conftest import gone, until


@pytest.fixture
def bench(worktree: Path) -> Workbench:
    return Workbench(Session("0" * 32, str(worktree)))


def test_a_part_of_a_file_is_read_with_line_numbers(bench: Workbench, worktree: Path) -> None:
    (worktree / "long.txt").write_text("".join(f"line {number}\n" for number in range(1, 11)))

    text = bench.read_file(ReadFile(path="long.txt", offset=3, limit=2))

    assert text == "     3\tline 3\n     4\tline 4\n[10 lines in all; go on with offset=5]"


@pytest.mark.parametrize("path", ["../x", "/etc/passwd", "missing.txt", "."])
def test_what_cannot_be_read_fails_with_a_sentence(bench: Workbench, path: str) -> None:
    with pytest.raises(ToolFailureError, match=r"\.$"):
        bench.read_file(ReadFile(path=path))


def test_a_binary_file_is_not_read(bench: Workbench, worktree: Path) -> None:
    (worktree / "x.bin").write_bytes(b"\0\1\2")

    with pytest.raises(ToolFailureError, match="binary"):
        bench.read_file(ReadFile(path="x.bin"))


def test_the_files_on_the_card_are_read_and_nothing_beside_or_through_them(
    worktree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = tmp_path / "attachments" / "card_001"
    files.mkdir(parents=True)
    (files / "wish.txt").write_text("Roses\n")
    (files.parent / "other.txt").write_text("of another card")
    (files / "link.txt").symlink_to(files.parent / "other.txt")
    wish = str(files / "wish.txt")
    refused = [str(files.parent / "other.txt"), f"{files}/../other.txt", f"{files}/link.txt"]
    with pytest.raises(ToolFailureError):
        Workbench(Session("0" * 32, str(worktree))).read_file(ReadFile(path=wish))
    monkeypatch.setenv("BOARD_FILES", str(files))
    bench = Workbench(Session("0" * 32, str(worktree)))
    assert "Roses" in bench.read_file(ReadFile(path=wish))
    for path in refused:
        with pytest.raises(ToolFailureError):
            bench.read_file(ReadFile(path=path))
    with pytest.raises(ToolFailureError):
        bench.write_file(WriteFile(path=wish, content="Weeds"))
    assert (files / "wish.txt").read_text() == "Roses\n"


def test_an_edit_must_match_exactly_once(bench: Workbench, worktree: Path) -> None:
    file = worktree / "f.txt"
    file.write_text("one two one\n")

    with pytest.raises(ToolFailureError, match="2 times"):
        bench.edit_file(EditFile(path="f.txt", old_string="one", new_string="1"))
    with pytest.raises(ToolFailureError, match="does not occur"):
        bench.edit_file(EditFile(path="f.txt", old_string="three", new_string="3"))
    assert file.read_text() == "one two one\n"

    bench.edit_file(EditFile(path="f.txt", old_string="one", new_string="1", replace_all=True))
    assert file.read_text() == "1 two 1\n"


def test_an_edit_keeps_the_line_ends_of_the_file(bench: Workbench, worktree: Path) -> None:
    (worktree / "dos.txt").write_bytes(b"a\r\nb\r\nc\r\n")

    bench.edit_file(EditFile(path="dos.txt", old_string="a\nb", new_string="x\ny"))

    assert (worktree / "dos.txt").read_bytes() == b"x\r\ny\r\nc\r\n"


def test_a_file_outside_is_not_written(bench: Workbench, worktree: Path) -> None:
    with pytest.raises(ToolFailureError, match="outside the working directory"):
        bench.write_file(WriteFile(path="../out.txt", content="x"))
    assert not (worktree.parent / "out.txt").exists()


async def test_files_are_listed_by_pattern_without_caches(bench: Workbench, worktree: Path) -> None:
    for name in ("src/a.py", "src/deep/b.py", "src/c.ts", "node_modules/d.py", ".git/e.py"):
        (worktree / name).parent.mkdir(parents=True, exist_ok=True)
        (worktree / name).write_text("")

    assert await bench.list_files(ListFiles(glob="*.py")) == "src/a.py\nsrc/deep/b.py"
    assert await bench.list_files(ListFiles(glob="src/*.{py,ts}")) == "src/a.py\nsrc/c.ts"
    assert await bench.list_files(ListFiles(path="src/deep")) == "src/deep/b.py"
    assert await bench.list_files(ListFiles(glob="src/[!b]*.py")) == "src/a.py"
    assert await bench.list_files(ListFiles(glob="*.rs")) == "No files found."


async def test_lines_are_found_by_expression(bench: Workbench, worktree: Path) -> None:
    (worktree / "a.py").write_text("def f():\n    return Foo\n")
    (worktree / "b.txt").write_text("foo\n")
    (worktree.parent / "secret").write_text("foo\n")
    (worktree / "link").symlink_to("../secret")

    found = await bench.search(Search(pattern="foo", ignore_case=True))
    assert found == "a.py:2:    return Foo\nb.txt:1:foo"
    assert await bench.search(Search(pattern="foo", glob="*.py")) == "No matches."
    assert await bench.search(Search(pattern="^foo$", path="b.txt")) == "b.txt:1:foo"
    with pytest.raises(ToolFailureError, match="search failed"):
        await bench.search(Search(pattern="("))
    with pytest.raises(ToolFailureError, match="outside"):
        await bench.search(Search(pattern="x", path=".."))


async def test_an_expression_without_end_can_be_cancelled(bench: Workbench, worktree: Path) -> None:
    (worktree / "evil.txt").write_text("a" * 60 + "b\n")
    began = time.monotonic()

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.5):
            await bench.search(Search(pattern="(a+)+$"))

    assert time.monotonic() - began < 3


async def test_a_failing_command_gives_its_output_and_code(bench: Workbench) -> None:
    with pytest.raises(ToolFailureError) as caught:
        await bench.run_command(RunCommand(command="echo out; echo err >&2; exit 3"))

    assert str(caught.value) == "out\nerr\n[exit code 3]"


async def test_a_command_over_its_time_is_killed_with_its_children(
    bench: Workbench, worktree: Path
) -> None:
    command = "echo started; sleep 100 & echo $! > child; wait"
    with pytest.raises(ToolFailureError, match=r"started\n.stopped after 1 s"):
        await bench.run_command(RunCommand(command=command, timeout=1))

    child = int((worktree / "child").read_text())
    await until(lambda: gone(child))


async def test_a_background_process_neither_delays_nor_outlives_its_command(
    bench: Workbench, worktree: Path
) -> None:
    began = time.monotonic()

    text = await bench.run_command(RunCommand(command="sleep 100 & echo $! > child; echo done"))

    assert text == "done"
    assert time.monotonic() - began < 5
    child = int((worktree / "child").read_text())
    await until(lambda: gone(child))


async def test_long_output_keeps_its_beginning_and_its_end(worktree: Path) -> None:
    outcome = await shell.run(
        "echo first; head -c 5000000 /dev/zero | tr '\\0' x; echo; echo last",
        cwd=worktree,
        seconds=20,
    )

    assert outcome.output.startswith("first\nxxx")
    assert outcome.output.endswith("xxx\nlast\n")
    assert "bytes left out" in outcome.output
    assert len(outcome.output) < 65_000


async def test_a_command_does_not_see_the_credential_and_gets_no_input(
    worktree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-secret")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://secret")
    monkeypatch.setenv("BUILTIN_MODEL", "secret")
    monkeypatch.setenv("SEEN", "yes")

    outcome = await shell.run("env; cat", cwd=worktree, seconds=10)

    assert "secret" not in outcome.output
    assert "SEEN=yes" in outcome.output
