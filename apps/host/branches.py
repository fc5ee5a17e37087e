"""Branches for worktrees: what they may be called, which names are free and where they start."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Container, Mapping
from pathlib import Path

from apps.host import git
from apps.host.errors import GitFailed
from apps.host.git_command import run

_PLAIN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]*(?:/[A-Za-z0-9_][A-Za-z0-9_-]*)*")


def start_of(
    repo: Path, info: git.RepositoryInfo, base: str | None, known: Mapping[str, str]
) -> str:
    if base in (None, info.head_branch):
        found = info.head_commit
    else:
        found = known.get(str(base)) or git.resolve(repo, str(base))
    if found is None:
        raise GitFailed(
            f"The base branch {base} does not exist in the repository. Choose another one in the"
            " project's settings.",
            code="base_missing",
        )
    return found


def require_name(repo: Path, branch: str) -> None:
    if _PLAIN.fullmatch(branch) and not branch.endswith(".lock"):
        return
    try:
        run(["check-ref-format", "--branch", branch], cwd=repo, accept=(0,))
    except (GitFailed, ValueError) as problem:
        raise GitFailed(
            f"“{branch}” can't be the name of a branch. Change the project's template for branches.",
            code="branch_invalid",
        ) from problem


def like(repo: Path, branch: str, base: str | None) -> dict[str, str]:
    """Commits of the branches that may be in the way (with a suffix, too), and of the base if it is a
    branch: one process for both."""
    parent = branch.rpartition("/")[0]
    patterns = [f"refs/heads/{parent}/" if parent else "refs/heads/"]
    if base and not base.startswith("-"):
        patterns.append(f"refs/heads/{base}")
    shape = "--format=%(refname) %(objectname)"
    listed = os.fsdecode(run(["for-each-ref", shape, *patterns], cwd=repo))
    pairs = (line.rpartition(" ") for line in listed.split("\n") if line)
    return {name.removeprefix("refs/heads/"): commit for name, _, commit in pairs}


def free_name(branch: str, taken: Container[str]) -> str:
    number = 2
    while f"{branch}-{number}" in taken:
        number += 1
    return f"{branch}-{number}"


def drop_new(repo: Path, name: str, start: str | None) -> None:
    """Take back a branch that a failed attempt made; only while it still is where it was made."""
    if start is not None:
        with contextlib.suppress(GitFailed):
            run(["update-ref", "-d", f"refs/heads/{name}", start], cwd=repo)
