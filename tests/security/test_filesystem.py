"""What somebody can try who may look at a part of the server's disk, to see the rest."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from apps.accounts.models import User
from apps.host import paths
from apps.host.errors import PathRefused
from apps.projects.models import Project
from tests import factories

pytestmark = pytest.mark.django_db


def browse(path: Path | str) -> str:
    return f"/api/filesystem/browse?hidden=true&path={quote(os.fsencode(path))}"


def read(path: Path | str) -> str:
    return f"/api/filesystem/read?path={quote(os.fsencode(path))}"


@pytest.fixture
def ground(tmp_path: Path, settings: Any, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A root that is the server user's home, with the data directory in it; beside it, a secret."""
    home = tmp_path.resolve() / "home"
    for folder in (".ssh", "data/worktrees", "work"):
        (home / folder).mkdir(parents=True)
    for name in (".ssh/id_ed25519", ".netrc", "data/secret_key", "work/notes.txt"):
        (home / name).write_text("content")
    (home.parent / "secret").write_text("secret")
    (home.parent / "home-of-another").mkdir()
    monkeypatch.setenv("HOME", str(home))
    settings.FS_ROOTS = [home]
    settings.DATA_DIR = home / "data"
    return home


def names(api: Any, who: User, path: Path | str) -> set[str]:
    return {each["name"] for each in api(who).get(browse(path))["entries"]}


@pytest.mark.parametrize(
    "path",
    [
        "/etc/passwd",
        "{ground}/../secret",
        "{ground}/work/../../secret",
        "{ground}-of-another",
        "{ground}/.ssh/id_ed25519",
        "{ground}/.ssh",
        "{ground}/work/../.ssh/id_ed25519",
        "{ground}/.netrc",
        "{ground}/data/secret_key",
        "{ground}/data",
        "{ground}//data/./secret_key",
        "{ground}/.no-such-file",
        "{ground}/../no-such-file",
        "/proc/self/environ",
        "/proc/self/root/etc/passwd",
        "/proc/self/cwd",
    ],
)
def test_no_spelling_of_a_path_shows_what_is_not_to_be_seen(
    api: Any, ground: Path, charlie: User, root: User, path: str
) -> None:
    for who in (charlie, root):
        for ask in (read, browse):
            assert api(who).get(ask(path.format(ground=ground)), 403)["code"] == "path_outside"
        assert api(who).get(read(f"{ground}/work/../work//notes.txt"))["content"] == "content"


def test_private_places_are_not_even_listed(api: Any, ground: Path, charlie: User) -> None:
    assert names(api, charlie, ground) == {"work"}


def test_a_root_of_everything_does_not_show_the_servers_environment(
    api: Any, ground: Path, settings: Any, charlie: User
) -> None:
    settings.FS_ROOTS = [Path("/")]
    for path in ("/proc/self/environ", f"/proc/{os.getpid()}/environ", "/sys/kernel"):
        api(charlie).get(read(path), 403)
    api(charlie).get(read(ground / "data" / "secret_key"), 403)
    assert api(charlie).get(read(ground / "work" / "notes.txt"))["content"] == "content"
    assert not names(api, charlie, "/") & {"proc", "sys"}


def test_links_are_followed_only_to_what_may_be_seen(api: Any, ground: Path, charlie: User) -> None:
    work = ground / "work"
    for name, target in (
        ("out", ground.parent / "secret"),
        ("out-directory", ground.parent),
        ("key", ground / ".ssh" / "id_ed25519"),
        ("data", ground / "data"),
        ("broken", ground / "nowhere"),
        ("circle", work / "circle"),
        ("fine", work / "notes.txt"),
    ):
        (work / name).symlink_to(target)
    assert names(api, charlie, work) == {"notes.txt", "fine"}
    assert api(charlie).get(read(work / "fine"))["path"] == str(work / "notes.txt")
    for name in ("out", "key", "data/secret_key", "out-directory/secret"):
        api(charlie).get(read(work / name), 403)
    api(charlie).get(browse(work / "data"), 403)
    assert api(charlie).get(read(work / "circle"), None)["code"] in ("invalid", "path_outside")


def test_what_is_swapped_after_the_check_is_noticed_when_it_is_open(
    ground: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    notes = ground / "work" / "notes.txt"
    really_open = os.open

    def swapped(path: Any, flags: int, *more: Any, **named: Any) -> int:
        notes.unlink(missing_ok=True)
        notes.symlink_to(ground.parent / "secret")
        return really_open(path, flags, *more, **named)

    def within(real: Path) -> bool:
        return real.is_relative_to(ground)

    descriptor, _ = paths.open_allowed(str(notes), within)
    os.close(descriptor)
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    monkeypatch.setattr(paths.os, "open", swapped)
    with pytest.raises(PathRefused):
        paths.open_allowed(str(notes), within)
    monkeypatch.undo()
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208


def test_pipes_and_devices_hold_nobody_up(api: Any, ground: Path, charlie: User) -> None:
    os.mkfifo(ground / "work" / "pipe")
    assert api(charlie).get(read(ground / "work" / "pipe"), 400)["code"] == "path_not_a_file"
    assert names(api, charlie, ground / "work") == {"notes.txt"}


def test_names_that_are_no_text_do_not_break_the_list(
    api: Any, ground: Path, charlie: User
) -> None:
    (ground / "work" / os.fsdecode(b"odd\xff")).write_text("x")
    (ground / "work" / "new\nline").write_text("x")
    assert names(api, charlie, ground / "work") == {"notes.txt", "new\nline"}


def test_a_project_is_shown_only_to_those_who_reach_it(
    api: Any, ground: Path, alice: User, charlie: User, root: User
) -> None:
    outer = factories.make_project(alice, path=ground / "work", name="Outer")
    inner_path = ground / "work" / "inner"
    inner_path.mkdir()
    (inner_path / "plan.txt").write_text("plan")
    api(charlie).get(read(ground / "work" / "notes.txt"), 403)
    api(charlie).get(browse(ground / "work"), 403)
    assert names(api, charlie, ground) == set()
    inner = factories.make_project(charlie, path=inner_path, name="Inner")
    # The innermost decides: Charlie's lies in Alice's, of which he sees no more for that.
    assert api(charlie).get(read(inner_path / "plan.txt"))["content"] == "plan"
    api(charlie).get(browse(ground / "work"), 403)
    api(alice).get(read(inner_path / "plan.txt"), 403)
    assert "inner" not in names(api, alice, ground / "work")
    for path in (inner_path / "plan.txt", ground / "work" / "notes.txt"):
        api(root).get(read(path))
    factories.add_member(inner, alice)
    factories.add_member(outer, charlie)
    for who in (alice, charlie):
        assert names(api, who, ground / "work") == {"notes.txt", "inner"}
        api(who).get(read(inner_path / "plan.txt"))


def test_a_link_into_somebody_elses_project_shows_nothing(
    api: Any, ground: Path, project: Project, charlie: User, bob: User
) -> None:
    (ground / "work" / "theirs").symlink_to(project.path)
    assert names(api, charlie, ground / "work") == {"notes.txt"}
    api(charlie).get(read(ground / "work" / "theirs" / "README.md"), 403)
    assert names(api, bob, ground / "work") == {"notes.txt", "theirs"}
    api(bob).get(read(ground / "work" / "theirs" / "README.md"))


def test_no_token_looks_at_the_disk(api: Any, ground: Path, alice: User) -> None:
    api(factories.make_token(alice)).get(browse(ground), 403)
    api(None).get(browse(ground), 401)
    api(alice).get(browse(ground))
