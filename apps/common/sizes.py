"""Sizes as people read them: decimal, and never more than there is."""

from __future__ import annotations


def size(count: int) -> str:
    """`count` bytes, with one digit behind the point at most."""
    for unit, name in ((1_000_000, "MB"), (1_000, "KB")):
        if count >= unit:
            return f"{count * 10 // unit / 10:g} {name}"
    return f"{count} bytes"
