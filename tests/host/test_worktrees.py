from __future__ import annotations

import os
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from apps.host import changes, git, worktrees
from apps.host.errors import GitFailed, HostError, PathRefused, WorktreeDirty
from apps.host.git_command import Call, run
from apps.host.sweeping import sweep_run
from apps.host.worktrees import Removal, Worktree

from .conftest import Repository


def make(
    repo: Path,
    data_dir: Path,
    card: str = "card_001",
    *,
    base: str | None = "main",
    own: bool = False,
) -> Worktree:
    return worktrees.create(
        repo,
        data_dir / "worktrees" / card,
        branch=f"card/{card}",
        base=base,
        owns_branch=own,
        data_dir=data_dir,
    )


def drop(
    repo: Path,
    data_dir: Path,
    card: str = "card_001",
    *,
    base: str | None = "main",
    force: bool = False,
) -> Removal:
    return worktrees.remove(
        repo,
        data_dir / "worktrees" / card,
        base=base,
        force=force,
        patch_dir=data_dir / "patches",
        data_dir=data_dir,
    )


def test_a_worktree_starts_at_its_base_on_its_own_branch(repo: Repository, data_dir: Path) -> None:
    first = repo.git("rev-parse", "HEAD").strip()
    repo.git("branch", "stable")
    repo.write("later.txt", "x\n")
    later = repo.commit("later")
    made = make(repo.path, data_dir, base="stable")
    assert (made.branch, made.base_commit, made.head_commit) == ("card/card_001", first, first)
    assert not (made.path / "later.txt").exists()
    assert repo.git("symbolic-ref", "HEAD", cwd=made.path).strip() == "refs/heads/card/card_001"
    assert "locked" in repo.git("worktree", "list", "--porcelain")
    assert repo.git("config", "--get-regexp", "^branch", ok=False) == ""
    assert worktrees.valid(made.path, repo.path)
    assert make(repo.path, data_dir, "card_002", base=None).base_commit == later


def test_twenty_worktrees_of_one_repository_at_once(repo: Repository, data_dir: Path) -> None:
    with ThreadPoolExecutor(20) as pool:
        made = list(pool.map(lambda n: make(repo.path, data_dir, f"card_{n:03}"), range(20)))
    assert len({worktree.branch for worktree in made}) == 20
    assert repo.git("worktree", "list").count("\n") == 21
    with ThreadPoolExecutor(20) as pool:
        list(pool.map(lambda n: drop(repo.path, data_dir, f"card_{n:03}"), range(20)))
    assert repo.git("worktree", "list").count("\n") == 1


def test_a_branch_that_is_not_the_cards_is_never_reused(repo: Repository, data_dir: Path) -> None:
    repo.git("branch", "card/card_001")
    repo.git("branch", "card/card_001-2")
    made = make(repo.path, data_dir)
    assert made.branch == "card/card_001-3"


def test_nor_is_one_that_git_has_packed_away(repo: Repository, data_dir: Path) -> None:
    repo.git("branch", "card/card_001")
    repo.git("pack-refs", "--all")
    assert not (repo.path / ".git/refs/heads/card/card_001").exists()
    assert make(repo.path, data_dir).branch == "card/card_001-2"
    assert make(repo.path, data_dir, "card_002").branch == "card/card_002"


def test_a_missing_worktree_is_made_again_from_its_branch(repo: Repository, data_dir: Path) -> None:
    made = make(repo.path, data_dir)
    repo.write("work.txt", "x\n", at=made.path)
    head = repo.commit("work", at=made.path)
    shutil.rmtree(made.path)
    again = make(repo.path, data_dir, own=True)
    assert (again.branch, again.head_commit, again.lost) == ("card/card_001", head, None)
    assert (again.path / "work.txt").exists()


def test_a_lock_that_a_killed_git_left_on_the_cards_branch_is_no_obstacle(
    repo: Repository, data_dir: Path
) -> None:
    lock = repo.path / ".git" / "refs" / "heads" / "card" / "card_001.lock"
    lock.parent.mkdir()
    lock.touch()
    other = lock.with_name("card_002.lock")
    other.touch()
    assert make(repo.path, data_dir, own=True).branch == "card/card_001"
    assert not lock.exists()
    assert other.exists()


