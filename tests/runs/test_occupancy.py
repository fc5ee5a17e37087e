"""The notes that say who works in a directory, as a crash may leave them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from apps.host.disk import try_flock
from apps.runs.kinds import Claim
from apps.runs.leases import locks
from apps.runs.occupancy import Occupied, Place

FIRST = Claim("session", 7, 2, "h1", "w1")
SECOND = Claim("session", 8, 1, "h1", "w2")


@pytest.fixture
def place(tmp_path: Path) -> Place:
    locks(tmp_path).mkdir()
    return Place(tmp_path, tmp_path / "place")


@pytest.fixture
def note(tmp_path: Path, place: Place) -> Path:
    """Left by a run whose worker is dead."""
    place.take(FIRST, swept=None)
    [note] = (tmp_path / "locks").iterdir()
    return note


@pytest.mark.parametrize(
    "damage",
    [b"", b"\0" * 17, b"w\xff\xfe", b"w1", b"../locks h1 session 7 2", b"w1 h1 nothing 7 2"],
)
def test_a_damaged_note_keeps_nobody_out_of_its_directory(
    place: Place, note: Path, damage: bytes
) -> None:
    note.write_bytes(damage)
    assert place.left_by() is None
    place.take(SECOND, swept=None)
    assert note.read_text() == "w2 h1 session 8 1"
    place.leave(SECOND)
    assert not note.exists()


def test_what_a_dead_worker_left_is_looked_for_before_its_note_goes(
    place: Place, note: Path
) -> None:
    assert place.left_by() == FIRST
    with pytest.raises(Occupied):
        place.take(SECOND, swept=None)
    assert note.read_text() == "w1 h1 session 7 2"
    place.take(SECOND, swept=FIRST)
    place.leave(FIRST)
    assert note.read_text() == "w2 h1 session 8 1"


def test_where_a_living_workers_run_is_none_other_comes(
    place: Place, note: Path, tmp_path: Path
) -> None:
    lock = try_flock(locks(tmp_path) / "w1")
    assert lock is not None
    with pytest.raises(Occupied):
        place.left_by()
    with pytest.raises(Occupied):
        place.take(SECOND, swept=FIRST)
    lock.release()
    assert place.left_by() == FIRST


def test_an_earlier_attempt_takes_no_note_of_a_later_one_along(place: Place, note: Path) -> None:
    later = replace(FIRST, fence=3)
    place.take(later, swept=FIRST)
    place.leave(FIRST)
    assert place.left_by() == later
