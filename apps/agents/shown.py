"""Sessions as they stand for whoever looks: with what no event can tell, because no row has changed."""

from __future__ import annotations

from collections.abc import Iterable

from django.conf import settings

from apps.agents.models import AgentSession
from apps.agents.serializers import SessionShape, session_shape
from apps.host.disk import free_bytes
from apps.runs import leases, limits, waiting
from apps.runs.models import LIVE


def session_shapes(rows: Iterable[AgentSession]) -> list[SessionShape]:
    """As they are told, and that there is no worker, that theirs is silent, or the disk full."""
    rows = list(rows)
    waiting.explain(rows)
    owners = {row.worker_id for row in rows if row.worker_id is not None and row.state in LIVE}
    silent = leases.silent(owners)
    full = bool(owners) and free_bytes(settings.DATA_DIR) < limits.FULL_DISK_BYTES
    return [session_shape(row, silent=row.worker_id in silent, full=full) for row in rows]
