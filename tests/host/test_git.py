from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from apps.host import git
from apps.host.errors import GitFailed
from apps.host.worktrees import Worktree
from tests.process.server import until

from .conftest import ODD_NAMES, Repository, odd_names


def test_a_repository_is_told_from_what_is_none(repo: Repository, tmp_path: Path) -> None:
    head = repo.git("rev-parse", "HEAD").strip()
    info = git.inspect(repo.path)
    assert (info.is_git, info.bare, info.has_commits) == (True, False, True)
    assert (info.head_branch, info.head_commit) == ("main", head)
    assert (info.toplevel, info.common_dir) == (repo.path, repo.path / ".git")
    plain = tmp_path / "plain"
    plain.mkdir()
    assert not git.inspect(plain).is_git
    repo.git("clone", "-q", "--bare", str(repo.path), str(tmp_path / "bare.git"))
    assert git.inspect(tmp_path / "bare.git").bare
    repo.git("checkout", "-q", "--detach")
    assert git.inspect(repo.path).head_branch is None
    assert git.inspect(repo.path).head_commit == head
    empty = git.inspect(Repository(tmp_path / "no commits ü", empty=True).path)
    assert (empty.is_git, empty.has_commits, empty.head_branch) == (True, False, "main")
    with pytest.raises(GitFailed) as caught:
        git.inspect(tmp_path / "gone")
    assert caught.value.code == "directory_missing"


def test_tracked_files_are_listed_sorted_and_whole(repo: Repository, tmp_path: Path) -> None:
    odd_names(repo, repo.path)
    repo.commit("odd")
    (repo.path / os.fsdecode(b"not-utf8-\xff")).write_text("x")
    repo.git("add", "-A")
    repo.write("untracked.txt", "x")
    listed = git.tracked_files(repo.path)
    assert listed == sorted([*ODD_NAMES, "README.md", "not-utf8-\ufffd"], key=str.encode)
    plain = tmp_path / "plain"
    plain.mkdir()
    assert git.tracked_files(plain) == []


def test_dirty_is_anything_uncommitted(worktree: Worktree, repo: Repository) -> None:
    assert not git.is_dirty(worktree.path)
    repo.write("new.txt", "x\n", at=worktree.path)
    assert git.is_dirty(worktree.path)
    repo.commit("done", at=worktree.path)
    assert not git.is_dirty(worktree.path)
    repo.write("README.md", "changed\n", at=worktree.path)
    assert git.is_dirty(worktree.path)
    repo.git("add", "-A", cwd=worktree.path)
    assert git.is_dirty(worktree.path)


def test_a_submodules_changes_make_its_worktree_dirty(
    repo: Repository, worktree: Worktree, tmp_path: Path
) -> None:
    library = Repository(tmp_path / "library")
    repo.git("submodule", "add", "-q", str(library.path), "lib", cwd=worktree.path)
    repo.commit("a submodule", at=worktree.path)
    assert not git.is_dirty(worktree.path)
    repo.write("lib/README.md", "changed\n", at=worktree.path)
    assert git.is_dirty(worktree.path)
    assert git.nested_repositories(worktree.path) == [worktree.path / "lib"]


def test_work_is_merged_when_the_base_has_its_commits_or_its_content(
    repo: Repository, worktree: Worktree
) -> None:
    assert not git.is_unmerged(worktree.path, "main")
    for number in range(3):
        repo.write("work.txt", f"{number}\n", at=worktree.path)
        repo.commit(f"step {number}", at=worktree.path)
    assert git.is_unmerged(worktree.path, "main")
    repo.git("merge", "-q", "--squash", "card/card_001")
    repo.commit("squashed")
    repo.write("later.txt", "x\n")
    repo.commit("main goes on")
    assert not git.is_unmerged(worktree.path, "main")
    repo.write("work.txt", "overwritten\n")
    repo.commit("not what the card left")
    assert git.is_unmerged(worktree.path, "main")


def test_the_base_is_fetched_from_its_upstream(repo: Repository, tmp_path: Path) -> None:
    clone = Repository(tmp_path / "unused", empty=True)
    clone.git("clone", "-q", str(repo.path), str(tmp_path / "clone"))
    assert git.fetch_base(repo.path, "main") is None
    assert git.fetch_base(tmp_path / "clone", "main") == repo.git("rev-parse", "main").strip()
    repo.write("more.txt", "x\n")
    newer = repo.commit("newer")
    assert git.fetch_base(tmp_path / "clone", "main") == newer
    assert git.fetch_base(tmp_path / "clone", "origin/main") == newer
    repo.git("commit", "-q", "--amend", "-m", "rewritten")
    clone.git("reset", "-q", "--hard", newer, cwd=tmp_path / "clone")
    assert git.fetch_base(tmp_path / "clone", "main") is None
    shutil.rmtree(repo.path)
    assert git.fetch_base(tmp_path / "clone", "main") is None


def test_a_fetch_that_takes_too_long_leaves_nothing_of_what_it_began(
    repo: Repository, tmp_path: Path, slow_remote: str
) -> None:
    repo.git("remote", "add", "origin", slow_remote)
    repo.git("config", "branch.main.remote", "origin")
    repo.git("config", "branch.main.merge", "refs/heads/main")
    packs = repo.path / ".git" / "objects" / "pack"
    somebody_elses = packs / "tmp_pack_abcdef"
    somebody_elses.write_text("being fetched")
    with ThreadPoolExecutor() as pool:
        fetch = pool.submit(git.fetch_base, repo.path, "main", timeout=3)
        until(lambda: len(list(packs.glob("tmp_*"))) == 2, what="the pack that is being fetched")
        with pytest.raises(GitFailed) as failed:
            fetch.result()
    assert failed.value.code == "git_timeout"
    assert list((repo.path / ".git" / "objects").rglob("tmp_*")) == [somebody_elses]
    assert list((repo.path / ".git").rglob("*.lock")) == []


def test_a_large_list_costs_little_more_than_git(tmp_path: Path) -> None:
    big = Repository(tmp_path / "big", empty=True)
    blob = "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391"
    (tmp_path / "entries").write_text(
        "".join(f"100644 {blob}\td{n % 200}/file{n}.txt\n" for n in range(20_000))
    )
    big.git("hash-object", "-w", "/dev/null")
    with (tmp_path / "entries").open("rb") as entries:
        subprocess.run(
            ["git", "update-index", "--index-info"], cwd=big.path, stdin=entries, check=True
        )

    def best(function: Callable[[], object]) -> float:
        times = []
        for _ in range(7):
            began = time.perf_counter()
            function()
            times.append(time.perf_counter() - began)
        return min(times)

    raw = best(lambda: big.git("ls-files", "-z"))
    assert len(git.tracked_files(big.path)) == 20_000
    assert best(lambda: git.tracked_files(big.path)) <= 2 * raw + 0.02
