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
    """The last event of a stream, which outlives its project so that this can still be read.

    `patches` are where work is saved that only its cards' worktrees held, if there was any.
    """

    type: ClassVar[str] = "project.deleted"
    patches: list[str]

    def data(self) -> dict[str, Any]:
        wire = public_id("project", self.project_id)
        return {"id": wire, "projectId": wire, "patches": self.patches}


@dataclass(frozen=True, kw_only=True)
class _MemberEvent(ProjectEvent):
    """`entry` as the list of members has it; its `email` tells it from the others, pending or not."""

    entry: dict[str, Any]

    def data(self) -> dict[str, Any]:
        return {**self.entry, "projectId": public_id("project", self.project_id)}


class MemberAdded(_MemberEvent):
    type: ClassVar[str] = "member.added"


class MemberUpdated(_MemberEvent):
    """Another role, or an invitation that became a membership."""

    type: ClassVar[str] = "member.updated"


class MemberRemoved(_MemberEvent):
    """The entry as it was."""

    type: ClassVar[str] = "member.removed"
