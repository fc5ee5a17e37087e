"""Reading repositories: what they are, which files they track, what a worktree changed.

Nothing here writes to a repository, not even to its index. Calls block; each git process costs about 2 ms.
A path that isn't UTF-8 comes back with U+FFFD in place of the odd bytes.
"""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from apps.host.errors import GitFailed
from apps.host.git_command import (
    TIMEOUT_S,
    Call,
    Tree,
    environment,
    locate,
    may_configure,
    run,
    split_nul,
    tree,
    tree_environment,
)

# How a change is shown, whatever the repository's own settings say.
_SHOWN_AS = (
    *("--no-color", "--no-ext-diff", "--no-textconv", "--src-prefix=a/", "--dst-prefix=b/"),
    *("--find-renames", "--unified=3", "--inter-hunk-context=0", "--no-relative", "-O/dev/null"),
    *("--submodule=short", "--ignore-submodules=dirty", "--diff-algorithm=default"),
    "--ws-error-highlight=none",
)
_SHORTSTAT = re.compile(
    rb" (\d+) files? changed(?:, (\d+) insertions?\(\+\))?(?:, (\d+) deletions?\(-\))?"
)
_HUNK = re.compile(rb"^@@ -\d+(?:,(\d+))? \+\d+(?:,(\d+))? @@", re.MULTILINE)
_OBJECT_ID = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_TRIES = 3


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


@dataclass(frozen=True)
class Diff:
    """`text` is cut at the end of a line when `truncated`; the numbers always mean the whole."""

    text: str = ""
    files_changed: int = 0
    insertions: int = 0
    deletions: int = 0
    truncated: bool = False


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
    exact = name == "HEAD" or _OBJECT_ID.fullmatch(name)
    for candidate in (name,) if exact else (f"refs/heads/{name}", f"refs/remotes/{name}", name):
        asked = ["rev-parse", "--verify", "--quiet", "--end-of-options", candidate + "^{commit}"]
        if found := run(asked, cwd=repo, accept=(0, 1, 128)).decode().strip():
            return found
    return None


def merge_base(path: Path, one: str, other: str) -> str | None:
    """The best common ancestor (one of them if there are several), None if they have none."""
    found = run(["merge-base", "--end-of-options", one, other], cwd=path, accept=(0, 1))
    return found.decode().strip() or None


def is_dirty(worktree: Path) -> bool:
    """Whether something isn't committed: changed, staged or new files, or a merge or rebase under way.

    Also in a submodule that is checked out there. Ignored files don't count.
    """
    on = tree(worktree)
    asked = ["status", "--porcelain", "-z", "--untracked-files=normal", "--no-renames"]
    if run([*asked, "--ignore-submodules=dirty"], cwd=worktree, env=tree_environment(on)):
        return True
    under_way = ("MERGE_HEAD", "CHERRY_PICK_HEAD", "REVERT_HEAD", "rebase-merge", "rebase-apply")
    if any((on.dirs.own / name).exists() for name in under_way):
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


def _untracked_entries(listed: bytes, worktree: Path, id_length: int) -> bytes:
    """Index entries for new files, with an id that no content has: git reads the files themselves."""
    placeholder = b"1" * id_length
    entries = []
    for name in listed.split(b"\0"):
        if name.endswith(b"/"):
            # A repository of its own inside: git shows it as one line, if it has a commit.
            inner = locate(worktree / os.fsdecode(name))
            head = inner and run(
                ["rev-parse", "--verify", "--quiet", "HEAD"],
                cwd=worktree / os.fsdecode(name),
                accept=(0, 1, 128),
            )
            if head:
                entries.append(b"160000 %b 0\t%b\0" % (placeholder, name.rstrip(b"/")))
        elif name:
            entries.append(b"100644 %b 0\t%b\0" % (placeholder, name))
    return b"".join(entries)


@contextlib.contextmanager
def _new_files_known(on: Tree, entries: bytes) -> Iterator[Path | None]:
    """A copy of the index in which new files are entered; None if there are none.

    As names only: nothing is hashed, no filter runs, and a file that goes away meanwhile is simply not
    there. The copy keeps what git knows of unchanged files.
    """
    if not entries:
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="kanban-index-") as folder:
        index = Path(folder, "index")
        with contextlib.suppress(FileNotFoundError):
            index.write_bytes((on.dirs.own / "index").read_bytes())
        env = tree_environment(on, index)
        run(["update-index", "-z", "--index-info"], cwd=on.path, env=env, data=entries)
        yield index


def _exact(worktree: Path, name: str) -> str:
    found = name if _OBJECT_ID.fullmatch(name) else resolve(worktree, name)
    if found is None:
        raise GitFailed(f"There is no commit {name} to compare with.", code="base_missing")
    return found


def _against(worktree: Path, base_commit: str) -> list[str]:
    """Arguments of `git diff` for the merge base, where git's own way to it fails: there are several
    (the first is as good as another), or none (then it is the base itself)."""
    try:
        return [merge_base(worktree, base_commit, "HEAD") or base_commit]
    except GitFailed:
        return [base_commit]


