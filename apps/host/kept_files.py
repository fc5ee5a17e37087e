"""Files that people gave us, on the disk for good: each in a directory of its own, under its own name."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from apps.host.disk import delete_tree
from apps.host.paths import open_inside


@contextlib.contextmanager
def create(path: Path, *, below: Path) -> Iterator[BinaryIO]:
    """A new file, and the directories from `below` to it; after the block it survives a loss of power."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(path, flags, 0o600), "wb") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())
    folder = path.parent
    while True:
        _sync_directory(folder)
        if folder == below or folder == folder.parent:
            return
        folder = folder.parent


def _sync_directory(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read(path: Path, *, limit: int) -> bytes:
    """The whole file. OSError as it comes, and ValueError for anything but a file of that size at most."""
    with os.fdopen(open_inside(path.parent, path.name), "rb") as file:
        found = os.fstat(file.fileno())
        if not stat.S_ISREG(found.st_mode) or found.st_size > limit:
            raise ValueError(f"{path} is not the file that was kept")
        return file.read()


def remove(folder: Path) -> None:
    """A kept file's directory with what is in it, and the one above once it is empty. Repeatable."""
    delete_tree(folder)
    with contextlib.suppress(OSError):
        folder.parent.rmdir()
