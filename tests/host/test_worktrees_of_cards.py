from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
from django.conf import settings

from apps.cards import worktrees
from apps.cards.models import Card, Worktree
from apps.host import git
from apps.host import worktrees as on_disk
from apps.host.errors import HostError
from tests.factories import make_card, make_project, make_user

from .conftest import Repository

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def card(repo: Repository, data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Card:
    monkeypatch.setattr(settings, "DATA_DIR", data_dir)
    project = make_project(make_user("alice"))
    project.path, project.is_git, project.worktree = str(repo.path), True, True
    project.save()
    return Card.objects.select_related("project").get(pk=make_card(project).pk)


def prepare(card: Card) -> worktrees.Place:
    return worktrees.prepare(
        card, host_id="h1", run="sess_001", marker="h1:sess_001.1", given_up=lambda: False
    )


def test_a_directory_that_was_there_before_its_row_is_put_aside(card: Card, data_dir: Path) -> None:
    stray = worktrees.directory(card.pk)
    stray.mkdir(parents=True)
    (stray / "file").write_text("x")
    assert (prepare(card).path / ".git").is_file()
    [kept] = (data_dir / "quarantine").iterdir()
    assert (kept / "file").read_text() == "x"


def test_a_death_before_the_worktree_was_recorded_costs_no_second_branch(
    card: Card, repo: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Died(Exception):
        pass

    def die(*_: object) -> bool:
        raise Died

    with monkeypatch.context() as patch:
        patch.setattr(worktrees, "_made", die)
        with pytest.raises(Died):
            prepare(card)
    place = prepare(card)
    row = Worktree.objects.get(card_id=card.pk)
    assert (row.state, row.owns_branch, place.notice) == (Worktree.State.READY, True, None)
    assert row.base_commit == repo.git("rev-parse", "HEAD").strip()
    assert len(repo.git("branch", "--list", "card/*").splitlines()) == 1


def test_after_a_base_that_does_not_exist_another_base_in_the_settings_counts(
    card: Card, repo: Repository
) -> None:
    card.project.base_branch = "nowhere"
    with pytest.raises(HostError) as refused:
        prepare(card)
    assert refused.value.code == "base_missing"
    repo.git("branch", "release")
    card.project.base_branch = "release"
    assert (prepare(card).path / ".git").is_file()
    assert Worktree.objects.get(card_id=card.pk).base_ref == "release"


def test_a_base_that_takes_too_long_to_fetch_is_taken_as_it_is_and_the_card_says_so(
    card: Card, repo: Repository, slow_remote: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    repo.git("remote", "add", "origin", slow_remote)
    repo.git("config", "branch.main.remote", "origin")
    repo.git("config", "branch.main.merge", "refs/heads/main")
    monkeypatch.setattr(git, "fetch_base", partial(git.fetch_base, timeout=1))
    place = prepare(card)
    assert "main" in (place.notice or "")
    assert "longer than 1 s" in (place.notice or "")
    assert (
        Worktree.objects.get(card_id=card.pk).base_commit == repo.git("rev-parse", "main").strip()
    )
    assert prepare(card).notice is None


def test_a_card_that_was_deleted_meanwhile_gets_no_worktree(card: Card, repo: Repository) -> None:
    Card.objects.filter(pk=card.pk).delete()
    with pytest.raises(HostError) as refused:
        prepare(card)
    assert refused.value.code == "card_deleted"
    assert not worktrees.directory(card.pk).exists()
    assert repo.git("branch", "--list", "card/*") == ""
    assert not Worktree.objects.exists()


def test_one_removal_that_fails_does_not_hold_up_the_next_and_is_said_once(
    card: Card, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    other = Card.objects.select_related("project").get(pk=make_card(card.project).pk)
    stuck, fine = prepare(card).path, prepare(other).path
    Worktree.objects.update(state=Worktree.State.REMOVING)
    remove = on_disk.remove

    def fail_for_one(repo: Path, path: Path, **rest: object) -> on_disk.Removal:
        if path == stuck:
            raise OSError("the disk is sulking")
        return remove(repo, path, **rest)  # type: ignore[arg-type]

    monkeypatch.setattr(on_disk, "remove", fail_for_one)
    for _ in range(3):
        worktrees.remove_due("h1")
    assert stuck.exists()
    assert not fine.exists()
    assert caplog.text.count("sulking") == 1
