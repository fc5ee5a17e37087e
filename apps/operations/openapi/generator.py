"""The OpenAPI document: paths from the URLconf, bodies from the serializers, the rest from `collected`.

Nothing imports this before the document is asked for: the generator costs more memory than many a request.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Any

from drf_spectacular.extensions import OpenApiSerializerFieldExtension
from drf_spectacular.generators import EndpointEnumerator, SchemaGenerator
from drf_spectacular.openapi import AutoSchema
from drf_spectacular.plumbing import ComponentRegistry
from rest_framework.permissions import BasePermission
from rest_framework.serializers import Serializer

from apps.accounts.permissions import ChangedByAdmin, ChangedBySuperAdmin, IsAdmin, IsSuperAdmin
from apps.accounts.reach import Tokens, taken_by
from apps.common.described import Operation
from apps.common.envelope import dumps
from apps.common.serializers import camel
from apps.common.shapes import Components, Schema, given_id, schema_of
from apps.operations.openapi import collected
from apps.operations.openapi.examples import example_of

_PARAMETER = re.compile(r"<(\w+):(\w+)>")
_BODIES = ("POST", "PUT", "PATCH")
_TOKENS = {
    Tokens.NONE: "Personal tokens don't reach it.",
    Tokens.UNBOUND: "Personal tokens reach it, those for one project don't.",
    Tokens.ALL: "Personal tokens reach it.",
}
# Every operation may answer so; what is special of one stands at the operation.
_FAILURES = {
    400: "Something in the request can't be accepted; the message says what, and what would be.",
    401: "No token, or one that is not valid any more.",
    403: "The caller's role or token is too weak for this, or the web page that asks is not of this server.",
    404: "There is nothing here that the caller may see.",
    406: "The answer is JSON, which the `Accept` header does not take.",
    409: "The state of things does not allow it.",
    413: "The body is too large.",
    415: "The body is not JSON.",
    429: "Too many requests of this kind at once; `Retry-After` says when to come back.",
    503: "A part of the server is down or busy; `Retry-After` may say when to come back.",
}
FAILURE: Schema = {
    "type": "object",
    "description": "Every failure. Programs read `code`, people `message`.",
    "properties": {
        "error": {
            "type": "object",
            "properties": {
                "code": {"type": "string", "examples": ["not_found"]},
                "message": {"type": "string"},
                "details": {},
            },
            "required": ["code", "message"],
        }
    },
    "required": ["error"],
    "examples": [
        {"error": {"code": "not_found", "message": "There is nothing here that you may see."}}
    ],
}


class _PublicId(OpenApiSerializerFieldExtension):  # type: ignore[no-untyped-call]
    target_class = "apps.common.fields.PublicIdField"

    def map_serializer_field(self, auto_schema: AutoSchema, direction: str) -> Schema:
        return given_id(self.target.kind)


class _Answer(OpenApiSerializerFieldExtension):  # type: ignore[no-untyped-call]
    target_class = "apps.agents.serializers.AnswerField"

    def map_serializer_field(self, auto_schema: AutoSchema, direction: str) -> Schema:
        text = {"type": "string"}
        return {
            "anyOf": [text, {"type": ["number", "boolean"]}, {"type": "array", "items": text}],
            "examples": ["blue"],
        }


class Registry(ComponentRegistry):
    """Components of the serializers, and the shapes of what is answered."""

    def __init__(self) -> None:
        super().__init__()
        self.shapes = Components()
        self.names: dict[str, type] = {}


class Described(AutoSchema):
    """One operation, as the app's `schema` module and the view itself describe it."""

    registry: Registry

    def get_operation(
        self, path: str, path_regex: str, path_prefix: str, method: str, registry: Any
    ) -> Schema | None:
        self.registry = registry
        self.path, self.path_regex, self.method = path, path_regex, method.upper()
        action = getattr(self.view, "action", None) or method.lower()
        told = collected.operations().get((type(self.view), action))
        # A test finds what nobody has described.
        if told is None:
            return None
        return self._described(told.tag, told.operation)

    def _described(self, tag: str, operation: Operation) -> Schema:
        described: Schema = {
            "operationId": _operation_id(self.method, self.path),
            "summary": operation.summary,
            "description": f"{operation.text} {self._who()}".strip(),
            "tags": [tag],
            "security": [] if self._is_open() else [{"bearer": []}],
            "responses": self._responses(operation),
        }
        parameters = [*self._path_parameters(), *self._query(operation)]
        if operation.etag:
            parameters.append(_IF_NONE_MATCH)
        if parameters:
            described["parameters"] = parameters
        if operation.body is not None:
            described["requestBody"] = self._body(operation)
        return described

    def _is_open(self) -> bool:
        return not self.view.permission_classes

    def _who(self) -> str:
        if self._is_open():
            return "Anybody may call it."
        permissions = {each for each in self.view.permission_classes if each in _ROLES}
        only = [text for each in permissions if (text := _ROLES[each](self.method))]
        role = getattr(self.view, "roles", {}).get(getattr(self.view, "action", None))
        if role is not None:
            thing = "project" if "projectId" in self.path else "organization"
            only.append(
                f"Only for {'admins' if role.value == 'admin' else 'members'} of the {thing}."
            )
        return " ".join([*only, _TOKENS[taken_by(self.view, self.method)]])

    def _path_parameters(self) -> list[Schema]:
        return [
            {
                "name": camel(name),
                "in": "path",
                "required": True,
                "schema": {"type": "string", "format": "email", "examples": ["bob@example.org"]}
                if kind == "email"
                else {"type": "string", "examples": ["…"]}
                if kind in ("str", "path", "slug")
                else _id_in_path(kind),
            }
            for kind, name in _PARAMETER.findall(self.path_regex)
        ]

    def _query(self, operation: Operation) -> list[Schema]:
        return [
            {
                "name": name,
                "in": "query",
                "description": each.text,
                "required": each.required,
                "schema": schema_of(each.shape, self.registry.shapes),
            }
            for name, each in operation.query.items()
        ]

    def _body(self, operation: Operation) -> Schema:
        schema = self._schema_of(operation.body)
        return {
            "required": True,
            "content": {operation.body_type: self._with_example(schema, operation.body_type)},
        }

    def _responses(self, operation: Operation) -> Schema:
        answers: Schema = {}
        if operation.answer is None:
            answers[str(operation.success)] = {"description": "Done."}
        else:
            answers[str(operation.success)] = self._answer(operation, "Done.")
            for status, text in operation.also.items():
                answers[str(status)] = self._answer(operation, text)
        if operation.etag:
            answers["304"] = {"description": "It is as it was when it had the given `ETag`."}
        failures = {400, 403, 406, 413, 429, 503}
        if not self._is_open():
            failures.add(401)
        if "{" in self.path:
            failures.add(404)
        if self.method in _BODIES:
            failures.add(415)
        for status in failures:
            answers[str(status)] = {"$ref": f"#/components/responses/{status}"}
        for status, text in operation.errors.items():
            answers[str(status)] = _failure(text)
        if operation.conflicts:
            codes = ", ".join(f"`{each}`" for each in operation.conflicts)
            answers["409"] = _failure(f"{_FAILURES[409]} The code is one of {codes}.")
        return dict(sorted(answers.items()))

    def _answer(self, operation: Operation, text: str) -> Schema:
        schema = self._schema_of(operation.answer)
        if operation.media_type == "application/json" and not operation.bare:
            schema = {"type": "object", "properties": {"data": schema}, "required": ["data"]}
        answer: Schema = {
            "description": text,
            "content": {operation.media_type: self._with_example(schema, operation.media_type)},
        }
        if operation.etag:
            answer["headers"] = {"ETag": {"schema": {"type": "string"}}}
        return answer

    def _with_example(self, schema: Schema, media_type: str) -> Schema:
        if media_type != "application/json":
            return {"schema": schema}
        return {"schema": schema, "example": example_of(schema, self._known())}

    def _known(self) -> dict[str, Schema]:
        inputs = {
            component.name: component.schema for component in self.registry._components.values()
        }
        return {**inputs, **self.registry.shapes}

    def _schema_of(self, shape: Any) -> Schema:
        if isinstance(shape, type) and issubclass(shape, Serializer):
            return self.resolve_serializer(shape(), "request").ref
        return schema_of(shape, self.registry.shapes)

    def get_serializer_name(self, serializer: Any, direction: Any) -> str:
        """The class's; where two have the same, the second is told by its app."""
        cls = type(serializer)
        name = cls.__name__
        taken = self.registry.names.setdefault(name, cls)
        return name if taken is cls else f"{cls.__module__.split('.')[1].capitalize()}{name}"


