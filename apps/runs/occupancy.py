"""Who works in a directory that runs share: said on disk, for a run may outlive its row.

A deleted card takes its session along, and what was counted of it, while the agent still ends.
"""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path

from apps.common.ids import PREFIXES
from apps.host.disk import is_locked
from apps.host.sweeping import A_NAME
from apps.runs.kinds import Claim
from apps.runs.leases import locks

# Worker, host, kind, run and fence of a claim.
_NOTE = re.compile(
    rf"({A_NAME.pattern}) ({A_NAME.pattern}) ({'|'.join(PREFIXES)}) ([0-9]{{1,18}}) ([0-9]{{1,18}})"
)


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

    def left_by(self) -> Claim | None:
        """The dead worker's run that may have left something there.

        Nothing is left of its earlier attempts: each was looked for before the next one took the place.
        """
        holder = self._holder()
        if holder and is_locked(self._workers / holder.worker_id):
            raise Occupied(self._note.name)
        return holder

    def take(self, claim: Claim, *, swept: Claim | None) -> None:
        """Have it from now on, when nothing is left of the one that `left_by` named."""
        if self.left_by() != swept:
            raise Occupied(self._note.name)
        words = (claim.worker_id, claim.host_id, claim.kind, claim.run_id, claim.fence)
        self._note.write_text(" ".join(map(str, words)))

    def leave(self, claim: Claim) -> None:
        """Nothing happens where others have it by now."""
        if self._holder() == claim:
            self._note.unlink(missing_ok=True)

    def _holder(self) -> Claim | None:
        try:
            text = self._note.read_bytes().decode(errors="replace")
        except FileNotFoundError:
            return None
        found = _NOTE.fullmatch(text)
        if found is None:
            # Cut short or filled with zeros by a power failure, which nobody's processes have outlived.
            return None
        worker_id, host_id, kind, run_id, fence = found.groups()
        return Claim(kind, int(run_id), int(fence), host_id, worker_id)
