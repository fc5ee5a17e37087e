from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from apps.common.ids import public_id
from apps.events.bus import ProjectEvent
from apps.scripts.models import Script, ScriptRun
from apps.scripts.serializers import script_shape, status_shape


@dataclass(frozen=True, kw_only=True)
class _ScriptEvent(ProjectEvent):
    script: Script

    def data(self) -> dict[str, Any]:
        return script_shape(self.script)


class ScriptCreated(_ScriptEvent):
    type: ClassVar[str] = "script.created"


class ScriptUpdated(_ScriptEvent):
    type: ClassVar[str] = "script.updated"


@dataclass(frozen=True, kw_only=True)
class ScriptDeleted(ProjectEvent):
    """Scripts behind it move up by one."""

    type: ClassVar[str] = "script.deleted"
    script_id: int

    def data(self) -> dict[str, Any]:
        return {
            "id": public_id("script", self.script_id),
            "projectId": public_id("project", self.project_id),
        }


@dataclass(frozen=True, kw_only=True)
class ScriptsReordered(ProjectEvent):
    """All the project's scripts, each at the position that its id has in `ids`."""

    type: ClassVar[str] = "script.reordered"
    script_ids: list[int]

    def data(self) -> dict[str, Any]:
        return {
            "ids": [public_id("script", each) for each in self.script_ids],
            "projectId": public_id("project", self.project_id),
        }


@dataclass(frozen=True, kw_only=True)
class ScriptStatus(ProjectEvent):
    """A run began, ended, or something is to be said of it. Its output goes to those who follow the run."""

    type: ClassVar[str] = "script.status"
    script_id: int
    run: ScriptRun

    def data(self) -> dict[str, Any]:
        shape = status_shape(self.script_id, self.run)
        return {**shape, "projectId": public_id("project", self.project_id)}