def _read_limited(call: Call, limit: int) -> tuple[bytes, bool]:
    """Output up to `limit` bytes and whether there is more; then git is stopped."""
    output = call.process.stdout
    assert output is not None
    guard = threading.Timer(TIMEOUT_S, call.kill)
    guard.start()
    try:
        text = output.read(limit + 1)
    finally:
        guard.cancel()
    if len(text) > limit:
        call.kill()
        return text[: text.rfind(b"\n", 0, limit) + 1], True
    call.result()
    return text, False


def diff(worktree: Path, base_commit: str, *, limit_bytes: int = 2_000_000) -> Diff:
    """What the worktree changed since it left `base_commit`: committed, staged, not staged and new files.

    Against the merge base, with renames. `worktree` is the top of a working tree. The real index stays
    untouched; other writers may go on meanwhile (git is asked again when a file changed under it).
    """
    base_commit = _exact(worktree, base_commit)
    against = ["--merge-base", base_commit]
    for attempt in range(_TRIES):
        try:
            return _diff(tree(worktree), against, limit_bytes)
        except GitFailed as problem:
            if attempt == _TRIES - 1 or problem.code != "git_failed":
                raise
            against = _against(worktree, base_commit)
    raise AssertionError("unreachable")


def _diff(on: Tree, against: list[str], limit: int) -> Diff:
    shown = [*_SHOWN_AS, *against, "--"]
    others = _list_others(on)
    # Started at once, in the hope that there are no new files: then the listing costs no time.
    call = Call(["diff", "--patch", *shown], cwd=on.path, env=tree_environment(on), quiet=True)
    try:
        entries = _untracked_entries(others.result()[1], on.path, len(against[-1]))
    except BaseException:
        call.kill()
        raise
    with _new_files_known(on, entries) as index:
        env = tree_environment(on, index)
        if index is not None:
            call.kill()
            call = Call(["diff", "--patch", *shown], cwd=on.path, env=env, quiet=True)
        text, truncated = _read_limited(call, limit)
        numbers = None if truncated else _counted(text)
        if numbers is None:
            numbers = _stated(run(["diff", "--shortstat", *shown], cwd=on.path, env=env))
    return Diff(text.decode(errors="replace"), *numbers, truncated)


def _list_others(on: Tree) -> Call:
    listing = ["ls-files", "--others", "--exclude-standard", "-z"]
    return Call(listing, cwd=on.path, env=tree_environment(on))


def _stated(shortstat: bytes) -> tuple[int, int, int]:
    found = _SHORTSTAT.search(shortstat)
    files, insertions, deletions = (
        (int(number or 0) for number in found.groups()) if found else (0,) * 3
    )
    return files, insertions, deletions


def _counted(patch: bytes) -> tuple[int, int, int] | None:
    """The numbers of `--shortstat`, counted in the whole patch: asking git for both makes it compare every
    file twice. None where the two count differently (a file that became a link, conflicts).

    A line's first byte tells content from headers, except `-` and `+`; so those are reckoned from the
    hunks' sizes less the lines they have in common.
    """
    heads = re.findall(rb"^diff --git .*$", patch, re.MULTILINE)
    if len(set(heads)) != len(heads) or re.search(rb"^\* Unmerged", patch, re.MULTILINE):
        return None
    common = patch.count(b"\n ")
    before = after = 0
    for old, new in _HUNK.findall(patch):
        before += int(old or 1)
        after += int(new or 1)
    return len(heads), after - common, before - common


def write_patch(worktree: Path, base_commit: str, to: IO[bytes]) -> None:
    """The same as `diff`, whole and with binary content, for `git apply` on the merge base."""
    on = tree(worktree)
    against = _against(worktree, _exact(worktree, base_commit))
    entries = _untracked_entries(_list_others(on).result()[1], worktree, len(against[-1]))
    with _new_files_known(on, entries) as index:
        shown = ["diff", "--binary", "--full-index", *_SHOWN_AS, *against, "--"]
        call = Call(shown, cwd=worktree, env=tree_environment(on, index), to=to)
        call.result(timeout=TIMEOUT_S * 5)


def nested_repositories(worktree: Path) -> list[Path]:
    """Repositories inside the worktree that aren't plain files of it: no patch can hold their content."""
    on = tree(worktree)
    others = _list_others(on).result()[1]
    inner = [worktree / os.fsdecode(name) for name in others.split(b"\0") if name.endswith(b"/")]
    return inner + [place for place in _submodules(on) if is_dirty(place)]


def fetch_base(repo: Path, ref: str, timeout: float = 10) -> str | None:
    """Fetch a local branch's upstream, or a remote branch; the commit to start from if it is ahead.

    Best effort: None when there is no upstream, no answer in `timeout` seconds, or the two diverged. Runs
    ssh or the like as the server's user, without the server's environment; never asks for a password.
    """
    source = _upstream(repo, ref)
    if source is None:
        return None
    remote, theirs, tracking = source
    fetch = ["fetch", "--quiet", "--no-tags", "--no-recurse-submodules", "--no-write-fetch-head"]
    asked = ["--upload-pack=git-upload-pack", "--end-of-options", remote, f"+{theirs}:{tracking}"]
    try:
        run([*fetch, *asked], cwd=repo, env=environment(remote=True), timeout=timeout)
    except GitFailed:
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
