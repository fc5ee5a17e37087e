"""Facts about disks, the host's own id, and locks between processes."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import secrets
import shutil
import stat
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from apps.host import filesystems


def free_bytes(path: Path) -> int:
    """Bytes that this user may still write where `path`, or its nearest parent that exists, lies."""
    while True:
        try:
            found = os.statvfs(path)
        except FileNotFoundError:
            if path == path.parent:
                raise
            path = path.parent
        else:
            return found.f_bavail * found.f_frsize


def is_network_filesystem(path: Path) -> bool | None:
    """Whether several machines may share it (SQLite would be damaged there); None where unknown."""
    kind = filesystems.filesystem_type(path)
    return bool(filesystems.is_network_filesystem(path)) if kind else None


def known_host_id(data_dir: Path) -> str | None:
    """None where it wasn't made yet."""
    try:
        return (data_dir / "host_id").read_text().strip() or None
    except FileNotFoundError:
        return None


def host_id(data_dir: Path) -> str:
    """The id of the host that this data directory makes, such as `h5f0c9a1b2d3e4f56`.

    Made at the first call; of several processes that ask first at the same moment all get the same one.
    """
    path = data_dir / "host_id"
    if found := known_host_id(data_dir):
        return found
    data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = data_dir / f".host_id.{os.getpid()}.{secrets.token_hex(4)}"
    with draft.open("x") as file:
        file.write(f"h{secrets.token_hex(8)}\n")
        file.flush()
        os.fsync(file.fileno())
    try:
        # A link appears with its content or not at all, and never replaces another's.
        os.link(draft, path)
    except FileExistsError:
        if not path.read_text().strip():
            # Cut short by a power failure before drafts were used: nobody can have read an id here.
            draft.replace(path)
    except OSError as problem:
        if problem.errno not in (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS):
            raise
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
    return path.read_text().strip()


class Lock:
    """A held flock; it ends with `release` or with the process, never by passing to a child program."""

    def __init__(self, descriptor: int, path: Path) -> None:
        self.descriptor = descriptor
        self.path = path

    def release(self) -> None:
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1


def try_flock(path: Path) -> Lock | None:
    """Lock a file that is made if needed; None when somebody else (also another thread) holds it.

    The descriptor is close-on-exec. A fork inherits it and holds the lock as well until it closes it.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as problem:
        os.close(descriptor)
        if problem.errno in (errno.EWOULDBLOCK, errno.EACCES):
            return None
        raise
    return Lock(descriptor, path)


def is_locked(path: Path) -> bool:
    """Whether somebody holds the lock. Looks only: a file that isn't there is not made."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


@contextlib.contextmanager
def flock(path: Path, *, timeout: float) -> Iterator[None]:
    """Hold the lock for the block; TimeoutError after `timeout` seconds of waiting."""
    until = time.monotonic() + timeout
    pause = 0.002
    while (lock := try_flock(path)) is None:
        if time.monotonic() >= until:
            raise TimeoutError(f"{path.name} was locked for {timeout:g} s")
        time.sleep(pause)
        pause = min(pause * 1.5, 0.05)
    try:
        yield
    finally:
        lock.release()


def delete_tree(path: Path) -> None:
    """Delete a directory and what is in it; symbolic links go themselves, never what they lead to.

    Directories without write permission (some package caches are so) are opened up on the way.
    """
    if path.is_symlink() or not path.is_dir():
        path.unlink(missing_ok=True)
        return

    def open_up(function: Callable[..., object], name: str, problem: object) -> None:
        error = problem[1] if isinstance(problem, tuple) else problem
        if isinstance(error, FileNotFoundError):
            return
        parent = Path(name).parent
        for folder in (parent, Path(name)):
            if stat.S_ISDIR(folder.lstat().st_mode):
                folder.chmod(0o700)
        if function in (os.open, os.scandir, os.lstat):
            delete_tree(Path(name))
        else:
            function(name)

    if sys.version_info >= (3, 12):
        shutil.rmtree(path, onexc=open_up)
    else:
        shutil.rmtree(path, onerror=open_up)
