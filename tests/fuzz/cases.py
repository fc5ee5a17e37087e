"""What is asked: of every operation of the document requests that fit it and such that don't."""

from __future__ import annotations

import os
from typing import Any

import schemathesis
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode

from apps.operations.openapi import generator
from tests.contract.world import World

EXAMPLES = int(os.environ.get("KANBAN_TEST_EXAMPLES", "0"))
SCHEMA = schemathesis.openapi.from_dict(generator.document())
OPERATIONS = [found.ok() for found in SCHEMA.get_all_operations()]

AS_MANY = settings(
    max_examples=EXAMPLES or 6,
    derandomize=not EXAMPLES,
    database=None,
    deadline=None,
    phases=[Phase.generate, Phase.shrink] if EXAMPLES else [Phase.generate],
    suppress_health_check=list(HealthCheck),
)
CALLERS = st.sampled_from(["alice", "alice", "alice", "root", "bot", "nobody"])
REAL = st.sampled_from([True, True, True, False])


def cases_of(operation: Any) -> st.SearchStrategy[Any]:
    return st.one_of(
        operation.as_strategy(generation_mode=GenerationMode.POSITIVE),
        operation.as_strategy(generation_mode=GenerationMode.POSITIVE),
        operation.as_strategy(generation_mode=GenerationMode.NEGATIVE),
    )


def name_what_is_there(case: Any, world: World) -> None:
    for name in case.path_parameters or {}:
        case.path_parameters[name] = str(world.ids[name])
    if isinstance(case.body, dict):
        case.body = _known_ids(case.body, world)


def _known_ids(value: Any, world: World) -> Any:
    """The same with ids of what there is, where it has some of their names."""
    if isinstance(value, dict):
        return {
            name: world.ids[name] if name in world.ids else _known_ids(inner, world)
            for name, inner in value.items()
        }
    return value
