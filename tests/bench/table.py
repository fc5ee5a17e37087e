"""Figures as rows: ours, the target, and a raw floor of the same run.

A row is a target, which a busy machine may miss, or a promise, which holds on any: nothing is lost, nothing
comes out of order, nobody is refused.
"""

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
    promise: bool = False

    @property
    def verdict(self) -> str:
        good, bad = ("kept", "BROKEN") if self.promise else ("ok", "NOT MET")
        return good if self.met else bad


def promise(what: str, problems: list[str], *, of: str = "") -> Row:
    """`problems`: what breaks it; the first of them are shown."""
    broken = "; ".join(problems[:3]) + f"; and {len(problems) - 3} more" * (len(problems) > 3)
    return Row(what, broken or "yes", "always", of, "", not problems, promise=True)


def no_errors(what: str, errors: int) -> Row:
    return promise(f"  {what}: no request failed", [f"{errors} errors"] if errors else [])


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
        lines.append((row.what, row.ours, row.target, row.floor, row.ratio, row.verdict))
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    texts = [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    ]
    texts.insert(1, "  ".join("-" * width for width in widths).rstrip())
    return "\n".join(texts)


def closing(rows: list[Row], lacking: list[str]) -> str:
    """`lacking`: figures that could not be had, or only in part."""
    promises = [row for row in rows if row.promise]
    targets = [row for row in rows if not row.promise]
    kept, missed = sum(row.met for row in promises), sum(not row.met for row in targets)
    lines = [f"{kept} of {len(promises)} promises kept, {missed} of {len(targets)} targets missed"]
    if lacking:
        lines.append(f"NOT MEASURED to the end: {', '.join(lacking)}")
    return "\n".join(lines)


def status(rows: list[Row], lacking: list[str], *, strict: bool) -> int:
    """The exit status: a target counts only if that is asked for."""
    bad = lacking or any(not row.met for row in rows if strict or row.promise)
    return 1 if bad else 0
