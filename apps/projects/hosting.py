"""What went wrong on the host, said to whoever asked over HTTP."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from apps.common.errors import Conflict
from apps.host.errors import HostError


@contextmanager
def told() -> Iterator[None]:
    """A repository or directory that can't be read is a conflict with what is there, not our failure."""
    try:
        yield
    except HostError as error:
        raise Conflict(error.message, code=error.code) from error
