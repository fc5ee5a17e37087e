from __future__ import annotations

import os
import time
from datetime import UTC, datetime
from pathlib import Path

from apps.cards import patches
from apps.host import changes, worktrees
from tests.host.conftest import Repository


def test_patches_are_kept_for_a_month() -> None:
    folder = patches.directory()
    folder.mkdir(exist_ok=True)
    old, young, other = (folder / name for name in ("card_001.patch", "card_002.patch", "notes"))
    for path in (old, young, other):
        path.write_text("+work\n")
    month = 30 * 24 * 3600
    for path, age in ((old, month + 60), (young, month - 60), (other, 2 * month)):
        os.utime(path, (time.time() - age,) * 2)
    patches.remove_old("h1")
    assert sorted(each.name for each in folder.iterdir()) == ["card_002.patch", "notes"]
    young.unlink()
    other.unlink()


def test_a_removal_that_is_repeated_keeps_the_first_patch(repo: Repository, data_dir: Path) -> None:
    """The second attempt may find half of the directory."""
    name = patches.name(1, datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC))
    assert name == "card_001-20260102T030405.000000Z.patch"
    folder = data_dir / "patches"
    folder.mkdir(parents=True)
    (folder / name).write_text("all of it\n")
    path = data_dir / "worktrees" / "card_001"
    worktrees.create(
        repo.path, path, branch="card/card_001", base="main", owns_branch=False, data_dir=data_dir
    )
    (path / "rest.txt").write_text("the rest\n")
    removal = worktrees.remove(
        repo.path,
        path,
        base="main",
        force=True,
        patch_dir=folder,
        patch_name=name,
        data_dir=data_dir,
    )
    assert (folder / name).read_text() == "all of it\n"
    assert removal.patch is not None
    assert removal.patch.name != name
    assert "+the rest" in removal.patch.read_text()


def test_a_change_in_the_second_of_the_checkout_is_not_missed(
    repo: Repository, data_dir: Path
) -> None:
    """Of the same length, it is told from what was checked out only by the age of the index."""
    for name in ("a.txt", "b.txt"):
        repo.write(name, "one\n")
    repo.commit("two files")
    while not 0.05 < time.time() % 1 < 0.3:
        time.sleep(0.01)
    path = data_dir / "worktrees" / "card_001"
    worktrees.create(
        repo.path, path, branch="card/card_001", base="main", owns_branch=False, data_dir=data_dir
    )
    for name in ("a.txt", "b.txt"):
        (path / name).write_text("two\n")
    (path / "new.txt").write_text("new\n")
    time.sleep(1)
    found = changes.diff(path, "main")
    assert (found.files_changed, found.insertions, found.deletions) == (3, 3, 2)
