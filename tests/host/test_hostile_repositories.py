"""A repository whose configuration, attributes and hooks try to run programs as the server."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest

from apps.host import changes, git, worktrees
from apps.host.errors import GitFailed
from apps.host.worktrees import Worktree

from .conftest import Repository


@pytest.fixture
def hostile(repo: Repository, tmp_path: Path) -> Path:
    """Sets every trap; what runs notes its environment in the file that is returned."""
    log = tmp_path / "ran.log"
    program = tmp_path / "trap.sh"
    program.write_text(f'#!/bin/sh\n{{ echo "ran $0 $*"; env; }} >> {log}\nexit 0\n')
    program.chmod(0o755)
    repo.write("tracked.txt", "one\n")
    repo.write(
        ".gitattributes",
        "*.txt filter=evil diff=evil merge=evil\n*.inc filter=inc\n*.md filter=od.d=name\n",
    )
    repo.write("a.inc", "x\n")
    repo.commit("attributes")
    included = tmp_path / "included.config"
    included.write_text(f'[FILTER "inc"]\n\tclean = {program} inc\n\tsmudge = {program} inc\n')
    settings = {
        "core.fsmonitor": f"{program} fsmonitor",
        "core.sshCommand": f"{program} ssh",
        "core.pager": f"{program} pager",
        "core.editor": f"{program} editor",
        "core.askPass": f"{program} askpass",
        "core.alternateRefsCommand": f"{program} refs",
        "core.gitProxy": f"{program} proxy",
        "core.hooksPath": str(tmp_path / "hooks"),
        "credential.helper": f"!{program} credential",
        "diff.external": f"{program} external",
        "diff.evil.command": f"{program} command",
        "diff.evil.textconv": f"{program} textconv",
        "merge.evil.driver": f"{program} merge",
        "filter.evil.clean": f"{program} clean",
        "filter.evil.smudge": f"{program} smudge",
        "filter.evil.process": f"{program} process",
        "filter.evil.required": "true",
        "filter.od.d=name.clean": f"{program} odd",
        "filter.od.d=name.smudge": f"{program} odd",
        "alias.diff": f"!{program} alias",
        "alias.status": f"!{program} alias",
        "pager.diff": f"{program} pager",
        "interactive.diffFilter": f"{program} interactive",
        "gpg.program": f"{program} gpg",
        "log.showSignature": "true",
        "include.path": str(included),
        "branch.main.remote": "evil",
        "branch.main.merge": "refs/heads/main",
        "remote.evil.url": "ssh://localhost:1/x",
        "remote.evil.uploadpack": f"{program} uploadpack",
        "remote.evil.fetch": "+refs/heads/*:refs/remotes/evil/*",
        "protocol.ext.allow": "always",
    }
    for key, value in settings.items():
        repo.git("config", key, value)
    for folder in (tmp_path / "hooks", repo.path / ".git" / "hooks"):
        folder.mkdir(exist_ok=True)
        for hook in ("post-checkout", "post-index-change", "reference-transaction", "pre-auto-gc"):
            (folder / hook).write_text(program.read_text())
            (folder / hook).chmod(0o755)
    log.unlink(missing_ok=True)
    return log


@pytest.fixture(autouse=True)
def secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KANBAN_SECRET_KEY", "the-servers-secret")
    monkeypatch.setenv("SSH_AUTH_SOCK", "/run/agent")


def test_the_traps_do_work(hostile: Path, repo: Repository) -> None:
    repo.write("tracked.txt", "two\n")
    repo.git("status", ok=False)
    assert "ran" in hostile.read_text()


def test_nothing_of_a_repository_runs_in_the_server(
    hostile: Path, repo: Repository, data_dir: Path
) -> None:
    git.inspect(repo.path)
    git.tracked_files(repo.path)
    made = worktrees.create(
        repo.path,
        data_dir / "worktrees" / "card_001",
        branch="card/card_001",
        base="main",
        owns_branch=False,
        data_dir=data_dir,
    )
    repo.write("tracked.txt", "two\n", at=made.path)
    repo.write("new.txt", "new\n", at=made.path)
    repo.write("a.inc", "changed\n", at=made.path)
    repo.write("README.md", "changed\n", at=made.path)
    found = changes.diff(made.path, "main")
    assert (found.files_changed, found.insertions, found.deletions) == (4, 4, 3)
    assert git.is_dirty(made.path)
    git.is_unmerged(made.path, "main")
    removal = worktrees.remove(
        repo.path,
        made.path,
        base="main",
        force=True,
        patch_dir=data_dir / "patches",
        data_dir=data_dir,
    )
    assert removal.patch is not None
    assert git.fetch_base(repo.path, "main", timeout=5) is None
    assert not hostile.exists(), hostile.read_text()


def test_an_extension_that_names_a_program_as_remote_is_refused(
    hostile: Path, repo: Repository
) -> None:
    repo.git("config", "remote.evil.url", f"ext::{hostile.parent / 'trap.sh'} ext")
    assert git.fetch_base(repo.path, "main", timeout=5) is None
    repo.git("config", "remote.evil.vcs", "ext")
    assert git.fetch_base(repo.path, "main", timeout=5) is None
    assert not hostile.exists(), hostile.read_text()


def test_a_filter_that_is_slipped_in_unseen_finds_no_secrets(
    hostile: Path, repo: Repository, worktree: Worktree, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("apps.host.git_command.filters_off", lambda *_: ())
    repo.write("tracked.txt", "two\n", at=worktree.path)
    with contextlib.suppress(GitFailed):
        changes.diff(worktree.path, "main")
    noted = hostile.read_text()
    assert "process" in noted
    assert "the-servers-secret" not in noted
    assert "SSH_AUTH_SOCK" not in noted
    assert "KANBAN" not in noted
