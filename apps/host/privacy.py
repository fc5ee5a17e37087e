"""What the server writes is for its own user alone; what it starts for people writes as they would.

Agents, scripts and git work in people's directories: they get the umask that the server was started with.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

_OTHERS = 0o077
# What Popen takes for: as it is.
_given = -1


def keep_private(data_dir: Path) -> None:
    """For the life of the process; and close to others what lies directly in the directory already.

    Whoever can't enter a directory reads nothing below it. Its own mode is whoever made it's business.
    """
    global _given
    given = os.umask(_OTHERS)
    if _given < 0:
        _given = given
    with contextlib.suppress(OSError):
        for path in data_dir.iterdir():
            with contextlib.suppress(OSError):
                mode = path.lstat().st_mode
                if mode & _OTHERS and (path.is_dir() or path.is_file()) and not path.is_symlink():
                    path.chmod(mode & 0o7777 & ~_OTHERS)


def peoples_umask() -> int:
    """What to give to Popen."""
    return _given


def with_peoples_umask(
    loop: asyncio.AbstractEventLoop, preexec_fn: Callable[[], None] | None
) -> dict[str, Any]:
    """The same for `create_subprocess_exec`; uvloop, which knows no umask, sets it between fork and exec."""
    if _given < 0:
        return {"preexec_fn": preexec_fn}
    if isinstance(loop, asyncio.BaseEventLoop):
        return {"preexec_fn": preexec_fn, "umask": _given}
    given = _given

    def both() -> None:
        os.umask(given)
        if preexec_fn is not None:
            preexec_fn()

    return {"preexec_fn": both}
