from __future__ import annotations

from datetime import datetime
from typing import Any

from rest_framework import serializers

from apps.common.fields import PublicIdField, TextField
from apps.common.ids import public_id
from apps.common.serializers import Serializer
from apps.scripts.models import Script

NAME_LIMIT = 200
# Linux takes arguments of up to 128 KiB, and a character has up to four bytes.
COMMAND_LIMIT = 30_000
# More than anybody's project has.
MOST_LISTED = 1_000


def iso(moment: datetime | None) -> str | None:
    return None if moment is None else moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


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


class CreateScriptInput(Serializer):
    name = TextField(max_length=NAME_LIMIT)
    command = TextField(max_length=COMMAND_LIMIT)


class UpdateScriptInput(Serializer):
    name = TextField(max_length=NAME_LIMIT, required=False)
    command = TextField(max_length=COMMAND_LIMIT, required=False)


class ReorderScriptsInput(Serializer):
    ids = serializers.ListField(child=PublicIdField("script"), max_length=MOST_LISTED)
