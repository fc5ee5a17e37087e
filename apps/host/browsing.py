"""What lies in a directory and what a file says, for people who may look at only a part of the disk.

`allowed(real path)` says which part. It is asked again of what was opened, by its path as the kernel has it.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from apps.host.errors import PathRefused
from apps.host.paths import open_allowed

Allowed = Callable[[Path], bool]

MOST_ENTRIES = 10_000
MOST_READ = 1_000_000


@dataclass(frozen=True)
class Entry:
    name: str
    is_directory: bool
    is_git: bool


@dataclass(frozen=True)
class Listing:
    path: Path
    entries: list[Entry]
    truncated: bool


@dataclass(frozen=True)
class Content:
    """`text` is None for what is no UTF-8 text."""

    path: Path
    text: str | None
    size: int
    truncated: bool


def list_directory(path: str, allowed: Allowed, *, hidden: bool) -> Listing:
    """Directories first, then files, by name. Links count as what they lead to, if that may be seen.

    PathRefused, or OSError as it comes. What has no name in UTF-8 can't be asked for and is left out.
    """
    descriptor, real = open_allowed(path, allowed)
    try:
        if not stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise PathRefused(f"{path} is not a directory.", code="path_not_a_directory")
        found: list[Entry] = []
        truncated = False
        with os.scandir(descriptor) as scanned:
            for each in scanned:
                if (each.name.startswith(".") and not hidden) or not _is_text(each.name):
                    continue
                if len(found) == MOST_ENTRIES:
                    truncated = True
                    break
                entry = _entry(each, real, allowed)
                if entry is not None:
                    found.append(entry)
    finally:
        os.close(descriptor)
    found.sort(key=lambda each: (not each.is_directory, each.name.casefold(), each.name))
    return Listing(real, found, truncated)


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _entry(each: os.DirEntry[str], folder: Path, allowed: Allowed) -> Entry | None:
    real = folder / each.name
    if each.is_symlink():
        real = Path(os.path.realpath(real))
    if not allowed(real):
        return None
    try:
        mode = real.lstat().st_mode
    except OSError:
        return None
    if stat.S_ISDIR(mode):
        return Entry(each.name, is_directory=True, is_git=os.path.lexists(real / ".git"))
    return Entry(each.name, is_directory=False, is_git=False) if stat.S_ISREG(mode) else None


def read_text(path: str, allowed: Allowed) -> Content:
    """The first megabyte. PathRefused for what is no regular file, or OSError as it comes."""
    descriptor, real = open_allowed(path, allowed)
    try:
        found = os.fstat(descriptor)
        if stat.S_ISDIR(found.st_mode):
            raise PathRefused(f"{path} is a directory, not a file.", code="path_is_a_directory")
        if not stat.S_ISREG(found.st_mode):
            raise PathRefused(f"{path} is not a regular file.", code="path_not_a_file")
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            raw = file.read(MOST_READ + 1)
    finally:
        os.close(descriptor)
    truncated = len(raw) > MOST_READ
    return Content(real, _text(raw[:MOST_READ], cut=truncated), found.st_size, truncated)


def _text(raw: bytes, *, cut: bool) -> str | None:
    if b"\0" in raw:
        return None
    try:
        return raw.decode()
    except UnicodeDecodeError as problem:
        # The last character may have been cut in two.
        if cut and problem.start > len(raw) - 4 and "unexpected end" in problem.reason:
            return raw[: problem.start].decode()
        return None
