"""How often a test repeats its fault; the issue's counts are those of a full run, 200."""

from __future__ import annotations

import os

FULL = 200
ROUNDS = int(os.environ.get("KANBAN_TEST_FAULT_ROUNDS") or FULL)

# The longest, which mostly wait for servers to come back, are cut into parts that run side by side.
PARTS = 8 if ROUNDS >= FULL else 1


def share(full: int, *, least: int = 1) -> int:
    """That many of a full run's `full` repetitions as were asked for."""
    return max(least, full * ROUNDS // FULL)


def part(full: int) -> int:
    """What each of `PARTS` has of it."""
    return share(full) // PARTS
