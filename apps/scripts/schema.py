from __future__ import annotations

from typing import Literal, TypedDict

from apps.common.described import Operation, Operations
from apps.common.shapes import Moment, ProjectId, RunId, ScriptId, UserId
from apps.scripts import serializers as ins
from apps.scripts.views import ScriptViewSet

TAG = "Scripts"


class Script(TypedDict):
    id: ScriptId
    name: str
    command: str
    position: int
    projectId: ProjectId
    createdAt: Moment
    updatedAt: Moment


class ScriptError(TypedDict):
    code: str
    message: str


class ScriptStanding(TypedDict):
    """How the script's last run stands."""

    scriptId: ScriptId
    runId: RunId | None
    status: Literal["idle", "running", "succeeded", "failed", "cancelled"]
    startedAt: Moment | None
    finishedAt: Moment | None
    exitCode: int | None
    statusText: str | None
    error: ScriptError | None
    startedBy: UserId | None


class ScriptStatus(ScriptStanding):
    """`output` is the end of what it wrote."""

    output: str


class ScriptOutput(TypedDict):
    runId: RunId
    index: int
    rev: int
    content: str
    truncated: bool
    createdAt: Moment


class ScriptDeletedEvent(TypedDict):
    id: ScriptId
    projectId: ProjectId


class ScriptsReorderedEvent(TypedDict):
    ids: list[ScriptId]
    projectId: ProjectId


class ScriptStatusEvent(ScriptStanding):
    projectId: ProjectId


OPERATIONS: Operations = {
    ScriptViewSet: {
        "list": Operation("A project's scripts", [Script], etag=True),
        "create": Operation(
            "Make a script",
            Script,
            ins.CreateScriptInput,
            status=201,
            conflicts=("too_many_scripts",),
        ),
        "reorder": Operation("Put scripts into another order", [Script], ins.ReorderScriptsInput),
        "update": Operation("Change a script", Script, ins.UpdateScriptInput),
        "destroy": Operation("Delete a script, and end its run"),
        "status": Operation("How each script's last run stands", [ScriptStatus], etag=True),
        "run": Operation("Run a script", ScriptStatus, conflicts=("already_running",)),
        "cancel": Operation(
            "Stop a script and all it has started", ScriptStatus, conflicts=("not_running",)
        ),
    }
}

EVENTS = {
    "script.created": Script,
    "script.updated": Script,
    "script.deleted": ScriptDeletedEvent,
    "script.reordered": ScriptsReorderedEvent,
    "script.status": ScriptStatusEvent,
}
FRAMES = {"script.output": ScriptOutput}
