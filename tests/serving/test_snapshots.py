from __future__ import annotations

import resource
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from pytest_django import Settings

from apps.operations.serving.database import snapshot


@contextmanager
def no_file_larger_than(size: int) -> Iterator[None]:
    """It fails as on a full disk: half of it is written."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_copy_that_failed_or_was_cut_off_takes_no_room(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.DATA_DIR = tmp_path
    file = tmp_path / "kanban.sqlite3"
    monkeypatch.setitem(settings.DATABASES["default"], "NAME", str(file))
    with closing(sqlite3.connect(file)) as database, database:
        database.execute("CREATE TABLE filling (bytes BLOB)")
        database.execute("INSERT INTO filling VALUES (zeroblob(3000000))")
    folder = tmp_path / "snapshots"
    with no_file_larger_than(1_000_000), pytest.raises(sqlite3.Error):
        snapshot()
    assert list(folder.iterdir()) == []
    for name in (
        "kanban-20210101T000000.000000.partial",
        "kanban-20210101T000000.000000.partial-journal",
    ):
        (folder / name).touch()
    made = snapshot()
    assert list(folder.iterdir()) == [made]