def _failure(text: str) -> Schema:
    return {
        "description": text,
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Failure"}}},
    }


def _id_in_path(kind: str) -> Schema:
    text, _ = given_id(kind)["anyOf"]
    return {**text, "examples": given_id(kind)["examples"]}


def _operation_id(method: str, path: str) -> str:
    """`getProjectsCardsByCardId`: the address without its ids, but for one at the end."""
    *before, last = path.removeprefix("/api/").split("/")
    words = [each for each in before if each[0] != "{"]
    words.append(f"by-{last[1:-1]}" if last[0] == "{" else last)
    return method.lower() + "".join(_capital(word) for word in words)


def _capital(word: str) -> str:
    return "".join(part[:1].upper() + part[1:] for part in re.split(r"[-_.]", word))


_IF_NONE_MATCH = {
    "name": "If-None-Match",
    "in": "header",
    "description": "An `ETag` of an earlier answer: 304 if nothing has changed since.",
    "schema": {"type": "string"},
}
_ROLES: dict[type[BasePermission], Any] = {
    IsAdmin: lambda method: "Only for admins.",
    IsSuperAdmin: lambda method: "Only for super admins.",
    ChangedByAdmin: lambda method: "" if method == "GET" else "Only for admins.",
    ChangedBySuperAdmin: lambda method: "" if method == "GET" else "Only for super admins.",
}


