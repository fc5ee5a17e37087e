"""A data directory on a file system of its own, whose size a test changes while the server runs."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

ROOMY = 2 << 30


class SmallDisk:
    """A tmpfs: its size is a promise, not memory."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def resize(self, size: int) -> None:
        _mount("-o", f"remount,size={size}", str(self.place))

    def fill(self) -> None:
        """Not a block is free any more; a file may still be overwritten."""
        self.leave(0)

    def leave(self, free: int) -> None:
        while True:
            found = os.statvfs(self.place)
            used = (found.f_blocks - found.f_bfree) * found.f_frsize
            try:
                return self.resize(used + free)
            except subprocess.CalledProcessError:
                # Somebody has written since: it can't become smaller than what is in it.
                if os.statvfs(self.place).f_bfree == found.f_bfree:
                    raise

    def make_room(self) -> None:
        self.resize(ROOMY)


@contextlib.contextmanager
def small_disk(place: Path) -> Iterator[SmallDisk]:
    _mount("-t", "tmpfs", "-o", f"size={ROOMY},mode=0700", "none", str(place))
    try:
        yield SmallDisk(place)
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


def why_not() -> str | None:
    """Why there can be none here."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "mounting a small disk needs root on Linux"
    with tempfile.TemporaryDirectory() as place:
        try:
            with small_disk(Path(place)):
                return None
        except subprocess.CalledProcessError as error:
            return f"nothing can be mounted here: {error.stderr.decode().strip()}"


def _mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True, capture_output=True)
