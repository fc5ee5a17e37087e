"""A project's settings (X4): those that people set here win over those that its repository carries.

`.kanban.toml` is read from the base branch's commit, never from a worktree. Whoever can push to the branch
writes it, so what runs code, picks the agent or frees it counts only after an admin accepted exactly that
content: another byte, and it is as if it weren't there. What it says is stored with the project when that is
made, when it is accepted and when a card gets its worktree, and counts from the next start.
"""

from __future__ import annotations

import hashlib
import tomllib
from dataclasses import dataclass, field
from typing import Any

from rest_framework.exceptions import ValidationError

from apps.common.errors import sentence
from apps.common.serializers import camel, checked
from apps.host import git
from apps.host.errors import GitFailed
from apps.projects import places
from apps.projects.models import PermissionMode, Project
from apps.projects.serializers import RepositorySettings

FILE = ".kanban.toml"
_LARGEST = 64_000

DEFAULTS: dict[str, Any] = {
    "agent": None,
    "model": None,
    "permission_mode": PermissionMode.UNATTENDED.value,
    "base_branch": None,
    "branch_template": None,
    "worktree": True,
    "max_parallel_agents": None,
    "setup_script": None,
    "cleanup_script": None,
    "copy_files": [],
    "auto_commit": False,
}
# What is run, with which agent and how freely.
ADMINS_ONLY = frozenset(
    {"agent", "permission_mode", "setup_script", "cleanup_script", "copy_files"}
)
_FROM_REPOSITORY = tuple(camel(name) for name in DEFAULTS if name != "base_branch")


@dataclass(frozen=True)
class RepositoryFile:
    """`values` by column, none of them while there is a `problem`; `ignored` are names that say nothing."""

    commit: str
    hash: str
    values: dict[str, Any] = field(default_factory=dict)
    ignored: list[str] = field(default_factory=list)
    problem: str | None = None


def read(project: Project) -> RepositoryFile | None:
    """What the base branch holds right now; None without such a file. Asks git: not for a transaction.

    Raises HostError where the repository can't be read.
    """
    if not project.is_git:
        return None
    folder = places.directory(project)
    commit = git.resolve(folder, project.base_branch or "HEAD")
    if commit is None:
        return None
    try:
        content = git.committed_file(folder, commit, FILE, _LARGEST)
    except GitFailed as problem:
        if problem.code != "file_too_large":
            raise
        return RepositoryFile(commit, "", problem=problem.message)
    return None if content is None else _parsed(commit, content)


def _parsed(commit: str, content: bytes) -> RepositoryFile:
    digest = hashlib.sha256(content).hexdigest()
    try:
        found = tomllib.loads(content.decode())
    except (ValueError, RecursionError) as problem:
        return RepositoryFile(commit, digest, problem=f"{FILE} can't be read: {problem}")
    ignored = sorted(found.keys() - set(_FROM_REPOSITORY))
    try:
        values = checked(RepositorySettings, {name: found[name] for name in found.keys() - ignored})
    except ValidationError as problem:
        return RepositoryFile(
            commit, digest, ignored=ignored, problem=f"{FILE}: {sentence(problem.detail)}"
        )
    except (ArithmeticError, ValueError, RecursionError):
        # TOML knows numbers and depths at which Python itself gives up.
        return RepositoryFile(
            commit,
            digest,
            ignored=ignored,
            problem=f"{FILE} can't be used: a value in it is too large or lies too deep.",
        )
    return RepositoryFile(commit, digest, values, ignored)


def counting(project: Project) -> dict[str, Any]:
    """What of the repository's settings counts: the rest needs an admin's acceptance."""
    accepted = (
        project.accepted_hash is not None and project.accepted_hash == project.repository_hash
    )
    given: dict[str, Any] = project.repository_settings
    return {name: value for name, value in given.items() if accepted or name not in ADMINS_ONLY}


def settle(project: Project, names: set[str]) -> None:
    """Set these columns by what is known; the row is not saved here."""
    known = {**DEFAULTS, **counting(project), **project.own_settings}
    for name in names:
        setattr(project, name, known[name])


def take(project: Project, file: RepositoryFile | None) -> None:
    """Remember what the file says, and set the columns that it concerned or concerns."""
    before = counting(project)
    project.repository_settings = dict(file.values) if file else {}
    project.repository_hash = file.hash if file else None
    settle(project, (before.keys() | counting(project).keys()) - project.own_settings.keys())


def settings_shape(project: Project, file: RepositoryFile | None) -> dict[str, Any]:
    return {
        "own": {camel(name): project.own_settings.get(name) for name in DEFAULTS},
        "repository": file
        and {
            "commit": file.commit,
            "hash": file.hash,
            "accepted": file.hash == project.accepted_hash,
            "settings": {camel(name): value for name, value in file.values.items()},
            "needAcceptance": sorted(camel(name) for name in file.values.keys() & ADMINS_ONLY),
            "ignored": file.ignored,
            "problem": file.problem,
        },
    }
