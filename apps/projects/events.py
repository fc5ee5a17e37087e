from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from apps.common.ids import public_id
from apps.events.bus import ProjectEvent
from apps.projects.models import Project
from apps.projects.serializers import project_shape


@dataclass(frozen=True, kw_only=True)
class ProjectUpdated(ProjectEvent):
    type: ClassVar[str] = "project.updated"
    project: Project

    def data(self) -> dict[str, Any]:
        return {**project_shape(self.project), "projectId": public_id("project", self.project_id)}


@dataclass(frozen=True, kw_only=True)
class ProjectDeleted(ProjectEvent):
    """The last event of a stream, which outlives its project so that this can still be read."""

    type: ClassVar[str] = "project.deleted"

    def data(self) -> dict[str, Any]:
        wire = public_id("project", self.project_id)
        return {"id": wire, "projectId": wire}
