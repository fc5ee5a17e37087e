"""Who works in a directory that runs share: said on disk, for a run may outlive its row.

A deleted card takes its session along, and what was counted of it, while the agent still ends.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

from apps.host.disk import is_locked
from apps.host.sweeping import A_NAME
from apps.runs.leases import locks


class Occupied(Exception):
    """Another run is there, of a worker that lives."""


@contextlib.contextmanager
def occupied(data_dir: Path, directory: Path, worker_id: str) -> Iterator[None]:
    """Have the directory for the block. What a dead worker's run has left there is for the caller to sweep.

    Not a lock of its own: a frozen worker would keep that after others have taken its runs over. Of two that
    ask at once one is refused already by the other's row.
    """
    folder = data_dir / "locks"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    name = hashlib.sha256(os.fsencode(directory.resolve())).hexdigest()
    note = folder / f"place-{name[:32]}"
    holder = _holder(note)
    if holder and is_locked(locks(data_dir) / holder):
        raise Occupied(directory)
    note.write_text(worker_id)
    try:
        yield
    finally:
        if _holder(note) == worker_id:
            note.unlink(missing_ok=True)


def _holder(note: Path) -> str:
    try:
        name = note.read_bytes().decode(errors="replace")
    except FileNotFoundError:
        return ""
    # Cut short or filled with zeros by a power failure, which nobody's processes have outlived.
    return name if A_NAME.fullmatch(name) else ""
