"""What a worktree changed, for people to read and for a patch.

Nothing here writes to a repository, not even to its index. Calls block.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from apps.host.errors import GitFailed
from apps.host.git import OBJECT_ID, list_others, merge_base, resolve
from apps.host.git_command import TIMEOUT_S, Call, Tree, locate, run, tree, tree_environment

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
# Each begins with the end of the line before: to look for a `^` takes ten times as long.
_HEAD = re.compile(rb"\ndiff --git [^\n]*")
_HUNK = re.compile(rb"\n@@ -\d+(?:,(\d+))? \+\d+(?:,(\d+))? @@")
# What git says of a file that went away, or became another one, between its being listed and being read.
_WENT_AWAY = re.compile(r"stat '|unable to read files to diff|cannot hash |readlink\(|short read")
_TRIES = 3
_PATIENCE_S = 10.0


@dataclass(frozen=True)
class Diff:
    """`text` is cut at the end of a line when `truncated`; the numbers always mean the whole."""

    text: str = ""
    files_changed: int = 0
    insertions: int = 0
    deletions: int = 0
    truncated: bool = False


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
    there. The copy keeps what git knows of unchanged files, and its age: git trusts what it knows of a file
    only if that is older than the index, so a younger copy would hide a change made in the second in which
    the file was entered.
    """
    if not entries:
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="kanban-index-") as folder:
        index = Path(folder, "index")
        with contextlib.suppress(FileNotFoundError), (on.dirs.own / "index").open("rb") as real:
            index.write_bytes(real.read())
            age = os.fstat(real.fileno())
            os.utime(index, ns=(age.st_atime_ns, age.st_mtime_ns))
        env = tree_environment(on, index)
        run(["update-index", "-z", "--index-info"], cwd=on.path, env=env, data=entries)
        yield index


def _exact(worktree: Path, name: str) -> str:
    found = name if OBJECT_ID.fullmatch(name) else resolve(worktree, name)
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


def diff(worktree: Path, base_commit: str, *, limit_bytes: int = 2_000_000) -> Diff:
    """What the worktree changed since it left `base_commit`: committed, staged, not staged and new files.

    Against the merge base, with renames. `worktree` is the top of a working tree. The real index stays
    untouched; other writers may go on meanwhile (git is asked again when a file changed under it).
    """
    base_commit = _exact(worktree, base_commit)
    against = ["--merge-base", base_commit]
    until = time.monotonic() + _PATIENCE_S
    tries = 0
    while True:
        try:
            return _diff(tree(worktree), against, limit_bytes)
        except GitFailed as problem:
            tries += 1
            if _changed_meanwhile(problem, worktree):
                if tries >= _TRIES and time.monotonic() >= until:
                    raise
                time.sleep(min(0.2, 0.01 * tries))
            elif problem.code == "git_failed" and "--merge-base" in against:
                against = _against(worktree, base_commit)
            else:
                raise


def _changed_meanwhile(problem: GitFailed, worktree: Path) -> bool:
    """Whether git gave up because of somebody's work in the worktree at this moment: it reads files through
    a map, so one that is cut short meanwhile ends it with SIGBUS."""
    if problem.code == "directory_missing":
        return worktree.is_dir()
    if problem.code != "git_failed" or "Permission denied" in problem.detail:
        return False
    return problem.exit_code == -signal.SIGBUS or bool(_WENT_AWAY.search(problem.detail))


def _diff(on: Tree, against: list[str], limit: int) -> Diff:
    shown = [*_SHOWN_AS, *against, "--"]
    others = list_others(on)
    # Started at once, in the hope that there are no new files: then the listing costs no time.
    call = Call(["diff", "--patch", *shown], cwd=on.path, env=tree_environment(on))
    try:
        entries = _untracked_entries(others.result()[1], on.path, len(against[-1]))
    except BaseException:
        call.kill()
        raise
    with _new_files_known(on, entries) as index:
        env = tree_environment(on, index)
        if index is not None:
            call.kill()
            call = Call(["diff", "--patch", *shown], cwd=on.path, env=env)
        text, truncated = call.read(limit)
        numbers = None if truncated else _counted(text)
        if numbers is None:
            numbers = _stated(run(["diff", "--shortstat", *shown], cwd=on.path, env=env))
    return Diff(text.decode(errors="replace"), *numbers, truncated)


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
    patch = b"\n" + patch
    heads = _HEAD.findall(patch)
    if len(set(heads)) != len(heads) or b"\n* Unmerged" in patch:
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
    entries = _untracked_entries(list_others(on).result()[1], worktree, len(against[-1]))
    with _new_files_known(on, entries) as index:
        shown = ["diff", "--binary", "--full-index", *_SHOWN_AS, *against, "--"]
        call = Call(shown, cwd=worktree, env=tree_environment(on, index), to=to)
        call.result(timeout=TIMEOUT_S * 5)
