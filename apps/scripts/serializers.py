from __future__ import annotations

from datetime import datetime
from typing import Any

from apps.common.envelope import dumps
from apps.common.fields import ListField, PublicIdField, TextField
from apps.common.ids import optional_id, public_id
from apps.common.ordering import MOST_LISTED
from apps.common.serializers import Serializer
from apps.common.times import iso
from apps.runs.models import LIVE, State
from apps.scripts.models import Script, ScriptRun
from apps.scripts.wording import sentence

NAME_LIMIT = 200
# Linux takes arguments of up to 128 KiB, and a character has up to four bytes.
COMMAND_LIMIT = 30_000


def script_shape(script: Script) -> dict[str, Any]:
    return {
        "id": public_id("script", script.pk),
        "name": script.name,
        "command": script.command,
        "position": script.position,
        "projectId": public_id("project", script.project_id),
        "createdAt": iso(script.created_at),
        "updatedAt": iso(script.updated_at),
    }


SERVER_STOPPED = "server_stopped"
_STATUS = {
    State.COMPLETED: "succeeded",
    State.FAILED: "failed",
    State.CANCELLED: "cancelled",
    **dict.fromkeys(LIVE, "running"),
}


def status_shape(script_id: int, run: ScriptRun | None) -> dict[str, Any]:
    """How the script's last run stands, less its output, which is only for those who ask for it.

    One that an orderly stop of the server has ended leaves the script idle, and says so.
    """
    about = {"scriptId": public_id("script", script_id), "runId": None, "status": "idle"}
    if run is None:
        return {**about, **dict.fromkeys(_OF_A_RUN)}
    status = "idle" if run.error_code == SERVER_STOPPED else _STATUS[State(run.state)]
    error = {"code": run.error_code, "message": run.error_message} if run.error_code else None
    values = (
        iso(run.started_at),
        iso(run.ended_at),
        run.exit_code,
        sentence(run),
        error,
        optional_id("user", run.started_by_id),
    )
    about |= {"runId": public_id("run", run.pk), "status": status}
    return {**about, **dict(zip(_OF_A_RUN, values, strict=True))}


_OF_A_RUN = ("startedAt", "finishedAt", "exitCode", "statusText", "error", "startedBy")


def output_frame(
    run_id: int, *, index: int, rev: int, content: str, truncated: bool, created_at: datetime
) -> str:
    """What goes over the socket for a piece of output, made by the worker and by whoever reads the row."""
    data = {
        "runId": public_id("run", run_id),
        "index": index,
        "rev": rev,
        "content": content,
        "truncated": truncated,
        "createdAt": iso(created_at),
    }
    return f'{{"type":"script.output","data":{dumps(data).decode()}}}'


class CreateScriptInput(Serializer):
    name = TextField(max_length=NAME_LIMIT)
    command = TextField(max_length=COMMAND_LIMIT)


class UpdateScriptInput(Serializer):
    name = TextField(max_length=NAME_LIMIT, required=False)
    command = TextField(max_length=COMMAND_LIMIT, required=False)


class ReorderScriptsInput(Serializer):
    ids = ListField(child=PublicIdField("script"), max_length=MOST_LISTED)
