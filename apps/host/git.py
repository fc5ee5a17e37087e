"""Reading repositories: what they are, which files they track, whether a worktree has work of its own.

Nothing here writes to a repository, not even to its index. Calls block; each git process costs about 2 ms.
A path that isn't UTF-8 comes back with U+FFFD in place of the odd bytes.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from apps.host.errors import GitFailed
from apps.host.git_command import (
    Call,
    GitDirs,
    Tree,
    environment,
    locate,
    may_configure,
    run,
    split_nul,
    tree,
    tree_environment,
)

OBJECT_ID = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")


@dataclass(frozen=True)
class RepositoryInfo:
    """`toplevel` is None for what has no working tree; it differs from the path asked for inside of one."""

    is_git: bool
    bare: bool = False
    has_commits: bool = False
    head_branch: str | None = None
    head_commit: str | None = None
    toplevel: Path | None = None
    common_dir: Path | None = None


def inspect(path: Path) -> RepositoryInfo:
    """What git makes of a directory; anything that isn't in a repository is `is_git=False`."""
    return _inspect_usual(path) or _inspect_any(path)


_WHERE = ("--is-bare-repository", "--path-format=absolute", "--git-common-dir", "--show-toplevel")


def _inspect_usual(path: Path) -> RepositoryInfo | None:
    """By one process; None unless it has a working tree and a branch with commits that is checked out."""
    asked = ["rev-parse", *_WHERE, "HEAD^{commit}", "--symbolic-full-name", "HEAD"]
    code, output = Call(asked, cwd=path).result(accept=(0, 1, 128))
    lines = os.fsdecode(output).split("\n")[:-1]
    if code or len(lines) != 5 or lines[0] != "false" or not lines[4].startswith("refs/heads/"):
        return None
    return RepositoryInfo(
        is_git=True,
        has_commits=True,
        head_branch=lines[4].removeprefix("refs/heads/"),
        head_commit=lines[3],
        toplevel=Path(lines[2]),
        common_dir=Path(lines[1]),
    )


def _inspect_any(path: Path) -> RepositoryInfo:
    calls = [
        Call(arguments, cwd=path)
        for arguments in (
            ("rev-parse", *_WHERE),
            ("symbolic-ref", "--quiet", "HEAD"),
            ("rev-parse", "--verify", "--quiet", "HEAD^{commit}"),
        )
    ]
    (code, where), (_, branch), (_, commit) = (call.result(accept=(0, 1, 128)) for call in calls)
    lines = os.fsdecode(where).split("\n")[:-1]
    if len(lines) < 2:
        return RepositoryInfo(is_git=False)
    head = os.fsdecode(branch).strip().removeprefix("refs/heads/")
    return RepositoryInfo(
        is_git=True,
        bare=lines[0] == "true",
        has_commits=bool(commit),
        head_branch=head or None,
        head_commit=commit.decode().strip() or None,
        toplevel=Path(lines[2]) if code == 0 and len(lines) > 2 else None,
        common_dir=Path(lines[1]),
    )


def tracked_files(path: Path) -> list[str]:
    """Tracked files below `path`, relative to it, in the order of their bytes; [] outside of git."""
    try:
        output = run(["ls-files", "-z", "--deduplicate"], cwd=path)
    except GitFailed as problem:
        if "not a git repository" in problem.detail or "work tree" in problem.detail:
            return []
        raise
    return split_nul(output)


def resolve(repo: Path, name: str) -> str | None:
    """The commit that a branch, a remote branch or any other name means; None if there is none."""
    if not name or name.startswith("-") or "\0" in name:
        return None
    exact = name == "HEAD" or OBJECT_ID.fullmatch(name)
    for candidate in (name,) if exact else (f"refs/heads/{name}", f"refs/remotes/{name}", name):
        asked = ["rev-parse", "--verify", "--quiet", "--end-of-options", candidate + "^{commit}"]
        if found := run(asked, cwd=repo, accept=(0, 1, 128)).decode().strip():
            return found
    return None


def committed_file(folder: Path, commit: str, name: str, limit: int) -> bytes | None:
    """What a file of the folder holds in that commit; None where it has none, or no plain file, of the name.

    Raises GitFailed for one of more than `limit` bytes.
    """
    listed = run(["ls-tree", "-l", "-z", commit, "--", name], cwd=folder).decode(errors="replace")
    if not listed:
        return None
    mode, _, object_id, size = listed.partition("\t")[0].split()
    if not mode.startswith("100"):
        return None
    if int(size) > limit:
        raise GitFailed(f"{name} has {size} bytes; it may have {limit}.", code="file_too_large")
    return run(["cat-file", "blob", object_id], cwd=folder)


def merge_base(path: Path, one: str, other: str) -> str | None:
    """The best common ancestor (one of them if there are several), None if they have none."""
    found = run(["merge-base", "--end-of-options", one, other], cwd=path, accept=(0, 1))
    return found.decode().strip() or None


_OPERATIONS = {
    "MERGE_HEAD": "merge",
    "CHERRY_PICK_HEAD": "cherry-pick",
    "REVERT_HEAD": "revert",
    "rebase-merge": "rebase",
    "rebase-apply": "rebase",
}


