"""What goes over the wire, as types, and their JSON Schema.

A shape is a TypedDict whose fields may be annotated with more schema; a list of one shape is a list of them.
"""

from __future__ import annotations

from types import NoneType, UnionType
from typing import (
    Annotated,
    Any,
    Literal,
    NotRequired,
    Required,
    Union,
    get_args,
    get_origin,
    get_type_hints,
    is_typeddict,
)

from apps.common.ids import MAX_DIGITS, PREFIXES, public_id

Schema = dict[str, Any]


class More(dict[str, Any]):
    """What an annotation adds to the schema of its type; hashable, which types must be."""

    __hash__ = object.__hash__  # type: ignore[assignment]


def _id(kind: str) -> More:
    pattern = f"^{PREFIXES[kind]}_[0-9]{{3,{MAX_DIGITS}}}$"
    return More(pattern=pattern, examples=[public_id(kind, 1)])


UserId = Annotated[str, _id("user")]
OrganizationId = Annotated[str, _id("organization")]
ProjectId = Annotated[str, _id("project")]
BoardId = Annotated[str, _id("board")]
ColumnId = Annotated[str, _id("column")]
CardId = Annotated[str, _id("card")]
AttachmentId = Annotated[str, _id("attachment")]
SessionId = Annotated[str, _id("session")]
MessageId = Annotated[str, _id("message")]
CredentialId = Annotated[str, _id("credential")]
TemplateId = Annotated[str, _id("template")]
ScriptId = Annotated[str, _id("script")]
RunId = Annotated[str, _id("run")]
TokenId = Annotated[str, _id("token")]
EventId = Annotated[str, _id("event")]
RequestId = Annotated[str, _id("request")]
Moment = Annotated[str, More(format="date-time", examples=["2026-01-31T12:00:00.000000Z"])]


def given_id(kind: str) -> Schema:
    """An id as callers may write it; see `ids`."""
    return {
        "anyOf": [
            {"type": "string", "pattern": f"^({PREFIXES[kind]}_)?[0-9]{{1,{MAX_DIGITS}}}$"},
            {"type": "integer", "minimum": 0, "maximum": 10**MAX_DIGITS - 1},
        ],
        "examples": [public_id(kind, 1)],
    }


class Components(dict[str, Schema]):
    """Schemas by name; two shapes must not share one."""

    def __init__(self) -> None:
        super().__init__()
        self.shapes: dict[str, Any] = {}


_BASIC: dict[Any, str] = {
    str: "string",
    int: "integer",
    float: "number",
    bool: "boolean",
    NoneType: "null",
}


def schema_of(
    shape: Any, components: Components, *, prefix: str = "#/components/schemas/"
) -> Schema:
    """The shape's schema; objects with a name are put into `components` and referred to."""
    if shape is Any:
        return {}
    if isinstance(shape, dict):
        return shape
    if isinstance(shape, list):
        return {"type": "array", "items": schema_of(shape[0], components, prefix=prefix)}
    if shape in _BASIC:
        return {"type": _BASIC[shape]}
    if is_typeddict(shape):
        return _named(shape, components, prefix)
    origin, arguments = get_origin(shape), get_args(shape)
    if origin is Annotated:
        found = schema_of(arguments[0], components, prefix=prefix)
        for more in arguments[1:]:
            found = {**found, **more}
        return found
    if origin in (NotRequired, Required):
        return schema_of(arguments[0], components, prefix=prefix)
    if origin is Literal:
        return {"enum": list(arguments)}
    if origin is list:
        return {"type": "array", "items": schema_of(arguments[0], components, prefix=prefix)}
    if origin is dict:
        return {
            "type": "object",
            "additionalProperties": schema_of(arguments[1], components, prefix=prefix),
        }
    if origin in (Union, UnionType):
        return _any_of([schema_of(each, components, prefix=prefix) for each in arguments])
    raise TypeError(f"no schema for {shape!r}")


def _any_of(choices: list[Schema]) -> Schema:
    if len(choices) == 2 and choices[1] == {"type": "null"}:
        first = choices[0]
        if isinstance(first.get("type"), str):
            return {**first, "type": [first["type"], "null"]}
        if "enum" in first:
            return {"enum": [*first["enum"], None]}
    return {"anyOf": choices}


def _named(shape: Any, components: Components, prefix: str) -> Schema:
    name = shape.__name__.removesuffix("Shape")
    if components.shapes.setdefault(name, shape) is not shape:
        raise TypeError(f"two shapes are called {name}: {shape}, {components.shapes[name]}")
    if name not in components:
        # In place before its fields are looked at, which may refer to it.
        schema: Schema = {"type": "object"}
        components[name] = schema
        hints = get_type_hints(shape, include_extras=True)
        if shape.__doc__ and not shape.__doc__.startswith("dict("):
            schema["description"] = " ".join(shape.__doc__.split())
        schema["properties"] = {
            field: schema_of(hint, components, prefix=prefix) for field, hint in hints.items()
        }
        required = [field for field, hint in hints.items() if get_origin(hint) is not NotRequired]
        if required:
            schema["required"] = required
    return {"$ref": prefix + name}
