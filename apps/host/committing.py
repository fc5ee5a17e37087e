"""Committing what an agent left in its worktree.

The server's other calls of git run nothing that a repository configures. This one honours its filters, for
without them Git LFS would store whole files; so it is run as an agent is: with an agent's environment, which
has no secrets, and the run's marker, by which it is found and ended with the run. Hooks stay off, for nobody
is there to mend what they refuse.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

from apps.host.errors import GitFailed
from apps.host.git import operation_under_way
from apps.host.git_command import configured, run, tree

_OVERRIDES = (
    ("safe.directory", "*"),
    ("core.hooksPath", os.devnull),
    ("core.fsmonitor", "false"),
    ("core.editor", "false"),
    ("commit.gpgSign", "false"),
    ("gc.auto", "0"),
    ("maintenance.auto", "false"),
)


def commit_all(
    worktree: Path,
    message: str,
    *,
    environment: Mapping[str, str],
    marker: str,
    given_up: Callable[[], bool],
) -> str | None:
    """Commit every change and new file that isn't ignored; the commit's short id, None if there is none.

    Blocks. GitFailed with a sentence, with the code `operation_under_way` in the middle of a merge or rebase,
    which only whoever began it can finish. Can be repeated after any interruption. Once `given_up`, git isn't
    started any more. `worktree` must be known to be one of ours.
    """
    on = tree(worktree)
    if operation := operation_under_way(on.dirs):
        raise GitFailed(
            f"The worktree is in the middle of a {operation}; finish or abort it.",
            code="operation_under_way",
        )
    chosen = {**environment, "LC_ALL": "C", **configured(_OVERRIDES)}

    def git(*arguments: str, data: bytes | None = None) -> bytes:
        if given_up():
            raise GitFailed("Nobody waits for the commit any more.", code="given_up")
        return run(arguments, cwd=worktree, env=chosen, data=data, marker=marker)

    git("add", "--all")
    if not git("diff", "--cached", "--name-only", "--no-ext-diff", "--no-renames"):
        return None
    git("commit", "--quiet", "--no-verify", "--file=-", data=message.encode())
    return git("rev-parse", "--short", "HEAD").decode().strip()