def operation_under_way(dirs: GitDirs) -> str | None:
    """What somebody has begun there and not finished."""
    return next((name for file, name in _OPERATIONS.items() if (dirs.own / file).exists()), None)


def is_dirty(worktree: Path) -> bool:
    """Whether something isn't committed: changed, staged or new files, or a merge or rebase under way.

    Also in a submodule that is checked out there. Ignored files don't count.
    """
    on = tree(worktree)
    asked = ["status", "--porcelain", "-z", "--untracked-files=normal", "--no-renames"]
    if run([*asked, "--ignore-submodules=dirty"], cwd=worktree, env=tree_environment(on)):
        return True
    if operation_under_way(on.dirs):
        return True
    return any(is_dirty(submodule) for submodule in _submodules(on))


def _submodules(on: Tree) -> list[Path]:
    """Submodules that are checked out."""
    if not (on.path / ".gitmodules").exists():
        return []
    staged = run(["ls-files", "--stage", "-z"], cwd=on.path, env=tree_environment(on))
    places = [
        on.path / os.fsdecode(line.partition(b"\t")[2])
        for line in staged.split(b"\0")
        if line.startswith(b"160000 ")
    ]
    return [place for place in places if not place.is_symlink() and locate(place)]


def is_unmerged(worktree: Path, base: str) -> bool:
    """Whether HEAD has work that `base` lacks.

    Commits that were squashed or rebased into the base count as merged when every path that they touch
    has the same content there.
    """
    on = tree(worktree)
    env = tree_environment(on)
    ahead = run(["rev-list", "--max-count=1", "HEAD", f"^{base}", "--"], cwd=worktree, env=env)
    if not ahead:
        return False
    start = run(["merge-base", "HEAD", base], cwd=worktree, env=env, accept=(0, 1)).decode().strip()
    if not start:
        return True
    plain = ["diff-tree", "-r", "-z", "--no-renames", "--no-ext-diff", "--name-only"]
    touched = set(run([*plain, start, "HEAD"], cwd=worktree, env=env).split(b"\0"))
    differs = set(run([*plain, base, "HEAD"], cwd=worktree, env=env).split(b"\0"))
    return bool((touched & differs) - {b""})


def list_others(on: Tree) -> Call:
    listing = ["ls-files", "--others", "--exclude-standard", "-z"]
    return Call(listing, cwd=on.path, env=tree_environment(on))


def nested_repositories(worktree: Path) -> list[Path]:
    """Repositories inside the worktree that aren't plain files of it: no patch can hold their content."""
    on = tree(worktree)
    others = list_others(on).result()[1]
    inner = [worktree / os.fsdecode(name) for name in others.split(b"\0") if name.endswith(b"/")]
    return inner + [place for place in _submodules(on) if is_dirty(place)]


def fetch_base(repo: Path, ref: str, timeout: float = 10) -> str | None:
    """Fetch a local branch's upstream, or a remote branch; the commit to start from if it is ahead.

    Best effort: None when there is no upstream, it can't be fetched from, or the two diverged; GitFailed
    `git_timeout` when that took too long. Runs ssh or the like as the server's user, without the server's
    environment; never asks for a password.
    """
    source = _upstream(repo, ref)
    if source is None:
        return None
    remote, theirs, tracking = source
    fetch = ["fetch", "--quiet", "--no-tags", "--no-recurse-submodules", "--no-write-fetch-head"]
    asked = ["--upload-pack=git-upload-pack", "--end-of-options", remote, f"+{theirs}:{tracking}"]
    try:
        run([*fetch, *asked], cwd=repo, env=environment(remote=True), timeout=timeout)
    except GitFailed as problem:
        if problem.code == "git_timeout":
            raise
        return None
    fetched = run(["rev-parse", "--verify", "--quiet", tracking], cwd=repo, accept=(0, 1)).decode()
    local = resolve(repo, ref)
    if not fetched or local is None:
        return None
    return fetched.strip() if merge_base(repo, local, fetched.strip()) == local else None


def _old_remotes(common: Path) -> bool:
    """Files of before git 1.5, which still count."""
    return any(
        folder.is_dir() and any(folder.iterdir())
        for folder in (common / "remotes", common / "branches")
    )


def _upstream(repo: Path, ref: str) -> tuple[str, str, str] | None:
    """Remote, the branch's name there, and the name under which it is kept here."""
    dirs = locate(repo)
    if dirs is not None and not may_configure(dirs, "remote") and not _old_remotes(dirs.common):
        return None
    shape = "--format=%(upstream:remotename)%00%(upstream:remoteref)%00%(upstream)"
    found = run(["for-each-ref", shape, f"refs/heads/{ref}"], cwd=repo).decode().splitlines()
    if found:
        remote, theirs, tracking = found[0].split("\0")
        known = remote and theirs and tracking.startswith("refs/remotes/")
        return (remote, theirs, tracking) if known and not remote.startswith("-") else None
    for remote in run(["remote"], cwd=repo).decode().split():
        if ref.startswith(f"{remote}/") and not remote.startswith("-"):
            return remote, f"refs/heads/{ref.removeprefix(remote + '/')}", f"refs/remotes/{ref}"
    return None
