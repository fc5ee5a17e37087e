from __future__ import annotations

import subprocess
from functools import partial
from pathlib import Path

import pytest

from apps.host import committing
from apps.host.committing import commit_all
from apps.host.environment import agent_environment
from apps.host.errors import GitFailed
from tests.process.repository import git, make_repository

MARKER = "host:sess_001.1"


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    return make_repository(tmp_path / "repository")


def commit(worktree: Path, message: str = "Dig\n", *, given_up: bool = False) -> str | None:
    home = worktree.parent / "home"
    home.mkdir(exist_ok=True)
    environment = agent_environment(
        home=home, extra={}, person=("Bob", "bob@example.org"), marker=MARKER
    )
    return commit_all(
        worktree,
        message,
        environment=environment,
        marker=MARKER,
        given_up=lambda: given_up,
    )


def test_filters_run_without_secrets_and_hooks_not_at_all(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KANBAN_SECRET_KEY", "s3cret")
    seen = repository.parent / "seen"
    git(repository, "config", "filter.see.clean", f"env > {seen}; tr a-z A-Z")
    hook = repository / ".git/hooks/pre-commit"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\nexit 1\n")
    hook.chmod(0o755)
    (repository / ".gitattributes").write_text("*.up filter=see\n")
    (repository / "a.up").write_text("loud")
    assert commit(repository)
    assert git(repository, "show", "HEAD:a.up") == "LOUD"
    assert "s3cret" not in seen.read_text()
    assert f"BOARD_RUN={MARKER}" in seen.read_text()


def test_it_can_be_repeated_and_takes_names_and_messages_as_they_are(repository: Path) -> None:
    names = ["-f", "a b", "*", "ü", ":(top)x"]
    for name in names:
        (repository / name).write_text(name)
    (repository / names[0]).chmod(0o755)
    message = '# -- "quoted" $(touch x)\n\nKanban-Turn: 1\n'
    first = commit(repository, message)
    assert first == git(repository, "rev-parse", "--short", "HEAD").strip()
    assert git(repository, "log", "-1", "--format=%B").strip() == message.strip()
    assert commit(repository) is None
    (repository / "a b").unlink()
    assert commit(repository) not in (None, first)
    assert git(repository, "status", "--porcelain") == ""


def test_what_somebody_is_in_the_middle_of_is_left_to_them(repository: Path) -> None:
    git(repository, "checkout", "-q", "-b", "other")
    for branch, text in (("other", "one"), ("main", "two")):
        git(repository, "checkout", "-q", branch)
        (repository / "same.txt").write_text(text)
        git(repository, "add", "-A")
        git(repository, "commit", "-q", "-m", text)
    before = git(repository, "rev-parse", "HEAD")
    with pytest.raises(subprocess.CalledProcessError):
        git(repository, "merge", "-q", "other")
    with pytest.raises(GitFailed, match="middle of a merge"):
        commit(repository)
    assert git(repository, "rev-parse", "HEAD") == before


def test_nothing_is_started_once_nobody_waits(repository: Path) -> None:
    (repository / "new").write_text("x")
    with pytest.raises(GitFailed) as failed:
        commit(repository, given_up=True)
    assert failed.value.code == "given_up"
    assert "?? new" in git(repository, "status", "--porcelain")


def test_git_that_takes_too_long_leaves_no_lock_to_the_agent_that_goes_on(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = repository.parent / "slow"
    slow.write_text("#!/bin/sh\ntrap '' TERM\nsleep 30\n")
    slow.chmod(0o755)
    git(repository, "config", "filter.slow.clean", str(slow))
    (repository / ".gitattributes").write_text("*.slow filter=slow\n")
    (repository / "a.slow").write_text("x")
    monkeypatch.setattr(committing, "run", partial(committing.run, timeout=1))
    with pytest.raises(GitFailed) as failed:
        commit(repository)
    assert failed.value.code == "git_timeout"
    assert list((repository / ".git").rglob("*.lock")) == []
    (repository / "a.slow").unlink()
    assert commit(repository)
