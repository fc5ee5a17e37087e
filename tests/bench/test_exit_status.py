"""How `make bench` ends: a broken promise fails it, a missed target only where that is asked for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.bench.__main__ import main
from tests.bench.table import Row, milliseconds, no_errors, promise

Printed = pytest.CaptureFixture[str]


def fast(_folder: Path) -> Iterator[Row]:
    yield milliseconds("create", 2.0, at_most=3.0, floor=1.0, floor_is="a commit")
    yield no_errors("creating", 0)


def slow(_folder: Path) -> Iterator[Row]:
    yield milliseconds("move", 9.0, at_most=3.0, floor=1.0, floor_is="a commit")


def lossy(_folder: Path) -> Iterator[Row]:
    yield promise("all heard", ["socket 3: 1 missing [7]"])


def absent(_folder: Path) -> Iterator[Row]:
    yield from fast(_folder)
    raise RuntimeError("no server")


FIGURES = {"fast": fast, "slow": slow, "lossy": lossy, "absent": absent}


def bench(printed: Printed, *arguments: str) -> tuple[int, str]:
    """The exit status and what was printed at the end."""
    status = main(list(arguments), FIGURES)
    return status, printed.readouterr().out


def test_what_is_met_and_kept_is_a_success(capsys: Printed) -> None:
    assert bench(capsys, "fast", "--strict")[0] == 0


def test_a_missed_target_is_shown_and_counts_only_where_that_is_asked_for(capsys: Printed) -> None:
    status, said = bench(capsys, "fast", "slow")
    assert (status, said.count("NOT MET")) == (0, 1)
    assert said.splitlines()[-1] == "1 of 1 promises kept, 1 of 2 targets missed"
    assert bench(capsys, "fast", "slow", "--strict")[0] == 1


def test_a_broken_promise_is_a_failure_and_says_what_is_missing(capsys: Printed) -> None:
    status, said = bench(capsys, "fast", "lossy")
    assert (status, said.count("BROKEN")) == (1, 1)
    assert "socket 3: 1 missing [7]" in said
    assert said.splitlines()[-1] == "1 of 2 promises kept, 0 of 1 targets missed"


def test_a_figure_that_cannot_be_had_is_a_failure_and_is_named(capsys: Printed) -> None:
    status, said = bench(capsys, "absent")
    assert status == 1
    assert said.splitlines()[-1] == "NOT MEASURED to the end: absent"


def test_requests_that_failed_break_a_promise() -> None:
    assert not no_errors("moving", 2).met
    assert no_errors("moving", 2).promise
