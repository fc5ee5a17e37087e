"""The notes that say who works in a directory, as a crash may leave them."""

from __future__ import annotations

from pathlib import Path

import pytest

from apps.runs.occupancy import occupied


@pytest.mark.parametrize("damage", [b"", b"\0" * 17, b"w\xff\xfe", b"../locks/other"])
def test_a_damaged_note_keeps_nobody_out_of_its_directory(tmp_path: Path, damage: bytes) -> None:
    data, place = tmp_path / "data", tmp_path / "place"
    with occupied(data, place, "w1"):
        [note] = (data / "locks").iterdir()
    note.write_bytes(damage)
    with occupied(data, place, "w2"):
        assert note.read_text() == "w2"
    assert not note.exists()
