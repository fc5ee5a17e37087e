"""What the hub and its sockets ask the database; each runs in a thread (see rows)."""

from __future__ import annotations

from dataclasses import dataclass, field

from apps.events import bus, replay
from apps.events.bus import Position
from apps.realtime.access import Caller, Reach, still_valid, within_reach
from apps.realtime.frames import Project, Talker
from apps.realtime.sources import SOURCES, lines_of
from apps.runs.lines import Part


@dataclass
class Asked:
    projects: list[Project] = field(default_factory=list)
    talkers: list[Talker] = field(default_factory=list)
    callers: set[Caller] = field(default_factory=set)
    reaches: set[Reach] = field(default_factory=set)


@dataclass
class Look:
    positions: dict[Project, Position]
    revs: dict[Talker, int]
    valid: set[Caller]
    within_reach: set[Reach]


def look(asked: Asked) -> Look:
    """Access is asked last: whoever loses it still gets what came before."""
    return Look(
        positions=_positions(asked.projects),
        revs=_revs(asked.talkers),
        valid=still_valid(asked.callers) if asked.callers else set(),
        within_reach=within_reach(asked.reaches),
    )


def _positions(projects: list[Project]) -> dict[Project, Position]:
    if not projects:
        return {}
    found = replay.positions([each.id for each in projects])
    return {each: found[each.id] for each in projects if each.id in found}


def _revs(talkers: list[Talker]) -> dict[Talker, int]:
    revs: dict[Talker, int] = {}
    for kind, lines in SOURCES.items():
        asked = {each.id: each for each in talkers if isinstance(each, kind)}
        if asked:
            revs |= {asked[pk]: rev for pk, rev in lines.revs(asked).items()}
    return revs


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
class LinesOpening:
    """Where the run stands, and the part of it as it stood then that the client lacks."""

    project_id: int
    index: int
    rev: int
    part: Part


def open_lines(caller: Caller, topic: Talker, after: int | None) -> LinesOpening | None:
    lines = lines_of(topic)
    found = lines.position(topic.id)
    if found is None or not within_reach({caller.reach(found[0])}):
        return None
    project_id, index, rev = found
    return LinesOpening(project_id, index, rev, lines.part(topic.id, after, rev))
