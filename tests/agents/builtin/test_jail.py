"""Paths that lead out of the worktree, and files that are none."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from apps.agents.builtin.jail import Jail, NotAFileError, OutsideError


@pytest.fixture
def root(tmp_path: Path) -> Path:
    path = tmp_path / "root"
    path.mkdir()
    (path / "a.txt").write_text("inside")
    (tmp_path / "secret.txt").write_text("outside")
    (tmp_path / "root-too").mkdir()
    return path


@pytest.mark.parametrize(
    "path",
    [
        "../secret.txt",
        "sub/../../secret.txt",
        "/etc/passwd",
        "link",
        "folder/secret.txt",
        "../root-too/x",
        "a.txt\0",
    ],
)
def test_a_path_outside_is_refused_for_reading_and_writing(root: Path, path: str) -> None:
    (root / "link").symlink_to("../secret.txt")
    (root / "folder").symlink_to("..")
    jail = Jail(root)

    with pytest.raises(OutsideError):
        jail.read(path, limit=100)
    with pytest.raises(OutsideError):
        jail.write(path, b"changed")
    assert (root.parent / "secret.txt").read_text() == "outside"


def test_a_link_that_dangles_outside_creates_nothing(root: Path) -> None:
    (root / "new").symlink_to(root.parent / "created")

    with pytest.raises(OutsideError):
        Jail(root).write("new", b"x")

    assert not (root.parent / "created").exists()


def test_links_within_the_worktree_are_followed(root: Path) -> None:
    (root / "docs").mkdir()
    (root / "docs" / "guide.md").write_text("guide")
    (root / "manual").symlink_to("docs")
    (root / "GUIDE.md").symlink_to("docs/guide.md")
    jail = Jail(root)

    assert jail.read("manual/guide.md", limit=100) == b"guide"
    jail.write("GUIDE.md", b"new")

    assert (root / "docs" / "guide.md").read_text() == "new"
    assert (root / "GUIDE.md").is_symlink()


def test_a_directory_swapped_for_a_link_after_the_check_is_not_followed(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (root / "sub").mkdir()
    jail = Jail(root)
    checked = jail.resolve("sub/secret.txt")
    (root / "sub").rmdir()
    (root / "sub").symlink_to("..")
    monkeypatch.setattr(jail, "resolve", lambda path: checked)

    with pytest.raises(OSError, match="sub"):
        jail.read("sub/secret.txt", limit=100)
    with pytest.raises(OSError, match="sub"):
        jail.write("sub/secret.txt", b"changed")
    assert (root.parent / "secret.txt").read_text() == "outside"


def test_a_pipe_or_a_directory_is_no_file_and_does_not_block(root: Path) -> None:
    os.mkfifo(root / "pipe")
    (root / "sub").mkdir()
    jail = Jail(root)

    for path in ("pipe", "sub", "."):
        with pytest.raises(NotAFileError):
            jail.read(path, limit=100)
        with pytest.raises(NotAFileError):
            jail.write(path, b"x")


def test_a_file_beyond_the_limit_is_refused(root: Path) -> None:
    with pytest.raises(NotAFileError, match="larger"):
        Jail(root).read("a.txt", limit=3)


def test_writing_makes_directories_keeps_permissions_and_leaves_nothing_behind(root: Path) -> None:
    jail = Jail(root)
    (root / "run.sh").write_text("old")
    (root / "run.sh").chmod(0o755)

    jail.write("run.sh", b"new")
    jail.write("deep/er/file.txt", b"text")

    assert (root / "run.sh").stat().st_mode & 0o777 == 0o755
    assert (root / "deep/er/file.txt").read_text() == "text"
    assert sorted(path.name for path in root.iterdir()) == ["a.txt", "deep", "run.sh"]
