"""What the tools do to the worktree: files, searches and commands."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

from apps.agents.builtin import shell, walk
from apps.agents.builtin.jail import Jail, NotAFileError, OutsideError
from apps.agents.builtin.prompts import plan_file
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
from apps.host.errors import SpawnFailed

_BIGGEST_FILE = 10_000_000
_MOST_OUTPUT = 64_000
_LONGEST_LINE = 2_000
_BIGGEST_OLD_TEXT = 100_000
_SEARCH_SECONDS = 30

Answer = TypeVar("Answer")


def _told(path: str, work: Callable[[], Answer]) -> Answer:
    """Run `work` on a file and turn what can go wrong into words for the model."""
    try:
        return work()
    except (OutsideError, NotAFileError) as problem:
        raise ToolFailureError(str(problem)) from problem
    except FileNotFoundError as problem:
        raise ToolFailureError(
            f"{path} does not exist. list_files shows what is there."
        ) from problem
    except OSError as problem:
        raise ToolFailureError(f"{path}: {problem.strerror or problem}") from problem


class Workbench:
    """The worktree of one session."""

    def __init__(self, session: Session) -> None:
        self.jail = Jail(session.cwd)
        # Where the files on the card lie, which can be read as well.
        self._files = os.environ.get("BOARD_FILES")
        self._session = session

    def absolute(self, path: str) -> str:
        """Where `path` lies, for links in the client; raises ToolFailureError if it is outside."""
        if self._is_plan_file(path):
            return path
        return str(_told(path, lambda: self._readable(path).resolve(path)))

    def shown(self, path: str) -> str:
        """`path` as it reads best; raises ToolFailureError if it is outside."""
        if self._is_plan_file(path):
            return path
        return self._readable(path).shown(Path(self.absolute(path)))

    def _is_plan_file(self, path: str) -> bool:
        return path == str(plan_file(self._session.id))

    def _readable(self, path: str) -> Jail:
        """The directory that a path to be read must lie in."""
        if self._files and path.startswith(f"{self._files}/"):
            return Jail(self._files)
        return self.jail

    def _read(self, path: str) -> bytes:
        return _told(path, lambda: self._readable(path).read(path, limit=_BIGGEST_FILE))

    def old_text(self, path: str) -> str | None:
        """What a file holds now, for showing a difference; None if there is nothing to show."""
        try:
            return self._read(path)[:_BIGGEST_OLD_TEXT].decode("utf-8", "replace")
        except ToolFailureError:
            return None

    def read_file(self, order: ReadFile) -> str:
        content = self._read(order.path)
        if b"\0" in content[:8_000]:
            raise ToolFailureError(f"{order.path} is a binary file of {len(content)} bytes.")
        lines = content.decode("utf-8", "replace").removesuffix("\n").split("\n")
        if order.offset > len(lines):
            raise ToolFailureError(f"{order.path} has only {len(lines)} lines.")
        shown: list[str] = []
        size = 0
        for number in range(order.offset, min(order.offset + order.limit, len(lines) + 1)):
            line = lines[number - 1].rstrip("\r")
            if len(line) > _LONGEST_LINE:
                line = line[:_LONGEST_LINE] + " [line cut]"
            size += len(line) + 8
            if size > _MOST_OUTPUT:
                break
            shown.append(f"{number:6}\t{line}")
        following = order.offset + len(shown)
        if following <= len(lines):
            shown.append(f"[{len(lines)} lines in all; go on with offset={following}]")
        return "\n".join(shown) if content else "[the file is empty]"

    def write_file(self, order: WriteFile) -> str:
        content = order.content.encode("utf-8", "surrogatepass")
        if self._is_plan_file(order.path):
            target = plan_file(self._session.id)
            target.parent.mkdir(parents=True, exist_ok=True)
            plans = Jail(target.parent)
            _told(order.path, lambda: plans.write(target.name, content))
            return "The plan is written down. Hand it over with exit_plan_mode."
        if self._session.mode == "plan":
            raise ToolFailureError(
                "Plan mode: nothing in the worktree is changed before the plan is approved. "
                f"Only {plan_file(self._session.id)} can be written."
            )
        _told(order.path, lambda: self.jail.write(order.path, content))
        return f"Wrote {len(content)} bytes to {order.path}."

    def edit_file(self, order: EditFile) -> str:
        try:
            text = self._read(order.path).decode("utf-8")
        except UnicodeDecodeError as problem:
            raise ToolFailureError(f"{order.path} is not UTF-8 text.") from problem
        old, new = order.old_string, order.new_string
        if old not in text and "\r\n" in text:
            # Lines are shown without their carriage returns, so the model cannot have known them.
            old, new = old.replace("\n", "\r\n"), new.replace("\n", "\r\n")
        count = text.count(old)
        if count == 0:
            raise ToolFailureError(
                f"old_string does not occur in {order.path}. Read the file again and copy the text "
                "exactly, without line numbers."
            )
        if count > 1 and not order.replace_all:
            raise ToolFailureError(
                f"old_string occurs {count} times in {order.path}. Give more of the text around it, "
                "or set replace_all."
            )
        if old == new:
            raise ToolFailureError("old_string and new_string are the same; nothing to do.")
        changed = text.replace(old, new).encode("utf-8", "surrogatepass")
        _told(order.path, lambda: self.jail.write(order.path, changed))
        return f"Edited {order.path}: {count} replacement{'s' if count > 1 else ''}."

    async def list_files(self, order: ListFiles) -> str:
        return await self._walk(order.path, {"glob": order.glob}) or "No files found."

    async def search(self, order: Search) -> str:
        asked = {
            "expression": order.pattern,
            "glob": order.glob,
            "ignore_case": order.ignore_case,
        }
        return await self._walk(order.path, asked) or "No matches."

    async def _walk(self, path: str, asked: Mapping[str, object]) -> str:
        start = Path(self.absolute(path))
        if not start.exists():
            raise ToolFailureError(f"{path} does not exist.")
        order = json.dumps({"root": str(self.jail.root), "start": str(start), **asked})
        program = [sys.executable, "-I", "-S", walk.__file__, order]
        outcome = await shell.run(
            program, cwd=self.jail.root, seconds=_SEARCH_SECONDS, limit=_MOST_OUTPUT
        )
        if outcome.timed_out:
            raise ToolFailureError(
                f"The search took more than {_SEARCH_SECONDS} s. Narrow it down."
            )
        if outcome.exit_code:
            last = outcome.output.strip().splitlines()[-1:] or ["no reason given"]
            raise ToolFailureError(f"The search failed: {last[0]}")
        return outcome.output.rstrip("\n")

    async def run_command(self, order: RunCommand) -> str:
        try:
            outcome = await shell.run(
                order.command, cwd=self.jail.root, seconds=order.timeout, limit=_MOST_OUTPUT
            )
        except SpawnFailed as problem:
            raise ToolFailureError(f"The command could not be started: {problem}") from problem
        output = outcome.output.rstrip("\n")
        if outcome.timed_out:
            raise ToolFailureError(
                f"{output}\n[stopped after {order.timeout} s; the most is 600 s]".lstrip("\n")
            )
        if outcome.exit_code:
            raise ToolFailureError(f"{output}\n[exit code {outcome.exit_code}]".lstrip("\n"))
        return output or "[no output, exit code 0]"
