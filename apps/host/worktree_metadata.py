"""What a repository records of its worktrees, read and repaired without trusting the worktree.

`.git` in a worktree is a file that its agent can rewrite, so it counts only if what it names points back.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from apps.host import git
from apps.host.disk import delete_tree
from apps.host.errors import GitFailed
from apps.host.git_command import GitDirs, locate, may_configure, run


def metadata(path: Path) -> GitDirs | None:
    """Git data of a linked worktree; None if it is none, or if its git data doesn't point back to it."""
    dirs = None if path.is_symlink() or (path / ".git").is_dir() else locate(path)
    if dirs is None:
        return None
    inside = os.path.realpath(dirs.own.parent) == os.path.realpath(dirs.common / "worktrees")
    return dirs if inside and _recorded_place(dirs.own) == os.path.realpath(path) else None


def _recorded_place(own: Path) -> str | None:
    """Where the worktree of such git data is, as a real path."""
    try:
        back = Path(os.fsdecode((own / "gitdir").read_bytes()).rstrip("\n"))
    except OSError:
        return None
    return os.path.realpath((own / back).parent)


def belongs(path: Path, common_dir: Path) -> bool:
    dirs = metadata(path)
    return dirs is not None and os.path.realpath(dirs.common) == os.path.realpath(common_dir)


def forget(common_dir: Path, path: Path) -> None:
    """Drop what the repository recorded of a worktree whose directory is gone; no other's is touched.

    (`git worktree prune` would also drop the person's own that lie on a disk that isn't mounted.)
    """
    if path.exists():
        return
    wanted = os.path.realpath(path)
    with contextlib.suppress(FileNotFoundError):
        for entry in list((common_dir / "worktrees").iterdir()):
            if _recorded_place(entry) == wanted:
                delete_tree(entry)


def moment(at: datetime | None = None) -> str:
    """A time, now unless it is given, in UTC for names of files: they sort by it."""
    return (at or datetime.now(UTC)).astimezone(UTC).strftime("%Y%m%dT%H%M%S.%fZ")


def quarantine(path: Path, quarantine_dir: Path) -> Path:
    """Put a directory aside whose origin or content is unknown; where it is now.

    A worktree stays one: its branch is set free, and git finds it at the new place.
    """
    quarantine_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    target = quarantine_dir / f"{path.name}-{moment()}"
    dirs = metadata(path)
    try:
        path.rename(target)
    except OSError:
        shutil.move(path, target)
    if dirs is not None:
        (dirs.own / "gitdir").write_text(f"{target / '.git'}\n")
        with contextlib.suppress(GitFailed):
            head = run(["rev-parse", "HEAD"], cwd=target).decode().strip()
            run(["update-ref", "--no-deref", "HEAD", head], cwd=target)
    return target


def valid(path: Path, repo: Path | None = None) -> bool:
    """Whether it is a worktree that git knows at this very place (and of that repository)."""
    if repo is None:
        return metadata(path) is not None
    return belongs(path, git.inspect(repo).common_dir or Path())


def clear_stale_locks(path: Path) -> list[Path]:
    """Remove the lock files that a killed git left for this worktree; which ones they were.

    Only its own and its branch's: a lock of the shared data may be somebody else's who is at work. Call
    it after the sweep, when no process of the run is left.
    """
    dirs = metadata(path)
    if dirs is None:
        return []
    candidates = [file for file in dirs.own.rglob("*.lock") if not file.is_dir()]
    for name in _own_branches(dirs.own):
        candidates.append(dirs.common / f"{name}.lock")
    removed = []
    for file in candidates:
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            file.unlink()
            removed.append(file)
    return removed


_LARGEST_LIST_OF_REFS = 1 << 20


def is_free(dirs: GitDirs, branch: str) -> bool:
    """Whether there surely is no such branch, told without git: it spares the usual repository a process."""
    if (dirs.common / "reftable").exists() or may_configure(dirs, "refstorage"):
        return False
    if os.path.lexists(dirs.common / "refs" / "heads" / branch):
        return False
    packed = dirs.common / "packed-refs"
    try:
        if packed.stat().st_size > _LARGEST_LIST_OF_REFS:
            return False
        return f" refs/heads/{branch}\n".encode() not in packed.read_bytes()
    except FileNotFoundError:
        return True
    except OSError:
        return False


def clear_branch_lock(common_dir: Path, branch: str) -> None:
    """The lock that a git which was killed while it made this branch has left; only for a branch of ours."""
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        (common_dir / "refs" / "heads" / f"{branch}.lock").unlink()


def _own_branches(own: Path) -> Iterator[str]:
    """Full names of the branch that is checked out, and of one that is being rebased."""
    for file in ("HEAD", "rebase-merge/head-name", "rebase-apply/head-name"):
        with contextlib.suppress(OSError):
            name = (own / file).read_text().strip().removeprefix("ref: ")
            if name.startswith("refs/heads/") and ".." not in name:
                yield name
