from __future__ import annotations

from apps.agents.serializers import line_frame
from apps.events.telling import SESSION_CHANNEL
from apps.runs.sink import Line
from apps.runs.storing import COLUMNS


class AgentLines:
    """Where the sink puts an agent's lines."""

    run_table = "agents_agentsession"
    line_table = "agents_agentmessage"
    foreign_key = "session_id"
    columns = COLUMNS
    channel = SESSION_CHANNEL

    def frame(self, run_id: int, message_id: int, index: int, rev: int, line: Line) -> str:
        return line_frame(run_id, message_id, index, rev, line)
