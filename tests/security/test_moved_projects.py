"""A project's directory that somebody replaced by a link: nothing behind it is the project's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from apps.accounts.models import User
from apps.cards import worktrees
from apps.host.errors import HostError
from apps.projects.models import Project
from tests import factories

pytestmark = pytest.mark.django_db

MOVED = "project_path_moved"


@pytest.fixture
def outside(tmp_path: Path, run_git: Any) -> Path:
    """What none of the project's people may see."""
    folder = tmp_path.resolve() / "outside"
    folder.mkdir()
    run_git(folder, "init", "--quiet", "--initial-branch=main")
    (folder / "s.txt").write_text("secret")
    (folder / ".kanban.toml").write_text('model = "secret"')
    run_git(folder, "add", ".")
    run_git(folder, "-c", "user.name=O", "-c", "user.email=o@x.org", "commit", "-qm", "Hide")
    return folder


@pytest.fixture(params=["its directory", "one above it"])
def moved(
    request: Any, alice: User, bob: User, outside: Path, settings: Any, repository: Path
) -> Project:
    """Of two directories, one in the other, one is a link by now."""
    settings.FS_ROOTS = []
    folder = repository
    if request.param == "one above it":
        folder = repository.parent / "above" / outside.name
        folder.parent.mkdir()
        repository.rename(folder)
    project = factories.make_project(alice, path=folder)
    factories.add_member(project, bob)
    if request.param == "one above it":
        folder.parent.rename(folder.parent.with_name("aside"))
        folder.parent.symlink_to(outside.parent)
    else:
        folder.rename(folder.with_name("aside"))
        folder.symlink_to(outside)
    return project


def test_what_the_link_leads_to_is_not_shown(
    api: Any, moved: Project, outside: Path, bob: User, charlie: User
) -> None:
    for where in (outside, Path(moved.path)):
        for what in (f"read?path={where}/s.txt", f"browse?path={where}"):
            error = api(bob).get(f"/api/filesystem/{what}", 403)
            assert "secret" not in str(error)
    assert error["code"] == MOVED
    assert moved.path in error["message"]
    assert "Put the directory back" in error["message"]
    assert str(outside) not in error["message"]
    # Whose project it isn't learns nothing of it.
    error = api(charlie).get(f"/api/filesystem/browse?path={moved.path}", 403)
    assert error["code"] == "path_outside"
    api(bob).get("/api/filesystem/browse", 403)


def test_neither_files_nor_settings_are_read_through_it(
    api: Any, moved: Project, alice: User
) -> None:
    url = f"/api/projects/{moved.pk}"
    for answer in (
        api(alice).get(f"{url}/files", 409),
        api(alice).get(f"{url}/settings", 409),
        api(alice).post(f"{url}/settings/accept", {"hash": None}, 409),
    ):
        assert answer["code"] == MOVED
        assert "Put the directory back" in answer["message"]


@pytest.mark.parametrize("worktree", [True, False])
def test_no_agent_starts_in_it(moved: Project, settings: Any, *, worktree: bool) -> None:
    Project.objects.update(worktree=worktree)
    card = factories.make_card(Project.objects.get())
    with pytest.raises(HostError) as refused:
        worktrees.prepare(card, host_id="h", run="sess_001", marker="m", given_up=lambda: False)
    assert refused.value.code == MOVED
    assert Project.objects.get().model is None


def test_somebody_elses_moved_project_stays_hidden_where_it_is_now(
    api: Any, moved: Project, outside: Path, charlie: User, settings: Any
) -> None:
    settings.FS_ROOTS = [outside.parent]
    api(charlie).get(f"/api/filesystem/read?path={outside}/s.txt", 403)
