"""A wall clock that a test moves while the server runs; the monotonic one goes on as it is."""

from __future__ import annotations

import shutil
import struct
import subprocess
import sys
from pathlib import Path

HOUR = 3600
DAY = 24 * HOUR


def why_not() -> str | None:
    """Why it can't be moved here."""
    if sys.platform != "linux":
        return "the clock is moved by a library for Linux"
    return None if shutil.which("cc") else "moving the clock needs a C compiler (cc)"


class Clock:
    """Of every process that is started with `environment`."""

    def __init__(self, folder: Path) -> None:
        self.library = folder / "clock.so"
        self.file = folder / "clock"
        self.file.write_bytes(bytes(8))
        source = Path(__file__).with_name("clock.c")
        subprocess.run(
            ["cc", "-shared", "-fPIC", "-O1", "-Wall", "-o", str(self.library), str(source)],
            check=True,
        )

    @property
    def environment(self) -> dict[str, str]:
        return {"LD_PRELOAD": str(self.library), "MOVED_CLOCK": str(self.file)}

    def move(self, seconds: int) -> None:
        """By so much it is off the machine's own from now on."""
        with self.file.open("r+b") as file:
            file.write(struct.pack("=q", seconds))
