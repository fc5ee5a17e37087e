"""How often a test repeats its fault; the issue's counts are those of a full run, 200."""

from __future__ import annotations

import os

FULL = 200
ROUNDS = int(os.environ.get("KANBAN_TEST_FAULT_ROUNDS") or FULL)


def share(full: int, *, least: int = 1) -> int:
    """That many of a full run's `full` repetitions as were asked for."""
    return max(least, full * ROUNDS // FULL)
