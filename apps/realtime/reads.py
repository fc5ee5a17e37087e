"""What the hub and its sockets ask the database; each runs in a thread (see rows)."""

from __future__ import annotations

from dataclasses import dataclass, field

from apps.agents import transcripts as agents
from apps.events import bus, replay
from apps.events.bus import Position
from apps.realtime.access import Caller, Reach, still_valid, within_reach


@dataclass
class Asked:
    projects: list[int] = field(default_factory=list)
    sessions: list[int] = field(default_factory=list)
    callers: set[Caller] = field(default_factory=set)
    reaches: set[Reach] = field(default_factory=set)


@dataclass
class Look:
    positions: dict[int, Position]
    revs: dict[int, int]
    valid: set[Caller]
    within_reach: set[Reach]


def look(asked: Asked) -> Look:
    """Access is asked last: whoever loses it still gets what came before."""
    return Look(
        positions=replay.positions(asked.projects) if asked.projects else {},
        revs=agents.revs(asked.sessions) if asked.sessions else {},
        valid=still_valid(asked.callers) if asked.callers else set(),
        within_reach=within_reach(asked.reaches),
    )


@dataclass(frozen=True)
class ProjectOpening:
    position: Position
    can_replay: bool


def open_project(reach: Reach, since: Position | int | None) -> ProjectOpening | None:
    if not within_reach({reach}):
        return None
    position = bus.position(reach.project_id)
    if position is None:
        return None
    can_replay = since is None or replay.can_replay(reach.project_id, since, position)
    return ProjectOpening(position, can_replay)


@dataclass(frozen=True)
class SessionOpening:
    """Where the session stands, and the part of it as it stood then that the client lacks."""

    project_id: int
    index: int
    rev: int
    part: agents.Part


def open_session(caller: Caller, session_id: int, after: int | None) -> SessionOpening | None:
    found = agents.session_position(session_id)
    if found is None or not within_reach({caller.reach(found[0])}):
        return None
    project_id, index, rev = found
    return SessionOpening(project_id, index, rev, agents.part(session_id, after, rev))
