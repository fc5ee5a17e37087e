from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from apps.accounts.models import User
from apps.projects.models import Project

pytestmark = pytest.mark.django_db


def browse(path: Path | str = "", *, hidden: str = "") -> str:
    more = f"&hidden={hidden}" if hidden else ""
    return f"/api/filesystem/browse?path={quote(str(path))}{more}"


def read(path: Path | str) -> str:
    return f"/api/filesystem/read?path={quote(str(path))}"


@pytest.fixture
def ground(tmp_path: Path, settings: Any) -> Path:
    """The only root."""
    root = tmp_path.resolve() / "ground"
    for folder in ("b", "A", "repo/.git", ".secretive"):
        (root / folder).mkdir(parents=True)
    (root / "notes.txt").write_text("Grüße\n")
    (root / ".hidden").write_text("h")
    settings.FS_ROOTS = [root]
    return root


def test_without_a_path_the_first_root_is_shown_directories_first(
    api: Any, charlie: User, ground: Path
) -> None:
    found = api(charlie).get("/api/filesystem/browse")
    assert found["path"] == str(ground)
    assert found["parent"] is None
    assert [(each["name"], each["type"], each["isGitRepo"]) for each in found["entries"]] == [
        ("A", "directory", False),
        ("b", "directory", False),
        ("repo", "directory", True),
        ("notes.txt", "file", False),
    ]
    assert found["entries"][2]["path"] == str(ground / "repo")
    assert api(charlie).get(browse(ground / "b"))["parent"] == str(ground)


def test_hidden_entries_are_shown_when_asked_for(api: Any, charlie: User, ground: Path) -> None:
    names = [each["name"] for each in api(charlie).get(browse(ground, hidden="true"))["entries"]]
    assert names == [".secretive", "A", "b", "repo", ".hidden", "notes.txt"]
    api(charlie).get(browse(ground, hidden="maybe"), 400)


def test_a_file_is_read_as_text(api: Any, charlie: User, ground: Path) -> None:
    assert api(charlie).get(read(ground / "notes.txt")) == {
        "path": str(ground / "notes.txt"),
        "content": "Grüße\n",
        "size": 8,
        "truncated": False,
    }


def test_of_a_long_file_the_first_megabyte_is_read(api: Any, charlie: User, ground: Path) -> None:
    # Two bytes a character, of which the limit cuts one in two.
    (ground / "long.txt").write_text("x" + "ü" * 700_000)
    found = api(charlie).get(read(ground / "long.txt"))
    assert found["truncated"] is True
    assert found["size"] == 1_400_001
    assert found["content"] == "x" + "ü" * 499_999


def test_each_thing_that_cannot_be_read_has_its_own_answer(
    api: Any, charlie: User, ground: Path
) -> None:
    (ground / "binary").write_bytes(b"a\0b")
    (ground / "latin").write_bytes(b"Gr\xfc\xdfe")
    said = set()
    for path, status, code in (
        (ground / "binary", 415, "not_text"),
        (ground / "latin", 415, "not_text"),
        (ground / "b", 400, "path_is_a_directory"),
        ("notes.txt", 400, "path_relative"),
        ("~/notes.txt", 400, "path_relative"),
        (ground / "absent", 404, "path_missing"),
        (ground / "notes.txt" / "x", 404, "path_missing"),
        (ground / ("x" * 300), 400, "invalid"),
        (ground / ("x/" * 3_000), 400, "path_invalid"),
        (f"{ground}/a\0b", 400, "path_invalid"),
    ):
        error = api(charlie).get(read(path), status)
        assert error["code"] == code, path
        said.add(error["message"])
    assert len(said) == 10
    api(charlie).get("/api/filesystem/read", 400)
    error = api(charlie).get(browse(ground / "notes.txt"), 400)
    assert error["code"] == "path_not_a_directory"
    api(charlie).get(browse(ground / "absent"), 404)


def test_ones_projects_are_shown_wherever_they_lie(
    api: Any, ground: Path, project: Project, bob: User, charlie: User
) -> None:
    assert not Path(project.path).is_relative_to(ground)
    found = api(bob).get(browse(project.path))
    assert [each["name"] for each in found["entries"]] == ["src", "README.md"]
    assert found["parent"] is None
    assert api(bob).get(read(f"{project.path}/README.md"))["content"] == "# Garden\n"
    assert api(charlie).get(browse(project.path), 403)["code"] == "path_outside"


def test_without_any_root_only_projects_can_be_browsed(
    api: Any, settings: Any, project: Project, bob: User, charlie: User
) -> None:
    settings.FS_ROOTS = []
    assert api(bob).get("/api/filesystem/browse")["path"] == project.path
    api(charlie).get("/api/filesystem/browse", 403)


def test_a_directory_of_very_many_entries_is_cut(
    api: Any, charlie: User, ground: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from apps.host import browsing

    monkeypatch.setattr(browsing, "MOST_ENTRIES", 3)
    found = api(charlie).get(browse(ground))
    assert (len(found["entries"]), found["truncated"]) == (3, True)


def test_a_look_at_many_entries_resolves_no_more_paths_than_one_at_few(
    api: Any, charlie: User, ground: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (ground / "A" / "only").touch()
    for number in range(50):
        (ground / "b" / str(number)).touch()
    resolve = os.path.realpath
    resolved = Counter[str]()

    def counted(path: Any, **options: Any) -> Any:
        resolved[folder] += 1
        return resolve(path, **options)

    monkeypatch.setattr(os.path, "realpath", counted)
    for folder in ("A", "b"):
        api(charlie).get(browse(ground / folder))
    assert resolved["A"] == resolved["b"] > 0
