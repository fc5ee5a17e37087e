"""Where the lines of whatever talks are read."""

from __future__ import annotations

from apps.agents.transcripts import Transcripts
from apps.realtime.frames import Run, Session, Talker
from apps.runs.lines import Lines
from apps.scripts.lines import Outputs

SOURCES: dict[type[Talker], Lines] = {Session: Transcripts(), Run: Outputs()}


def lines_of(topic: Talker) -> Lines:
    return SOURCES[type(topic)]
