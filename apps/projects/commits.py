"""Whether a project's repository has a commit for its agents to start from.

Only git knows, and git is not asked inside a transaction: whoever may start an agent asks before it, and the
gate hears the answer inside. A gate that nobody asked for lets the card through; its worker finds out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from apps.host import git
from apps.host.errors import HostError
from apps.projects.models import Project
from apps.projects.places import directory

# What has commits keeps them: each process asks once about a place.
_have: set[str] = set()
_lacking: ContextVar[int | None] = ContextVar("lacking_commits", default=None)


def are_lacking(project: Project) -> bool:
    """What the `asked` around this has found out; no process, no disk."""
    return project.worktree and _lacking.get() == project.pk


@contextmanager
def asked(project: Project, *, starts: Callable[[], bool] = lambda: True) -> Iterator[None]:
    """Within it the gate knows. About 5 ms the first time, 20 ms each time while there are no commits.

    `starts` spares git where no agent would start; it may cost a query.
    """
    token = _lacking.set(project.pk if _lack(project, starts) else None)
    try:
        yield
    finally:
        _lacking.reset(token)


def _lack(project: Project, starts: Callable[[], bool]) -> bool:
    if not (project.is_git and project.worktree) or project.path in _have or not starts():
        return False
    try:
        place = directory(project)
        found = git.inspect(place)
        if found.has_commits:
            _have.add(project.path)
            return False
        base = project.base_branch
        return found.is_git and not (base and git.resolve(place, base))
    except (HostError, OSError):
        # Something else is wrong with it; the worker says what.
        return False
