from __future__ import annotations

from typing import Literal, TypedDict

from apps.common.described import Operation, Operations
from apps.operations.schema_views import DocsView, EventsSchemaView, PageScriptView, SchemaView
from apps.operations.setting_views import ContextRelayInput, ContextRelayView
from apps.operations.views import HealthView

TAG = "Server"


class Health(TypedDict):
    status: Literal["ok"]


class ContextRelay(TypedDict):
    mode: Literal["off", "manual", "auto"]


OPERATIONS: Operations = {
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
