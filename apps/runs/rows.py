"""What the loop asks of a kind of run and its table answers alone."""

from __future__ import annotations

from typing import Any, TypeVar

from django.db.models import Q, QuerySet

from apps.runs.models import LIVE, Run

R = TypeVar("R", bound=Run)


def in_order(runs: QuerySet[R]) -> QuerySet[R]:
    """Locked when read, ids ascending, as the sink locks all that it has lines of.

    Whoever is about to change several runs of one kind, in whatever order, reads this before.
    """
    return runs.select_for_update(of=("self",), no_key=True).order_by("pk")


def at_work() -> Q:
    """Runs that somebody other than the holder of their stream may be writing to."""
    return Q(state__in=LIVE) | Q(worker_id__isnull=False)


class Rows:
    model: type[Run]

    def _rows(self) -> QuerySet[Any]:
        return self.model._default_manager.all()

    def owners(self, host_id: str) -> set[str]:
        rows = self._rows().filter(worker_id__isnull=False, host_id=host_id)
        return {owner for owner in rows.values_list("worker_id", flat=True) if owner}

    def owned(self, worker_id: str) -> dict[int, tuple[int, bool]]:
        rows = self._rows().filter(worker_id=worker_id)
        columns = rows.values_list("pk", "fence", "cancel_requested")
        return {pk: (fence, cancel) for pk, fence, cancel in columns}

    def bound(self) -> QuerySet[Any]:
        """Runs that are to go on, or that are still owned."""
        return self._rows().filter(at_work())

    def hosts(self) -> set[str]:
        return {host for host in self.bound().values_list("host_id", flat=True).distinct() if host}
