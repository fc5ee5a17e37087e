"""Figures as rows: ours, the target, and a raw floor of the same run."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """`ratio`: how ours compares with the floor, in words when a number alone would mislead."""

    what: str
    ours: str
    target: str
    floor: str
    ratio: str
    met: bool


def rate(what: str, ours: float, *, at_least: float, floor: float, floor_is: str) -> Row:
    return Row(
        what,
        f"{ours:,.0f}/s",
        f"≥ {at_least:,.0f}/s",
        f"{floor:,.0f}/s ({floor_is})",
        f"{ours / floor:.2f}x",
        ours >= at_least,
    )


def milliseconds(what: str, ours: float, *, at_most: float, floor: float, floor_is: str) -> Row:
    """All times in milliseconds."""
    return Row(
        what,
        f"{ours:.2f} ms",
        f"≤ {at_most:.1f} ms",
        f"{floor:.2f} ms ({floor_is})",
        f"{ours / floor:.1f}x",
        ours <= at_most,
    )


def render(rows: list[Row]) -> str:
    head = ("what", "ours", "target", "raw floor of this run", "ours : floor", "")
    lines = [head]
    for row in rows:
        verdict = "ok" if row.met else "NOT MET"
        lines.append((row.what, row.ours, row.target, row.floor, row.ratio, verdict))
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    texts = [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    ]
    texts.insert(1, "  ".join("-" * width for width in widths).rstrip())
    return "\n".join(texts)
