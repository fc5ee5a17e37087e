"""The notes that say who works in a directory, as a crash may leave them."""

from __future__ import annotations

from pathlib import Path

import pytest

from apps.host.disk import try_flock
from apps.runs.leases import locks
from apps.runs.occupancy import Occupied, Place


@pytest.fixture
def place(tmp_path: Path) -> Place:
    locks(tmp_path).mkdir()
    return Place(tmp_path, tmp_path / "place")


@pytest.fixture
def note(tmp_path: Path, place: Place) -> Path:
    """Left by a worker that is dead."""
    place.take("w1", swept="")
    [note] = (tmp_path / "locks").iterdir()
    return note


@pytest.mark.parametrize("damage", [b"", b"\0" * 17, b"w\xff\xfe", b"../locks/other"])
def test_a_damaged_note_keeps_nobody_out_of_its_directory(
    place: Place, note: Path, damage: bytes
) -> None:
    note.write_bytes(damage)
    assert place.left_by() == ""
    place.take("w2", swept="")
    assert note.read_text() == "w2"
    place.leave("w2")
    assert not note.exists()


def test_what_a_dead_worker_left_is_looked_for_before_its_note_goes(
    place: Place, note: Path
) -> None:
    assert place.left_by() == "w1"
    with pytest.raises(Occupied):
        place.take("w2", swept="")
    assert note.read_text() == "w1"
    place.take("w2", swept="w1")
    place.leave("w1")
    assert note.read_text() == "w2"


def test_where_a_living_workers_run_is_none_other_comes(
    place: Place, note: Path, tmp_path: Path
) -> None:
    lock = try_flock(locks(tmp_path) / "w1")
    assert lock is not None
    with pytest.raises(Occupied):
        place.left_by()
    with pytest.raises(Occupied):
        place.take("w2", swept="w1")
    lock.release()
    assert place.left_by() == "w1"
