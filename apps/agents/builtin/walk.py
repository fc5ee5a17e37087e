"""Finding files and lines below a directory. A program of its own, started by the file tools.

It is a process so that a pattern that takes for ever can be killed: a running regular expression
cannot be interrupted within a process. Reads one JSON object on its command line, writes text.
"""

from __future__ import annotations

import json
import os
import re
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

SKIPPED = frozenset(
    {".git", ".hg", ".svn", "node_modules", "__pycache__", ".venv", ".tox", ".mypy_cache"}
    | {".pytest_cache", ".ruff_cache"}
)
MOST_FILES = 1_000
MOST_MATCHES = 200
_BIGGEST_FILE = 4_000_000
_LONGEST_LINE = 300


def glob_expression(pattern: str) -> re.Pattern[str]:
    """`**/` is any number of directories, `*` and `?` stay within one; `{a,b}` are alternatives."""
    if "/" not in pattern:
        pattern = f"**/{pattern}"
    pieces = re.split(r"(\*\*/|\*\*|\*|\?|\[[^\]]+\]|\{[^{}]+\})", pattern.removeprefix("./"))
    regex = ""
    for piece in pieces:
        if piece == "**/":
            regex += "(?:[^/]+/)*"
        elif piece == "**":
            regex += ".*"
        elif piece == "*":
            regex += "[^/]*"
        elif piece == "?":
            regex += "[^/]"
        elif piece.startswith("[") and len(piece) > 2:
            inner = piece[1:-1].replace("\\", r"\\")
            regex += f"[{'^' + inner[1:] if inner.startswith('!') else inner}]"
        elif piece.startswith("{"):
            regex += f"(?:{'|'.join(re.escape(word) for word in piece[1:-1].split(','))})"
        else:
            regex += re.escape(piece)
    return re.compile(regex, re.DOTALL)


def files(root: Path, start: Path, pattern: str | None) -> Iterator[Path]:
    """Regular files and links below `start`, in order, without following links to directories."""
    wanted = glob_expression(pattern) if pattern else None
    for folder, folders, names in os.walk(start):
        folders[:] = sorted(name for name in folders if name not in SKIPPED)
        for name in sorted(names):
            path = Path(folder, name)
            below = path.relative_to(start).as_posix()
            if wanted is None or wanted.fullmatch(below) or wanted.fullmatch(_shown(root, path)):
                yield path


def _shown(root: Path, path: Path) -> str:
    return path.relative_to(root).as_posix()


def _text(path: Path) -> str | None:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return None
    with os.fdopen(descriptor, "rb") as file:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode) or found.st_size > _BIGGEST_FILE:
            return None
        content = file.read(_BIGGEST_FILE)
    return None if b"\0" in content[:8_000] else content.decode("utf-8", "replace")


def list_lines(root: Path, start: Path, pattern: str | None) -> Iterator[str]:
    for count, path in enumerate(files(root, start, pattern)):
        if count == MOST_FILES:
            yield f"[more than {MOST_FILES} files; narrow the path or the pattern]"
            return
        yield _shown(root, path)


def search_lines(
    root: Path, start: Path, pattern: str | None, expression: re.Pattern[str]
) -> Iterator[str]:
    count = 0
    for path in [start] if start.is_file() else files(root, start, pattern):
        text = _text(path)
        if text is None:
            continue
        for number, line in enumerate(text.split("\n"), 1):
            if not expression.search(line):
                continue
            if count == MOST_MATCHES:
                yield f"[more than {MOST_MATCHES} matches; narrow the pattern or the path]"
                return
            count += 1
            cut = line.rstrip("\r")[:_LONGEST_LINE]
            yield f"{_shown(root, path)}:{number}:{cut}"


def main(argument: str) -> int:
    order = json.loads(argument)
    root, start = Path(order["root"]), Path(order["start"])
    if expression := order.get("expression"):
        flags = re.IGNORECASE if order.get("ignore_case") else 0
        lines = search_lines(root, start, order.get("glob"), re.compile(expression, flags))
    else:
        lines = list_lines(root, start, order.get("glob"))
    for line in lines:
        sys.stdout.write(line.encode("utf-8", "replace").decode() + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1]))