class _Endpoints(EndpointEnumerator):
    def get_api_endpoints(self, patterns: Any = None, prefix: str = "") -> list[Any]:
        found = super().get_api_endpoints(patterns, prefix)  # type: ignore[no-untyped-call]
        return [each for each in found if each[0].startswith("/api/")]

    def get_path_from_regex(self, path_regex: str) -> str:
        path = _PARAMETER.sub(lambda match: "{" + camel(match[2]) + "}", path_regex)
        return path if path.startswith("/") else f"/{path}"

    def should_include_endpoint(self, path: str, callback: Any) -> bool:
        return "(" not in path and bool(super().should_include_endpoint(path, callback))


class Generator(SchemaGenerator):
    endpoint_inspector_cls = _Endpoints

    registry: Registry

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.registry = Registry()

    def coerce_path(self, path: str, method: str, view: Any) -> str:
        return path


@cache
def document() -> dict[str, Any]:
    generator = Generator()
    paths = generator.parse(None, public=True)  # type: ignore[no-untyped-call]
    inputs = generator.registry.build({})
    schemas = {**inputs.get("schemas", {}), **generator.registry.shapes, "Failure": FAILURE}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Kanban Agents",
            "version": "1",
            "description": 'Cards on a board, worked on by coding agents. Successes are `{"data": …}`,'
            ' failures `{"error": {"code", "message"}}`. The messages of the socket at `/api/ws` are'
            " described by `/api/events/schema`.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "tags": [{"name": each} for each in collected.tags()],
        "paths": dict(sorted(paths.items())),
        "components": {
            "schemas": dict(sorted(schemas.items())),
            "responses": {str(status): _failure(text) for status, text in _FAILURES.items()},
            "securitySchemes": {
                "bearer": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "The token of a sign-in, or a personal token (`kba_…`).",
                }
            },
        },
    }


@cache
def document_json() -> bytes:
    return dumps(document())
