"""What can go wrong on the host, as one tree. Every one carries a stable `code` and a sentence for people.

HostError                 host_error
├── PathRefused           path_* : a path outside of what its user may name
├── GitFailed             git_failed, or what git said in words of ours
│   └── WorktreeDirty     worktree_dirty : removing it would lose work
└── SpawnFailed           program_missing, directory_missing, spawn_failed
"""

from __future__ import annotations


class HostError(Exception):
    code = "host_error"

    def __init__(self, message: str, *, code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.code = code or self.code


class PathRefused(HostError):
    code = "path_outside"


class GitFailed(HostError):
    """`detail` is the end of git's own error output; it may name paths of the server. `exit_code` is
    negative where a signal ended it."""

    code = "git_failed"

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        detail: str = "",
        exit_code: int | None = None,
    ) -> None:
        super().__init__(message, code=code)
        self.detail = detail
        self.exit_code = exit_code


class WorktreeDirty(GitFailed):
    """`reason` is `uncommitted`, `unmerged` or `unreadable` (then nobody can tell what is in it)."""

    code = "worktree_dirty"

    def __init__(self, message: str, *, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


class SpawnFailed(HostError):
    code = "spawn_failed"
