"""What the apps' `schema` modules say, all together; imported when somebody asks, not before."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import Any

from django.apps import apps

from apps.common.described import Operation


@dataclass(frozen=True)
class Told:
    """One operation, and under which heading it stands."""

    tag: str
    operation: Operation


def _modules() -> Iterator[ModuleType]:
    for config in apps.get_app_configs():
        name = f"{config.name}.schema"
        if config.name.startswith("apps.") and find_spec(name) is not None:
            yield import_module(name)


@cache
def operations() -> dict[tuple[type, str], Told]:
    return {
        (view, action): Told(module.TAG, operation)
        for module in _modules()
        for view, actions in getattr(module, "OPERATIONS", {}).items()
        for action, operation in actions.items()
    }


def tags() -> list[str]:
    return list(dict.fromkeys(told.tag for told in operations().values()))


@cache
def events() -> dict[str, Any]:
    """Type → shape of the data, of what is stored."""
    return _merged("EVENTS")


@cache
def frames() -> dict[str, Any]:
    """The same of what only goes over the socket."""
    return _merged("FRAMES")


@cache
def requests() -> dict[str, Any]:
    """Type → schema of the payload, of what clients send."""
    return _merged("REQUESTS")


def _merged(name: str) -> dict[str, Any]:
    return {
        kind: shape for module in _modules() for kind, shape in getattr(module, name, {}).items()
    }
