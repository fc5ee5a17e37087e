"""Imports the protocol library at half its price; whoever uses it imports this first.

Its some 300 models ask pydantic to read their own source for descriptions of their fields, which nobody here
looks at, and to build validators that mostly are never used: half of the 1.1 s of CPU at each start of our
agent, and at a worker's first. Both are put off while it is imported, by names that pydantic keeps to itself;
where a version lacks them, the import costs what it costs.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any


@contextlib.contextmanager
def _models_made_lean() -> Iterator[None]:
    from pydantic._internal import _config, _fields

    defaults: Any = getattr(_config, "config_defaults", None)
    name = "extract_docstrings_from_cls"
    read_source = getattr(_fields, name, None)
    if not isinstance(defaults, dict) or "defer_build" not in defaults or read_source is None:
        yield
        return
    before = defaults["defer_build"]
    defaults["defer_build"] = True
    setattr(_fields, name, lambda *_args, **_options: {})
    try:
        yield
    finally:
        defaults["defer_build"] = before
        setattr(_fields, name, read_source)


with contextlib.ExitStack() as _stack:
    with contextlib.suppress(ImportError):
        _stack.enter_context(_models_made_lean())
    import acp.schema  # noqa: F401
