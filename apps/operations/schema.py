from __future__ import annotations

from typing import Literal, TypedDict

from apps.common.described import Operation, Operations
from apps.operations.schema_views import DocsView, EventsSchemaView, PageScriptView, SchemaView
from apps.operations.setting_views import ContextRelayInput, ContextRelayView
from apps.operations.transfer_views import ExportViewSet, ImportView
from apps.operations.views import HealthView
from apps.projects.schema import Project

TAG = "Server"


class Health(TypedDict):
    status: Literal["ok"]


class ContextRelay(TypedDict):
    mode: Literal["off", "manual", "auto"]


IMPORT = {
    "type": "object",
    "properties": {
        "file": {"type": "string", "format": "binary"},
        "path": {"type": "string"},
        "organizationId": {"type": "string"},
    },
    "required": ["file", "path"],
}

OPERATIONS: Operations = {
    ExportViewSet: {
        "export": Operation(
            "Take a project along as a file",
            {"type": "object"},
            bare=True,
            conflicts=("too_large_to_import",),
            text="Without credentials, people, messages and the content of attachments; never more than an"
            " import takes.",
        )
    },
    ImportView: {
        "post": Operation(
            "Make a project from a file that an export wrote",
            Project,
            IMPORT,
            body_type="multipart/form-data",
            status=201,
            conflicts=("bad_presets",),
            errors={
                403: "`path_taken`: somebody else's project lies there.",
                404: "There is no such organization.",
            },
            text="All of it or nothing; no agent starts. The file may have 200 MB.",
        )
    },
    HealthView: {
        "get": Operation(
            "Whether everything works",
            Health,
            errors={503: "Something does not; `details.failing` names it."},
        )
    },
    ContextRelayView: {
        "get": Operation("When a full session hands over to a new one", ContextRelay, etag=True),
        "put": Operation(
            "Choose when a full session hands over to a new one", ContextRelay, ContextRelayInput
        ),
    },
    SchemaView: {"get": Operation("This document", {"type": "object"}, etag=True, bare=True)},
    EventsSchemaView: {
        "get": Operation(
            "JSON Schema of the messages of /api/ws", {"type": "object"}, etag=True, bare=True
        )
    },
    DocsView: {
        "get": Operation(
            "A page to read this document and try it on", {"type": "string"}, media_type="text/html"
        )
    },
    PageScriptView: {
        "get": Operation(
            "The script of that page", {"type": "string"}, media_type="text/javascript"
        )
    },
}
