"""How an app describes its part of the API: `schema.py` in each app has these, and nobody reads them
before the document is asked for.

    TAG          the heading under which its operations stand
    OPERATIONS   view → action (or method) → Operation
    EVENTS       type of a project's event → shape of its data
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from apps.common.shapes import given_id


@dataclass(frozen=True)
class Query:
    """A parameter in the query string."""

    shape: Any
    text: str
    required: bool = False

    @classmethod
    def id(cls, kind: str, text: str) -> Query:
        return cls(given_id(kind), text)


@dataclass(frozen=True)
class Operation:
    """What one method of one address takes and answers.

    What follows from the view is not written here: who may call it, what its path holds, which errors every
    operation may answer with.
    """

    summary: str
    # A serializer or a shape; None is an answer without a body.
    answer: Any = None
    body: Any = None
    # None for 200, or 204 without a body; a redirect has none either.
    status: int | None = None
    # Other successes with the same body, and what they mean.
    also: Mapping[int, str] = field(default_factory=dict)
    query: Mapping[str, Query] = field(default_factory=dict)
    # Codes of the conflicts (409) it may answer with.
    conflicts: tuple[str, ...] = ()
    # Further statuses of failures, and when.
    errors: Mapping[int, str] = field(default_factory=dict)
    text: str = ""
    # It carries an ETag and honours If-None-Match.
    etag: bool = False
    # Of an answer or a body that is not JSON.
    media_type: str = "application/json"
    body_type: str = "application/json"
    # Its answer is no `{"data": …}`.
    bare: bool = False

    @property
    def success(self) -> int:
        return self.status or (204 if self.answer is None else 200)


# Codes of conflicts with what is on the disk.
ON_DISK = (
    "directory_missing",
    "project_path_moved",
    "git_failed",
    "git_timeout",
    "not_git",
    "no_commits",
)

Operations = Mapping[type, Mapping[str, Operation]]
