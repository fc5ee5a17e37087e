"""The table of endpoints, the routes that there are, and what shape an answer has."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from django.urls import URLPattern, URLResolver, get_resolver
from django.urls.resolvers import RoutePattern

from tests.client import Form

_METHODS = ("get", "post", "put", "patch", "delete")


@dataclass(frozen=True)
class Endpoint:
    """See endpoints.yaml."""

    id: str
    route: str
    who: str
    status: int
    tokens: str = ""
    etag: bool | None = None
    query: list[str] = field(default_factory=list)
    asks: str = ""
    body: dict[str, Any] = field(default_factory=dict)
    required: list[str] = field(default_factory=list)
    send: Any = None
    answer: Any = None

    @property
    def method(self) -> str:
        return self.route.partition(" ")[0]

    @property
    def path(self) -> str:
        return self.route.partition(" ")[2]

    @property
    def key(self) -> tuple[str, str]:
        """Method and path, whatever its ids are called."""
        return self.method, re.sub(r"\{\w+\}", "{}", self.path)

    @property
    def takes_file(self) -> bool:
        return "file" in self.body.values()

    @property
    def reached_by(self) -> str:
        return self.tokens or ("all" if self.who.startswith("project") else "none")

    @property
    def honours_etag(self) -> bool:
        return self.method == "GET" if self.etag is None else self.etag

    def address(self, ids: dict[str, Any]) -> str:
        names = re.findall(r"\{(\w+)\}", self.path)
        missing = set(names) - ids.keys()
        assert not missing, f"{self.id}: say in tests/contract/world.py what stands for {missing}"
        query = f"?{self.asks}" if self.asks else ""
        return f"{self.path}{query}".format_map(ids)

    def request(self, ids: dict[str, Any]) -> Any:
        """The body that succeeds, or an empty one."""
        if self.takes_file:
            fields = dict(_filled(self.send, ids))
            return Form.with_file(fields.pop("file"), **fields)
        return _filled(self.send, ids) if self.send is not None else {}


def _filled(value: Any, ids: dict[str, Any]) -> Any:
    if isinstance(value, str):
        return value.format_map(ids)
    if isinstance(value, list):
        return [_filled(each, ids) for each in value]
    if isinstance(value, dict):
        return {_filled(name, ids): _filled(each, ids) for name, each in value.items()}
    return value


@dataclass(frozen=True)
class Route:
    """One method of one address of the URLconf."""

    method: str
    path: str
    view: Any
    action: str | None

    @property
    def key(self) -> tuple[str, str]:
        return self.method, re.sub(r"<[^>]+>", "{}", self.path)


def _patterns(prefix: str, entries: list[Any]) -> Iterator[tuple[str, URLPattern]]:
    for entry in entries:
        # The catch-alls are regular expressions; they answer what has no route.
        if not isinstance(entry.pattern, RoutePattern):
            continue
        route = prefix + str(entry.pattern)
        if isinstance(entry, URLResolver):
            yield from _patterns(route, entry.url_patterns)
        else:
            yield route, entry


def _routes() -> Iterator[Route]:
    for path, pattern in _patterns("/", get_resolver().url_patterns):
        callback: Any = pattern.callback
        view = getattr(callback, "cls", None) or getattr(callback, "view_class", None)
        actions = getattr(callback, "actions", None)
        if actions is not None:
            handlers = {method: str(action) for method, action in actions.items()}
        else:
            handlers = {each: "" for each in _METHODS if view is None or hasattr(view, each)}
        for method, action in handlers.items():
            if method in _METHODS:
                yield Route(method.upper(), path, view, action or None)


@cache
def routes() -> list[Route]:
    return [route for route in _routes() if route.path.startswith("/api/")]


@cache
def endpoints() -> list[Endpoint]:
    table = yaml.safe_load(Path(__file__).with_name("endpoints.yaml").read_text())
    return [Endpoint(id=name, **fields) for name, fields in table.items()]


@cache
def routed() -> list[Endpoint]:
    """Those of the table that there are."""
    there = {route.key for route in routes()}
    return [each for each in endpoints() if each.key in there]


_TYPES: dict[str, type | tuple[type, ...]] = {"text": str, "number": (int, float), "flag": bool}


def differences(shape: Any, value: Any, path: str = "data") -> list[str]:
    """Where the value lacks what the shape has, or has something else there."""
    if shape == "any":
        return []
    if isinstance(shape, str):
        fits = isinstance(value, _TYPES[shape]) and (shape == "flag" or not isinstance(value, bool))
        return [] if fits else [f"{path}: {value!r} is no {shape}"]
    if isinstance(shape, list):
        if not isinstance(value, list):
            return [f"{path}: {value!r} is no list"]
        return differences(shape[0], value[0], f"{path}[0]") if shape and value else []
    if not isinstance(value, dict):
        return [f"{path}: {value!r} is no object"]
    found = [f"{path}.{name} is missing" for name in shape.keys() - value.keys()]
    for name in shape.keys() & value.keys():
        found += differences(shape[name], value[name], f"{path}.{name}")
    return found
