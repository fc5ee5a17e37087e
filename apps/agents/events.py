from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from apps.agents.models import AgentRequest, AgentSession
from apps.agents.serializers import request_shape, session_shape
from apps.common.ids import public_id
from apps.events.bus import ProjectEvent


@dataclass(frozen=True, kw_only=True)
class AgentStatus(ProjectEvent):
    """A session changed its state, or what is said of it."""

    type: ClassVar[str] = "agent.status"
    session: AgentSession

    def data(self) -> dict[str, Any]:
        return {**session_shape(self.session), "projectId": public_id("project", self.project_id)}


@dataclass(frozen=True, kw_only=True)
class RequestChanged(ProjectEvent):
    """Something waits for a person, or doesn't any more, or the agent has got its answer."""

    type: ClassVar[str] = "agent.request"
    request: AgentRequest

    def data(self) -> dict[str, Any]:
        return {**request_shape(self.request), "projectId": public_id("project", self.project_id)}
