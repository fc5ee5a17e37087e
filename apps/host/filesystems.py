"""Which kind of file system a path lies on."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

_NETWORK = frozenset(
    (
        "9p",
        "afp",
        "afpfs",
        "afs",
        "beegfs",
        "ceph",
        "cifs",
        "coda",
        "davfs",
        "fuse.ceph",
        "fuse.glusterfs",
        "fuse.s3fs",
        "fuse.sshfs",
        "gfs2",
        "glusterfs",
        "gpfs",
        "lustre",
        "ncpfs",
        "nfs",
        "nfs4",
        "ocfs2",
        "orangefs",
        "smb2",
        "smb3",
        "smbfs",
        "webdav",
    )
)


def _mounts() -> list[tuple[str, str]]:
    """Mount points and their types, in the order in which they were mounted."""
    if sys.platform.startswith("linux"):
        found = []
        for line in Path("/proc/self/mountinfo").read_text().splitlines():
            before, _, after = line.partition(" - ")
            point = before.split(" ")[4].encode().decode("unicode_escape")
            found.append((point, after.split(" ")[0]))
        return found
    output = subprocess.run(["/sbin/mount"], capture_output=True, text=True, check=False).stdout
    found = []
    for line in output.splitlines():
        where, _, options = line.partition(" on ")[2].rpartition(" (")
        found.append((where, options.split(",")[0].rstrip(")")))
    return found


def filesystem_type(path: Path) -> str:
    """The type of the file system that `path`, or the nearest parent that exists, lies on; "" if unknown."""
    # Path.exists raises where a folder above may not be entered, before Python 3.14.
    while not os.path.exists(path) and path != path.parent:  # noqa: PTH110
        path = path.parent
    real = os.path.realpath(path)
    best, kind = "", ""
    try:
        mounts = _mounts()
    except (OSError, IndexError):
        return ""
    for point, found in mounts:
        inside = real == point or real.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= len(best):
            best, kind = point, found
    return kind


def is_network_filesystem(path: Path) -> str:
    """The type if it is one that several machines share, else ""."""
    kind = filesystem_type(path)
    return kind if kind in _NETWORK else ""
