from __future__ import annotations

import contextlib
import os
import threading
from pathlib import Path

import pytest

from apps.host import paths
from apps.host.errors import PathRefused

from .conftest import Repository


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "root"
    (folder / "sub").mkdir(parents=True)
    (folder / "sub" / "file").write_text("inside")
    (tmp_path / "root-2").mkdir()
    (tmp_path / "root-2" / "secret").write_text("outside")
    return folder


def read(root: Path, user_path: str) -> str:
    descriptor = paths.open_inside(root, user_path)
    with os.fdopen(descriptor) as file:
        return file.read()


def code(raw: str, roots: list[Path], **given: Path) -> str:
    with pytest.raises(PathRefused) as caught:
        paths.project_path(raw, roots, **given)
    assert caught.value.message.endswith((".", "KANBAN_FS_ROOTS."))
    return caught.value.code


def test_what_lies_inside_can_be_opened(root: Path) -> None:
    (root / "link").symlink_to("sub")
    (root / "absolute").symlink_to(root / "sub" / "file")
    for user_path in ("sub/file", "./sub/../sub/file", "link/file", "absolute", f"{root}/sub/file"):
        assert read(root, user_path) == "inside"
    assert paths.inside(root, "not/yet") == root / "not" / "yet"


@pytest.mark.parametrize(
    "user_path",
    [
        "..",
        "../root-2/secret",
        "/etc/passwd",
        "sub/../../root-2/secret",
        "out/secret",
        "loop",
        "a\0b",
    ],
)
def test_what_leads_outside_is_refused(root: Path, user_path: str) -> None:
    (root / "out").symlink_to("../root-2")
    (root / "loop").symlink_to("/proc/self/root/etc/passwd")
    with pytest.raises(PathRefused):
        paths.inside(root, user_path)
    with pytest.raises(PathRefused):
        paths.open_inside(root, user_path)


def test_a_link_that_is_swapped_in_meanwhile_shows_nothing(root: Path) -> None:
    stop = threading.Event()

    def swap() -> None:
        while not stop.is_set():
            (root / "new").unlink(missing_ok=True)
            (root / "new").symlink_to("../root-2")
            (root / "new").replace(root / "sub2")
            (root / "sub2").unlink()
            (root / "sub2").symlink_to("sub")

    thread = threading.Thread(target=swap)
    thread.start()
    seen = set()
    try:
        for _ in range(3000):
            for name in ("sub2/file", "sub2/secret"):
                with contextlib.suppress(PathRefused, FileNotFoundError):
                    seen.add(read(root, name))
    finally:
        stop.set()
        thread.join()
    assert seen <= {"inside"}


def test_opening_a_pipe_does_not_wait_for_its_writer(root: Path) -> None:
    os.mkfifo(root / "pipe")
    os.close(paths.open_inside(root, "pipe"))


def test_each_path_that_cannot_be_a_project_says_why(root: Path, tmp_path: Path) -> None:
    bare = tmp_path / "root" / "bare.git"
    Repository(tmp_path / "source").git("clone", "-q", "--bare", ".", str(bare))
    (root / "out").symlink_to("../root-2")
    assert code("", [root]) == "path_invalid"
    assert code("a\0b", [root]) == "path_invalid"
    assert code("sub", [root]) == "path_relative"
    assert code("~/x", [root]) == "path_relative"
    assert code(str(root / "gone"), [root]) == "path_missing"
    assert code(str(root / "sub" / "file"), [root]) == "path_not_a_directory"
    assert code(str(bare), [root]) == "path_bare"
    assert code(str(tmp_path / "root-2"), [root]) == "path_outside"
    assert code(str(tmp_path / "root-gone"), [root]) == "path_outside"
    assert code(str(root / "out"), [root]) == "path_outside"
    assert code(str(root / "sub" / ".." / ".."), [root]) == "path_outside"
    assert code(str(root), []) == "path_outside"
    assert paths.project_path(f"{root}/sub/", [tmp_path / "other", root]) == root / "sub"


def test_private_places_are_excluded_wherever_the_roots_are(root: Path, tmp_path: Path) -> None:
    data = root / "data"
    home = root / "home"
    for folder in (data / "worktrees", home / ".ssh", home / "code" / ".hidden"):
        folder.mkdir(parents=True)
    (home / "keys").symlink_to(".ssh")
    given = {"data_dir": data, "home": home}
    for excluded in (data, data / "worktrees", home / ".ssh", home / "keys", root):
        assert code(str(excluded), [root], **given) == "path_excluded"
    for allowed in (home, home / "code", home / "code" / ".hidden"):
        assert paths.project_path(str(allowed), [root], **given) == allowed


def test_how_paths_lie_to_each_other_is_told_by_their_real_places(root: Path) -> None:
    (root / "link").symlink_to("sub")
    assert paths.relation(root / "link", root / "sub") == "equal"
    assert paths.relation(root, root / "link") == "contains"
    assert paths.relation(root / "sub" / "x", root / "link") == "inside"
    assert paths.relation(root, root.parent / "root-2") is None
    assert paths.relation(Path("/"), root) == "contains"