def test_a_missing_branch_is_started_again_and_said_so(repo: Repository, data_dir: Path) -> None:
    made = make(repo.path, data_dir)
    shutil.rmtree(made.path)
    repo.git("worktree", "remove", "-f", "-f", str(made.path))
    repo.git("branch", "-D", made.branch)
    again = make(repo.path, data_dir, own=True)
    assert again.branch == "card/card_001"
    assert again.lost is not None
    assert "is gone" in again.lost


def test_an_own_branch_that_is_checked_out_elsewhere_is_said_so(
    repo: Repository, data_dir: Path
) -> None:
    repo.git("checkout", "-q", "-b", "card/card_001")
    with pytest.raises(GitFailed) as caught:
        make(repo.path, data_dir, own=True)
    assert caught.value.code == "branch_in_use"
    assert not (data_dir / "worktrees" / "card_001").exists()


def test_what_cannot_become_a_worktree_says_why(
    repo: Repository, data_dir: Path, tmp_path: Path
) -> None:
    def code(where: Path, **given: str) -> str:
        with pytest.raises(HostError) as caught:
            make(where, data_dir, **given)  # type: ignore[arg-type]
        assert caught.value.message.endswith(".")
        return caught.value.code

    plain = tmp_path / "plain"
    plain.mkdir()
    assert code(plain) == "not_git"
    repo.git("clone", "-q", "--bare", str(repo.path), str(tmp_path / "bare.git"))
    assert code(tmp_path / "bare.git") == "path_bare"
    assert code(Repository(tmp_path / "empty", empty=True).path) == "no_commits"
    assert code(repo.path, base="gone") == "base_missing"
    assert code(repo.path, base="--upload-pack=x") == "base_missing"
    assert code(repo.path, card="a..b") == "branch_invalid"
    assert code(repo.path, card="../card_001") == "path_outside"
    repo.git("branch", "card")
    assert code(repo.path) == "branch_conflict"
    (data_dir / "worktrees" / "card_002").mkdir(parents=True)
    assert code(repo.path, card="card_002") == "path_exists"


def test_odd_repositories_work(repo: Repository, data_dir: Path, tmp_path: Path) -> None:
    repo.write("src/a.txt", "a\n")
    repo.write("docs/b.txt", "b\n")
    second = repo.commit("second")

    repo.git("checkout", "-q", "--detach", "HEAD~1")
    assert make(repo.path, data_dir, "detached", base=None).base_commit != second
    repo.git("checkout", "-q", "main")

    shallow = tmp_path / "shallow"
    repo.git("clone", "-q", "--depth=1", f"file://{repo.path}", str(shallow))
    assert make(shallow, data_dir, "shallow").base_commit == second

    linked = tmp_path / "linked ünï code"
    repo.git("worktree", "add", "-q", str(linked), "-b", "linked")
    made = make(linked, data_dir, "linked", base=None)
    assert git.inspect(made.path).common_dir == repo.path / ".git"

    spaces = tmp_path / "with spaces, ünïcode and 'quotes'"
    repo.git("clone", "-q", str(repo.path), str(spaces))
    made = make(spaces, data_dir, "spaces")
    repo.write("x", "y\n", at=made.path)
    assert changes.diff(made.path, "main").files_changed == 1

    sparse = tmp_path / "sparse"
    repo.git("clone", "-q", str(repo.path), str(sparse))
    repo.git("sparse-checkout", "set", "src", cwd=sparse)
    made = make(sparse, data_dir, "sparse")
    assert not git.is_dirty(made.path)
    assert changes.diff(made.path, "main").text == ""

    library = Repository(tmp_path / "library")
    repo.git("submodule", "add", "-q", str(library.path), "lib")
    repo.commit("submodule")
    made = make(repo.path, data_dir, "submodule")
    assert not git.is_dirty(made.path)
    assert changes.diff(made.path, "main").text == ""
    drop(repo.path, data_dir, "submodule")
    assert not made.path.exists()


def test_a_clean_merged_worktree_is_removed_and_its_branch_stays(
    repo: Repository, data_dir: Path, worktree: Worktree
) -> None:
    assert drop(repo.path, data_dir) == Removal()
    assert not worktree.path.exists()
    assert repo.git("worktree", "list").count("\n") == 1
    assert repo.git("branch", "--list", "card/card_001").strip() == "card/card_001"
    assert drop(repo.path, data_dir) == Removal()


