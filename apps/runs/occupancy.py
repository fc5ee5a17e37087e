"""Who works in a directory that runs share: said on disk, for a run may outlive its row.

A deleted card takes its session along, and what was counted of it, while the agent still ends.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from apps.host.disk import is_locked
from apps.host.sweeping import A_NAME
from apps.runs.leases import locks


class Occupied(Exception):
    """Another run is there, of a worker that lives, or came while the place was looked at."""


class Place:
    """A directory's note.

    Not a lock of its own: a frozen worker would keep that after others have taken its runs over. Of two that
    ask at once one is refused already by the other's row.
    """

    def __init__(self, data_dir: Path, directory: Path) -> None:
        folder = data_dir / "locks"
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        name = hashlib.sha256(os.fsencode(directory.resolve())).hexdigest()
        self._note = folder / f"place-{name[:32]}"
        self._workers = locks(data_dir)

    def left_by(self) -> str:
        """The dead worker whose run may have left something there, "" where there is none."""
        holder = self._holder()
        if holder and is_locked(self._workers / holder):
            raise Occupied(self._note.name)
        return holder

    def take(self, worker_id: str, *, swept: str) -> None:
        """Have it from now on, when nothing is left of the one that `left_by` named."""
        if self.left_by() != swept:
            raise Occupied(self._note.name)
        self._note.write_text(worker_id)

    def leave(self, worker_id: str) -> None:
        """Nothing happens where others have it by now."""
        if self._holder() == worker_id:
            self._note.unlink(missing_ok=True)

    def _holder(self) -> str:
        try:
            name = self._note.read_bytes().decode(errors="replace")
        except FileNotFoundError:
            return ""
        # Cut short or filled with zeros by a power failure, which nobody's processes have outlived.
        return name if A_NAME.fullmatch(name) else ""
