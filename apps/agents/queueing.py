"""The queue of sessions and what it is counted against, read in a few statements that are written out.

They lie between every move and its agent, and every pass over the queue of a busy worker asks them again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from django.conf import settings
from django.db import connection
from django.utils import timezone

from apps.agents import recovery
from apps.agents.models import AgentSession
from apps.boards.models import Column
from apps.cards.models import Card
from apps.common.fetching import Shape, shape
from apps.projects.models import Project
from apps.runs.models import HOLDING, State

READ_AT_ONCE = 500


class Queued(NamedTuple):
    """`path` is None for a session that works in a worktree of its own."""

    pk: int
    project_id: int
    card_id: int
    column_id: int
    host_id: str | None
    state: str
    queue_reason: str | None
    not_before: datetime | None
    pending_approval: bool
    most_in_project: int | None
    most_in_column: int | None
    path: str | None

    @classmethod
    def of(cls, session: AgentSession) -> Queued:
        card, project, column = session.card, session.card.project, session.card.column
        return cls(
            session.pk,
            project.pk,
            card.pk,
            column.pk,
            session.host_id,
            session.state,
            session.queue_reason,
            session.not_before,
            card.pending_approval,
            project.max_parallel_agents,
            column.wip_limit,
            None if project.worktree and project.is_git else project.path,
        )


_OWN_PLACE = "p.worktree AND p.is_git"
_QUEUED = f"""
    SELECT s.id, s.project_id, s.card_id, c.column_id, s.host_id, s.state, s.queue_reason, s.not_before,
           c.pending_approval, p.max_parallel_agents, f.wip_limit,
           CASE WHEN {_OWN_PLACE} THEN NULL ELSE p.path END,
           s.queue_rank, s.queue_number
    FROM agents_agentsession s
    JOIN cards_card c ON c.id = s.card_id
    JOIN boards_column f ON f.id = c.column_id
    JOIN projects_project p ON p.id = c.project_id
"""
_COUNTED = f"""
    SELECT 'holds', s.host_id, s.project_id, s.card_id, c.column_id, NULL
    FROM agents_agentsession s JOIN cards_card c ON c.id = s.card_id
    WHERE s.state IN ({", ".join(["%s"] * len(HOLDING))})
    UNION ALL
    SELECT 'waits', NULL, project_id, id, column_id, NULL
    FROM cards_card WHERE pending_approval OR agent_status = %s
    UNION ALL
    SELECT 'owned', NULL, s.project_id, s.card_id, c.column_id,
           CASE WHEN {_OWN_PLACE} THEN NULL ELSE p.path END
    FROM agents_agentsession s
    JOIN cards_card c ON c.id = s.card_id
    JOIN projects_project p ON p.id = c.project_id
    WHERE s.worker_id IS NOT NULL
"""


def _rows(statement: str, parameters: Sequence[Any]) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        rows: list[tuple[Any, ...]] = cursor.fetchall()
    return rows


def waiting(host_id: str) -> Iterator[Queued]:
    """Sessions that this host may claim, in the order in which they go on.

    Read some at a time: the head mostly does, but whoever can start may stand behind hundreds who can't.
    """
    now = timezone.now()
    put_off = [recovery.ONE_BY_ONE, *recovery.BUSY]
    mine = [host_id, _stored(now), *put_off, _stored(now + recovery.DEATHS_WITHIN)]
    last = (-1, -1, -1)
    while True:
        rows = _rows(
            f"""{_QUEUED}
            WHERE s.state IN ('queued', 'interrupted') AND s.worker_id IS NULL
              AND NOT s.cancel_requested AND (s.host_id IS NULL OR s.host_id = %s)
              AND (s.not_before IS NULL OR s.not_before <= %s
                   -- Put off for seconds, and the clock was set back meanwhile.
                   OR (s.queue_reason IN ({", ".join(["%s"] * len(put_off))}) AND s.not_before > %s))
              AND (s.queue_rank, s.queue_number, s.id) > (%s, %s, %s)
            ORDER BY s.queue_rank, s.queue_number, s.id LIMIT {READ_AT_ONCE}""",
            [*mine, *last],
        )
        for *row, rank, number in rows:
            yield Queued._make(row)
            last = rank, number, row[0]
        if len(rows) < READ_AT_ONCE:
            return


def _stored(moment: datetime) -> Any:
    return connection.ops.adapt_datetimefield_value(moment)


def whole(
    session_id: int, where: str, parameters: Sequence[Any] = (), *, lock: bool = False
) -> AgentSession | None:
    """The session with its card, column and project, if it is so; with `lock` its own row is locked."""
    shapes: list[Shape[Any]] = [shape(AgentSession), shape(Card), shape(Column), shape(Project)]
    columns = ", ".join(each.columns(table) for each, table in zip(shapes, "scfp", strict=True))
    locking = "FOR NO KEY UPDATE OF s" if lock and connection.vendor == "postgresql" else ""
    rows = _rows(
        f"""
        SELECT {columns} FROM agents_agentsession s
        JOIN cards_card c ON c.id = s.card_id
        JOIN boards_column f ON f.id = c.column_id
        JOIN projects_project p ON p.id = c.project_id
        WHERE s.id = %s AND {where} {locking}
        """,
        [session_id, *parameters],
    )
    if not rows:
        return None
    values = list(rows[0])
    made: list[Any] = []
    for each in shapes:
        made.append(each.made(values[: each.width]))
        del values[: each.width]
    session: AgentSession
    session, card, column, project = made
    session.card, card.column, card.project = card, column, project
    return session


@dataclass
class Counts:
    """Who works, counted once for a pass over the queue."""

    host: int
    projects: Counter[int]
    busy_cards: set[int]
    columns: Counter[int]
    paths: set[str]

    @classmethod
    def now(cls, host_id: str) -> Counts:
        rows: dict[str, list[Any]] = {"holds": [], "waits": [], "owned": []}
        for what, *row in _rows(_COUNTED, [*map(str, HOLDING), str(State.WAITING)]):
            rows[what].append(row)
        holding, waits, owned = rows.values()
        hold = {card_id for _host, _project, card_id, _column, _path in holding}
        columns = Counter(row[3] for row in holding)
        columns.update(row[3] for row in waits if row[2] not in hold)
        return cls(
            host=sum(1 for row in holding if row[0] == host_id),
            projects=Counter(row[1] for row in holding),
            busy_cards={row[2] for row in owned},
            columns=columns,
            paths={row[4] for row in owned if row[4] is not None},
        )

    def reason_against(self, session: Queued, *, closing: bool) -> str | None:
        """Why the session can't start right now; None when it can."""
        if closing:
            return "disk_low"
        if session.card_id in self.busy_cards:
            return "previous_agent"
        if session.state == State.QUEUED:
            if self.host >= settings.MAX_AGENTS:
                return "max_agents"
            most = session.most_in_project
            if most and self.projects[session.project_id] >= most:
                return "project_limit"
            most = session.most_in_column
            if most and self.columns[session.column_id] >= most and not session.pending_approval:
                return "wip_limit"
        if session.path is not None and session.path in self.paths:
            return "path_in_use"
        return None