@pytest.mark.parametrize("kind", ["uncommitted", "unmerged"])
def test_work_is_not_removed_without_force_and_saved_with_it(
    repo: Repository, data_dir: Path, worktree: Worktree, kind: str
) -> None:
    repo.write("text.txt", "work\n", at=worktree.path)
    repo.write("picture.bin", bytes(range(256)), at=worktree.path)
    repo.write("script.sh", "#!/bin/sh\n", at=worktree.path).chmod(0o755)
    if kind == "unmerged":
        repo.commit("work", at=worktree.path)
    with pytest.raises(WorktreeDirty) as caught:
        drop(repo.path, data_dir)
    assert caught.value.reason == kind
    assert worktree.path.exists()
    removal = drop(repo.path, data_dir, force=True)
    assert not worktree.path.exists()
    assert removal.patch is not None
    assert removal.patch.parent == data_dir / "patches"
    assert removal.patch.name.startswith("card_001-")
    repo.git("apply", str(removal.patch))
    assert (repo.path / "text.txt").read_text() == "work\n"
    assert (repo.path / "picture.bin").read_bytes() == bytes(range(256))
    assert os.access(repo.path / "script.sh", os.X_OK)


def test_what_no_patch_can_hold_is_put_aside(
    repo: Repository, data_dir: Path, worktree: Worktree
) -> None:
    inner = Repository(worktree.path / "inner")
    removal = drop(repo.path, data_dir, force=True)
    assert removal.quarantined is not None
    assert not worktree.path.exists()
    kept = removal.quarantined
    # Who was told the patch's name learns from it where to look.
    assert removal.patch is not None
    assert removal.patch.parent == data_dir / "patches"
    assert f"{kept.parent.name}/{worktree.path.name}-" in removal.patch.read_text()
    assert not list(removal.patch.parent.glob("*.part"))
    assert (kept / "inner" / "README.md").exists()
    assert repo.git("log", "--format=%s", cwd=kept / "inner").strip() == "first"
    assert inner.path != kept
    # Its branch is free again, and git still knows the quarantined tree.
    assert worktrees.valid(kept, repo.path)
    assert make(repo.path, data_dir, own=True).branch == "card/card_001"


def test_a_worktree_with_damaged_git_data_fails_closed(
    repo: Repository, data_dir: Path, worktree: Worktree
) -> None:
    (worktree.path / ".git").write_text("gitdir: /nonexistent\n")
    with pytest.raises(WorktreeDirty) as caught:
        drop(repo.path, data_dir)
    assert caught.value.reason == "unreadable"
    removal = drop(repo.path, data_dir, force=True)
    assert removal.quarantined is not None
    assert (removal.quarantined / "README.md").exists()
    assert repo.git("worktree", "list").count("\n") == 1


def test_a_worktree_that_was_led_to_another_repository_fails_closed(
    repo: Repository, data_dir: Path, worktree: Worktree, tmp_path: Path
) -> None:
    other = Repository(tmp_path / "other")
    elsewhere = tmp_path / "elsewhere"
    other.git("worktree", "add", "-q", str(elsewhere), "-b", "x")
    (worktree.path / ".git").write_text((elsewhere / ".git").read_text())
    assert not worktrees.valid(worktree.path)
    with pytest.raises(WorktreeDirty):
        drop(repo.path, data_dir)
    (other.path / ".git/worktrees/elsewhere/index.lock").touch()
    assert worktrees.clear_stale_locks(worktree.path) == []


def test_removal_follows_no_link_and_leaves_the_worktrees_directory_only(
    repo: Repository, data_dir: Path, worktree: Worktree, tmp_path: Path
) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "file").write_text("x")
    (worktree.path / "link").symlink_to(precious)
    (worktree.path / "locked-dir").mkdir()
    (worktree.path / "locked-dir" / "file").write_text("x")
    (worktree.path / "locked-dir").chmod(0o500)
    drop(repo.path, data_dir, force=True)
    assert (precious / "file").exists()
    assert not worktree.path.exists()
    (data_dir / "worktrees" / "card_002").symlink_to(precious)
    with pytest.raises(WorktreeDirty):
        drop(repo.path, data_dir, "card_002")
    drop(repo.path, data_dir, "card_002", force=True)
    assert (precious / "file").exists()
    for outside in (repo.path, data_dir / "worktrees", data_dir / "worktrees" / "a" / "b"):
        with pytest.raises(PathRefused):
            worktrees.remove(
                repo.path,
                outside,
                base="main",
                force=True,
                patch_dir=data_dir / "patches",
                data_dir=data_dir,
            )
    assert (repo.path / "README.md").exists()


