"""The path jail: which paths of the server a person may name, and opening them without being led astray.

A check of a name says nothing about what is opened a moment later, so `open_inside` opens first and then
asks the kernel what was opened.
"""

from __future__ import annotations

import fcntl
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

from apps.host.errors import PathRefused

Relation = Literal["equal", "contains", "inside"]


def _outside(user_path: str) -> PathRefused:
    return PathRefused(
        f"{user_path!r} is outside of the directory it must lie in.", code="path_outside"
    )


def _checked(user_path: str) -> str:
    if "\0" in user_path:
        raise PathRefused("A path can't contain a NUL character.", code="path_invalid")
    if len(os.fsencode(user_path)) > 4096:
        raise PathRefused("The path is longer than 4096 bytes.", code="path_invalid")
    return user_path


def _within(real: str, root: str) -> bool:
    return real == root or real.startswith(root.rstrip("/") + "/")


def inside(root: Path, user_path: str) -> Path:
    """The real path of `user_path` (relative to `root`, or absolute), which need not exist.

    PathRefused if it leaves `root`, by `..` or by a symbolic link. What is there may be another thing
    when it is used: to read, take `open_inside`.
    """
    base = os.path.realpath(root)
    try:
        real = os.path.realpath(os.path.join(base, _checked(user_path)))  # noqa: PTH118
    except OSError as problem:
        raise _outside(user_path) from problem
    if not _within(real, base):
        raise _outside(user_path)
    return Path(real)


def opened_path(descriptor: int) -> str:
    """The real path of an open file, as the kernel has it now."""
    if sys.platform == "darwin":
        found = fcntl.fcntl(descriptor, fcntl.F_GETPATH, b"\0" * 1024)
        return os.fsdecode(found.rstrip(b"\0"))
    return os.readlink(f"/proc/self/fd/{descriptor}")  # noqa: PTH115


def open_allowed(
    user_path: str, allowed: Callable[[Path], bool], flags: int = os.O_RDONLY
) -> tuple[int, Path]:
    """Open an absolute path and ask `allowed` of what was opened; the descriptor is the caller's to close.

    Symbolic links are followed as long as the end is allowed, which is asked before anything shows whether
    it exists. Never blocks on a pipe or device, never creates; FileNotFoundError and PermissionError pass
    through. The kernel appends ` (deleted)` to the path of what was unlinked meanwhile.
    """
    try:
        named = Path(os.path.realpath(_checked(user_path)))
    except OSError as problem:
        raise _outside(user_path) from problem
    if not allowed(named):
        raise _outside(user_path)
    safe = (flags & ~(os.O_CREAT | os.O_TRUNC)) | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
    descriptor = os.open(named, safe)
    try:
        opened = Path(opened_path(descriptor))
        if not allowed(opened):
            raise _outside(user_path)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor, opened


def open_inside(root: Path, user_path: str, flags: int = os.O_RDONLY) -> int:
    """The same for what really lies in `root`; `user_path` is relative to it, or absolute."""
    base = os.path.realpath(root)
    path = os.path.join(base, _checked(user_path))  # noqa: PTH118
    return open_allowed(path, lambda real: _within(str(real), base), flags)[0]


class Private:
    """What nobody may browse or make a project: the data directory and what is in it, what is hidden directly
    in the server user's home (`.ssh`, `.config`, …), and the kernel's own, where the server's environment can
    be read.

    Asks the disk where those lie once, and of a path only whether it is the data directory by another name.
    """

    def __init__(self, *, data_dir: Path, home: Path | None = None) -> None:
        self._data = os.path.realpath(data_dir)
        self._hidden = os.path.realpath(home or Path.home()).rstrip("/") + "/."
        try:
            self._data_itself: os.stat_result | None = os.stat(self._data)  # noqa: PTH116
        except OSError:
            self._data_itself = None

    def holds(self, real: Path) -> bool:
        path = str(real)
        if any(_within(path, each) for each in ("/proc", "/sys", self._data)):
            return True
        return path.startswith(self._hidden) or self._is_data(path)

    def _is_data(self, path: str) -> bool:
        if self._data_itself is None:
            return False
        try:
            return os.path.samestat(os.stat(path), self._data_itself)  # noqa: PTH116
        except OSError:
            return False


def project_path(
    raw: str, roots: Sequence[Path], *, data_dir: Path | None = None, home: Path | None = None
) -> Path:
    """The real path of a directory that may become a project.

    PathRefused with the codes path_invalid, path_relative, path_outside, path_excluded, path_missing,
    path_not_a_directory, path_unreadable, path_bare. What lies outside of the roots is refused before
    anything says whether it exists.
    """
    if not _checked(raw).strip():
        raise PathRefused("A project needs the path of a directory.", code="path_invalid")
    if not raw.startswith("/"):
        raise PathRefused(
            f"{raw!r} is not an absolute path. Give the whole path, starting with /.",
            code="path_relative",
        )
    real = Path(os.path.realpath(raw))
    if not any(_within(str(real), os.path.realpath(root)) for root in roots):
        raise PathRefused(
            f"{raw} is outside of the directories that projects may lie in. An administrator sets"
            " those with KANBAN_FS_ROOTS.",
            code="path_outside",
        )
    # A project above the data directory would have the worktrees and secrets in itself.
    if data_dir is not None and (
        Private(data_dir=data_dir, home=home).holds(real) or relation(real, data_dir) == "contains"
    ):
        raise PathRefused(
            f"{raw} belongs to this server or holds private settings, so it can't be a project.",
            code="path_excluded",
        )
    try:
        is_directory = real.is_dir()
        exists = is_directory or real.exists()
    except PermissionError:
        is_directory, exists = True, True
    if not exists:
        raise PathRefused(
            f"{raw} does not exist. Create the directory or clone the repository first.",
            code="path_missing",
        )
    if not is_directory:
        raise PathRefused(
            f"{raw} is a file. A project is a directory.", code="path_not_a_directory"
        )
    if not os.access(real, os.R_OK | os.X_OK):
        raise PathRefused(
            f"{raw} can't be read by the server's user. Change its permissions.",
            code="path_unreadable",
        )
    if (real / "HEAD").is_file() and (real / "objects").is_dir() and (real / "refs").is_dir():
        raise PathRefused(
            f"{raw} is a bare repository or the git data of one. Use a clone with a working tree.",
            code="path_bare",
        )
    return real


def unmoved(stored: Path) -> Path:
    """A path that was real when it was stored, if it still is.

    PathRefused with the code project_path_moved where it, or a directory above it, became a link: what is
    behind that, nobody chose.
    """
    if os.path.realpath(stored) != str(stored):
        raise PathRefused(
            f"The project's directory {stored}, or one above it, was replaced by a symbolic link, which is"
            " not followed. Put the directory back, or make a project of where it is now.",
            code="project_path_moved",
        )
    return stored


def relation(one: Path, other: Path) -> Relation | None:
    """How two paths lie to each other, once symbolic links are resolved; `contains`: `one` holds `other`.

    Directories that are the same by device and inode are equal (bind mounts, letter case on macOS).
    """
    first, second = os.path.realpath(one), os.path.realpath(other)
    if first == second:
        return "equal"
    if _within(second, first):
        return "contains"
    if _within(first, second):
        return "inside"
    try:
        return "equal" if Path(first).samefile(second) else None
    except OSError:
        return None
