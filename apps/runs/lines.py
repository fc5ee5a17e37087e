"""How what runs have said is read again, for whoever watches them; each kind has its own lines."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from apps.runs.models import Run

PAGE = 200


@dataclass(frozen=True)
class Page:
    """(index, frame) in the order of the indexes; what is queued and has no index comes at the very end."""

    rows: list[tuple[int | None, str]]
    more: bool


class Part(Protocol):
    """What a new subscriber is sent first, as it stood when that was asked for."""

    def page(self, last: int) -> Page:
        """What comes behind the index `last`."""
        ...


class Lines(ABC):
    """The lines of one kind of run."""

    model: type[Run]

    def position(self, run_id: int) -> tuple[int, int, int] | None:
        """(project id, last index, last rev); -1 and 0 when there is no line yet."""
        rows = self.model._default_manager.filter(pk=run_id)
        row = rows.values_list("project_id", "next_index", "next_rev").first()
        return None if row is None else (row[0], row[1] - 1, row[2] - 1)

    def revs(self, run_ids: Iterable[int]) -> dict[int, int]:
        """The last rev of each run, in one query."""
        rows = self.model._default_manager.filter(pk__in=list(run_ids))
        return {pk: next_rev - 1 for pk, next_rev in rows.values_list("pk", "next_rev")}

    @abstractmethod
    def after_rev(self, run_id: int, rev: int, *, limit: int) -> tuple[list[tuple[int, str]], bool]:
        """(rev, frame) of what was stored or changed after `rev`, in the order of the revs, as many as
        `limit` and their length allow; whether there are more."""

    @abstractmethod
    def part(self, run_id: int, after: int | None, rev: int) -> Part:
        """What was there at `rev`: all of it, or with `after` what a client lacks that has as much."""