def test_another_worktree_whose_directory_is_missing_is_left_alone(
    repo: Repository, data_dir: Path, worktree: Worktree, tmp_path: Path
) -> None:
    unplugged = tmp_path / "unplugged"
    repo.git("worktree", "add", "-q", str(unplugged), "-b", "theirs")
    unplugged.rename(tmp_path / "away")
    drop(repo.path, data_dir)
    make(repo.path, data_dir, own=True)
    assert "unplugged" in repo.git("worktree", "list")


def test_a_repository_that_is_gone_fails_closed(
    repo: Repository, data_dir: Path, worktree: Worktree
) -> None:
    shutil.rmtree(repo.path)
    with pytest.raises(WorktreeDirty):
        drop(repo.path, data_dir)
    assert drop(repo.path, data_dir, force=True).quarantined is not None


def test_only_a_worktrees_own_stale_locks_are_removed(
    repo: Repository, data_dir: Path, worktree: Worktree
) -> None:
    other = make(repo.path, data_dir, "card_002")
    own = repo.path / ".git/worktrees/card_001"
    common = repo.path / ".git"
    mine = [own / "index.lock", own / "HEAD.lock", common / "refs/heads/card/card_001.lock"]
    others = [
        repo.path / ".git/worktrees/card_002/index.lock",
        *(common / "index.lock", common / "packed-refs.lock", common / "config.lock"),
        *(common / "refs/heads/card/card_002.lock", common / "refs/heads/main.lock"),
    ]
    for file in mine + others:
        file.touch()
    assert sorted(worktrees.clear_stale_locks(worktree.path)) == sorted(mine)
    assert all(file.exists() for file in others)
    assert (own / "locked").exists()
    assert worktrees.clear_stale_locks(worktree.path) == []
    assert other.path.exists()


def test_an_unknown_directory_is_put_aside_whole(data_dir: Path) -> None:
    stray = data_dir / "worktrees" / "stray"
    stray.mkdir(parents=True)
    (stray / "file").write_text("x")
    first = worktrees.quarantine(stray, data_dir / "quarantine")
    assert (first / "file").read_text() == "x"
    assert not stray.exists()


def test_a_worktree_costs_little_more_than_git(repo: Repository, data_dir: Path) -> None:
    def took(function: object) -> float:
        assert callable(function)
        began = time.perf_counter()
        function()
        return time.perf_counter() - began

    raw = min(
        took(lambda n=n: repo.git("worktree", "add", "-q", f"{repo.path}-{n}", "-b", f"raw{n}"))
        for n in range(5)
    )
    ours = min(took(lambda n=n: make(repo.path, data_dir, f"card_{n}")) for n in range(5))
    assert ours <= raw + 0.04


def test_the_branch_is_told_before_git_makes_it_and_is_then_reused(
    repo: Repository, data_dir: Path
) -> None:
    told: list[tuple[str, str | None, bool]] = []

    class Died(Exception):
        pass

    def create(*, own: bool, die: bool) -> Worktree:
        def on_branch(name: str, start: str | None) -> None:
            told.append((name, start, name in repo.git("branch", "--list", "card/*")))
            if die:
                raise Died

        return worktrees.create(
            repo.path,
            data_dir / "worktrees" / "card_001",
            branch="card/card_001",
            base="main",
            owns_branch=own,
            data_dir=data_dir,
            on_branch=on_branch,
        )

    head = repo.git("rev-parse", "HEAD").strip()
    with pytest.raises(Died):
        create(own=False, die=True)
    repo.git("branch", "card/card_001")
    assert create(own=True, die=False).branch == "card/card_001"
    assert told == [("card/card_001", head, False), ("card/card_001", None, True)]


def test_git_of_a_run_is_found_by_its_sweep(tmp_path: Path) -> None:
    run(["init", "--quiet", str(tmp_path)], cwd=tmp_path)
    call = Call(["cat-file", "--batch"], cwd=tmp_path, data=b"", marker="hgit:sess_001.1")
    try:
        assert sweep_run("hgit", "sess_001", below_fence=2) == []
        assert call.process.wait(5) == -9
    finally:
        call.kill()
