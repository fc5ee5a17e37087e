"""What the tests of processes and of sweeps share."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

ENV = {"PATH": os.environ["PATH"]}


async def until(condition: object, seconds: float = 5.0) -> bool:
    assert callable(condition)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        await asyncio.sleep(0.01)
    return False


def grows(path: Path) -> bool:
    before = path.stat().st_size
    time.sleep(0.2)
    return path.stat().st_size > before
