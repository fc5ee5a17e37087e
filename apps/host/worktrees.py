"""Making and removing the working trees that agents work in.

The database has a row for each worktree and branch of ours, in front of the disk; nothing here looks at
rows. So whatever is on disk and isn't expected is refused or put into quarantine, never reused or deleted.
Calls block: about 20 ms for a small repository, as long as git needs for a large one.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from apps.host import branches, changes, git
from apps.host.disk import delete_tree, flock
from apps.host.errors import GitFailed, HostError, PathRefused, WorktreeDirty
from apps.host.git_command import GitDirs, environment, filters_off, locate, run
from apps.host.worktree_metadata import (
    belongs,
    clear_branch_lock,
    clear_stale_locks,
    forget,
    is_free,
    moment,
    quarantine,
    valid,
)

__all__ = [
    "Removal",
    "Worktree",
    "clear_stale_locks",
    "create",
    "quarantine",
    "remove",
    "unsaved_work",
    "valid",
]

CHECKOUT_TIMEOUT_S = 600.0
# Whoever finds it taken for longer is to try again; a frozen holder must not hold up others for minutes.
LOCK_TIMEOUT_S = 10.0
_TRIES = 3


@dataclass(frozen=True)
class Worktree:
    """What was made. `branch` may have got a suffix; `base_commit` is where it starts (None if it was
    made again from its own branch); `lost` is a sentence for people when earlier work is gone."""

    path: Path
    branch: str
    base_commit: str | None
    head_commit: str
    lost: str | None = None


@dataclass(frozen=True)
class Removal:
    """`patch`: where the work was saved. `quarantined`: where the directory is when it wasn't deleted, since
    no patch could have held everything; then `patch` is a text that says so."""

    patch: Path | None = None
    quarantined: Path | None = None


def worktrees_dir(data_dir: Path) -> Path:
    return data_dir / "worktrees"


@contextlib.contextmanager
def repository_lock(data_dir: Path, common_dir: Path) -> Iterator[None]:
    """One at a time per repository, over all processes of the host: git's own locks fail instead of
    waiting (of 20 worktrees made at once 9 failed)."""
    folder = data_dir / "locks"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    name = hashlib.sha256(os.fsencode(os.path.realpath(common_dir))).hexdigest()[:32]
    try:
        with flock(folder / f"repository-{name}", timeout=LOCK_TIMEOUT_S):
            yield
    except TimeoutError as problem:
        raise HostError(
            "Another worktree of this repository is in the making. Try again later.",
            code="repository_busy",
        ) from problem


def create(
    repo: Path,
    path: Path,
    *,
    branch: str,
    base: str | None,
    owns_branch: bool,
    data_dir: Path,
    info: git.RepositoryInfo | None = None,
    on_branch: Callable[[str, str | None], None] | None = None,
    marker: str | None = None,
) -> Worktree:
    """Make `path`, directly below the worktrees directory, a worktree of `repo`.

    `owns_branch`: the branch is recorded as this card's; if it exists, the worktree is made again from
    it. Otherwise an existing branch is never touched: the name gets `-2`, `-3`, …. `base` is a branch, a
    commit or None for HEAD. `info` spares asking git again. Metadata that git kept for a deleted `path` is
    healed. `on_branch` is told the branch and where it starts (None: it exists) before git makes anything,
    for each attempt; what it raises ends the call. `marker`: git is part of that run.
    """
    _require_ours(path, data_dir)
    info = info or git.inspect(repo)
    if not info.is_git or info.common_dir is None:
        raise GitFailed(f"{repo} is not a git repository.", code="not_git")
    if info.bare:
        raise GitFailed(
            f"{repo} is a bare repository. Use a clone that has a working tree.", code="path_bare"
        )
    if not info.has_commits and not (base and git.resolve(repo, base)):
        raise GitFailed(
            "The repository has no commits yet, so there is nothing to start from. Make the first"
            " commit, then start again.",
            code="no_commits",
        )
    branches.require_name(repo, branch)
    if path.exists() or path.is_symlink():
        raise GitFailed(
            f"The directory {path.name} exists already in the worktrees directory and is not this"
            " card's. Move it away.",
            code="path_exists",
        )
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with repository_lock(data_dir, info.common_dir):
        return _create_locked(
            repo,
            info,
            path,
            branch,
            base,
            owns_branch=owns_branch,
            on_branch=on_branch,
            marker=marker,
        )


def _create_locked(
    repo: Path,
    info: git.RepositoryInfo,
    path: Path,
    branch: str,
    base: str | None,
    *,
    owns_branch: bool,
    on_branch: Callable[[str, str | None], None] | None,
    marker: str | None,
) -> Worktree:
    common_dir = info.common_dir
    assert common_dir is not None
    dirs = locate(repo) or GitDirs(common_dir, common_dir)
    # Remote: a partial clone fetches what it lacks at checkout.
    env = environment(overrides=filters_off(repo, dirs), remote=True)
    last: GitFailed | None = None
    if owns_branch:
        clear_branch_lock(common_dir, branch)
    for attempt in range(_TRIES):
        forget(common_dir, path)
        taken = (
            {}
            if attempt == 0
            and not owns_branch
            and base in (None, info.head_branch)
            and is_free(dirs, branch)
            else branches.like(repo, branch, base)
        )
        again = owns_branch and branch in taken
        lost = None
        start: str | None = None
        name = branch
        if not again:
            start = branches.start_of(repo, info, base, taken)
            name = branch if branch not in taken else branches.free_name(branch, taken)
            if owns_branch:
                lost = f"The branch {branch} is gone; the work starts again from {base or 'HEAD'}."
        target = [str(path), name] if again else ["-b", name, str(path), str(start)]
        add = ["worktree", "add", "--quiet", "--lock", *([] if again else ["--no-track"])]
        if on_branch is not None:
            on_branch(name, start)
        try:
            run([*add, *target], cwd=repo, env=env, timeout=CHECKOUT_TIMEOUT_S, marker=marker)
        except GitFailed as problem:
            last = _explained(problem, name)
            if path.exists():
                delete_tree(path)
            forget(common_dir, path)
            if not again and "already exists" not in last.detail:
                clear_branch_lock(common_dir, name)
                branches.drop_new(repo, name, start)
            if last.code != "git_failed":
                break
            time.sleep(0.05 * (attempt + 1))
            continue
        head = start or run(["rev-parse", "HEAD"], cwd=path).decode().strip()
        return Worktree(path, name, start, head, lost)
    assert last is not None
    raise last


def _explained(problem: GitFailed, branch: str) -> GitFailed:
    detail = problem.detail
    if "already checked out" in detail or "already used by worktree" in detail:
        return GitFailed(
            f"The branch {branch} is checked out somewhere else. Check out another one there, then"
            " start again.",
            code="branch_in_use",
            detail=detail,
        )
    if "cannot create" in detail and "exists" in detail:
        return GitFailed(
            f"A branch {branch} can't be made: another branch's name is a part of it, or it a part"
            " of another's. Change the project's template for branches, or rename that branch.",
            code="branch_conflict",
            detail=detail,
        )
    if "No space left" in detail:
        return GitFailed(
            "The disk is full, so no worktree can be made. Free some space.",
            code="disk_full",
            detail=detail,
        )
    return problem


def remove(
    repo: Path,
    path: Path,
    *,
    base: str | None,
    force: bool,
    patch_dir: Path,
    data_dir: Path,
    patch_name: str | None = None,
) -> Removal:
    """Remove a worktree, keep its branch. The run's processes must have been swept.

    Without `force`: WorktreeDirty when something in it is uncommitted or isn't in `base` (a branch or
    commit; None: nothing counts as merged). With it, that work is first saved as
    `<patch_dir>/<name>-<time>.patch`, or as `patch_name` if nothing has that name yet; what no patch can
    hold makes the directory go to quarantine.
    A directory that is gone already is only forgotten. Can be repeated after any interruption.
    """
    _require_ours(path, data_dir)
    common_dir = git.inspect(repo).common_dir if repo.is_dir() else None
    result = Removal()
    if path.exists() or path.is_symlink():
        reason, sentence = _unsaved(path, common_dir, base)
        if reason and not force:
            raise WorktreeDirty(sentence, reason=reason)
        if reason:
            result = _save(path, reason, base, patch_dir, data_dir, patch_name)
        if result.quarantined is None:
            delete_tree(path)
    if common_dir is not None:
        with repository_lock(data_dir, common_dir):
            forget(common_dir, path)
    return result


def unsaved_work(repo: Path, path: Path, base: str | None) -> str | None:
    """A sentence that says what removing the worktree would lose, or None; `base` as in `remove`."""
    common_dir = git.inspect(repo).common_dir if repo.is_dir() else None
    return _unsaved(path, common_dir, base)[1] or None


def _unsaved(path: Path, common_dir: Path | None, base: str | None) -> tuple[str, str]:
    """Why removal would lose work: a reason and a sentence, empty if it would not."""
    unreadable = (
        "unreadable",
        f"What is in the worktree {path.name} can't be told, because its git data is missing or"
        " damaged. Look at it, or remove it by force: the directory is then kept in quarantine.",
    )
    if common_dir is None or not belongs(path, common_dir):
        return unreadable
    try:
        if git.is_dirty(path):
            return (
                "uncommitted",
                f"The worktree {path.name} has changes that are not committed. Commit them, or remove"
                " it by force: a patch is then saved.",
            )
        known = base and git.resolve(path, base)
        if not known or git.is_unmerged(path, known):
            return (
                "unmerged",
                f"The worktree {path.name} has commits that are not in {base or 'any known base'}."
                " Merge them, or remove it by force: the branch stays and a patch is saved.",
            )
    except GitFailed:
        return unreadable
    return "", ""


def _save(
    path: Path,
    reason: str,
    base: str | None,
    patch_dir: Path,
    data_dir: Path,
    patch_name: str | None,
) -> Removal:
    """Put into a patch what deletion would lose, or, where that can't be, the directory aside."""
    patch = patch_dir / (patch_name or f"{path.name}-{moment()}.patch")
    if patch.exists():
        # Saved before a removal that was interrupted: by now the directory may lack half of it.
        patch = patch_dir / f"{path.name}-{moment()}.patch"
    patch_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    try:
        start = None
        if reason != "unreadable" and not git.nested_repositories(path):
            start = (base and git.resolve(path, base)) or git.resolve(path, "HEAD")
        if start is None:
            return _put_aside(path, patch, data_dir)
        with _written_whole(patch) as file:
            changes.write_patch(path, start, file)
    except GitFailed:
        return _put_aside(path, patch, data_dir)
    return Removal(patch=patch)


def _put_aside(path: Path, patch: Path, data_dir: Path) -> Removal:
    """People were told the patch's name before anybody knew that none can be made: it says where to look."""
    with _written_whole(patch) as file:
        file.write(
            f"No patch can hold what was in the worktree {path.name}: it has repositories of its own inside,"
            " or its git data is damaged.\nThe directory itself is kept, as"
            f" quarantine/{path.name}-<time> in the server's data directory.\n".encode()
        )
    return Removal(patch=patch, quarantined=quarantine(path, data_dir / "quarantine"))


@contextlib.contextmanager
def _written_whole(path: Path) -> Iterator[IO[bytes]]:
    draft = path.with_suffix(".part")
    with draft.open("wb") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)


def _require_ours(path: Path, data_dir: Path) -> None:
    ours = os.path.realpath(worktrees_dir(data_dir))
    if (
        not path.is_absolute()
        or path.name in ("", ".", "..")
        or os.path.realpath(path.parent) != ours
    ):
        raise PathRefused(
            f"{path} is not directly below the worktrees directory, so it is left alone.",
            code="path_outside",
        )
