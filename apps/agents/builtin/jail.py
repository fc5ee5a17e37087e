"""Files below one directory, and only those, whatever the path or the links in it say."""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path


class OutsideError(Exception):
    """The path leads out of the directory. The message is meant for the model."""


class NotAFileError(Exception):
    """The path is no regular file, or too big to be read whole."""


_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Jail:
    """Opens what lies below `root`. Links inside are followed as long as they stay inside.

    A path is first resolved with all its links, then opened component by component with
    O_NOFOLLOW: something that swaps a directory for a link in between makes the call fail instead
    of leading it out.
    """

    def __init__(self, root: str | Path) -> None:
        self.root = Path(os.path.realpath(root))

    def resolve(self, path: str) -> Path:
        """The real path that `path` (absolute, or relative to the root) stands for; it may not exist."""
        if "\0" in path:
            raise OutsideError("The path contains a NUL character. Give a plain path.")
        real = Path(os.path.realpath(self.root / (path or ".")))
        if not real.is_relative_to(self.root):
            raise OutsideError(
                f"{path} is outside the working directory {self.root}. "
                "Only files inside it can be used; give a path relative to it."
            )
        return real

    def shown(self, real: Path) -> str:
        """`real` as it reads best: relative to the root."""
        return real.relative_to(self.root).as_posix()

    @contextlib.contextmanager
    def _directory(self, real: Path, *, create: bool) -> Iterator[int]:
        descriptor = os.open(self.root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            for part in real.relative_to(self.root).parts:
                if create:
                    with contextlib.suppress(FileExistsError):
                        os.mkdir(part, dir_fd=descriptor)
                below = os.open(part, _DIRECTORY, dir_fd=descriptor)
                os.close(descriptor)
                descriptor = below
            yield descriptor
        finally:
            os.close(descriptor)

    def read(self, path: str, *, limit: int) -> bytes:
        """The whole file, at most `limit` bytes.

        Raises OutsideError, NotAFileError (also for a file beyond the limit) or OSError.
        """
        real = self.resolve(path)
        if real == self.root:
            raise NotAFileError("That is the working directory itself; use list_files.")
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        with self._directory(real.parent, create=False) as directory:
            descriptor = os.open(real.name, flags, dir_fd=directory)
        with contextlib.ExitStack() as stack:
            stack.callback(os.close, descriptor)
            found = os.fstat(descriptor)
            if stat.S_ISDIR(found.st_mode):
                raise NotAFileError(f"{path} is a directory; use list_files.")
            if not stat.S_ISREG(found.st_mode):
                raise NotAFileError(f"{path} is not a regular file.")
            with os.fdopen(descriptor, "rb", closefd=False) as file:
                content = file.read(limit + 1)
        if len(content) > limit:
            raise NotAFileError(
                f"{path} is larger than {limit // 1_000_000} MB. Look at parts of it with run_command."
            )
        return content

    def write(self, path: str, content: bytes) -> None:
        """Replace or create the file in one step, with its directories; its permissions stay.

        Raises OutsideError, NotAFileError or OSError. A reader never sees half a file.
        """
        real = self.resolve(path)
        if real == self.root:
            raise NotAFileError("That is the working directory itself. Give the path of a file.")
        temporary = f".{real.name[:100]}.{secrets.token_hex(4)}.tmp"
        with self._directory(real.parent, create=True) as directory:
            mode = None
            with contextlib.suppress(FileNotFoundError):
                found = os.stat(real.name, dir_fd=directory, follow_symlinks=False)
                if not stat.S_ISREG(found.st_mode):
                    raise NotAFileError(f"{path} exists and is not a regular file.")
                mode = stat.S_IMODE(found.st_mode)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            descriptor = os.open(temporary, flags, 0o666, dir_fd=directory)
            try:
                with os.fdopen(descriptor, "wb") as file:
                    file.write(content)
                    if mode is not None:
                        os.fchmod(descriptor, mode)
                os.replace(temporary, real.name, src_dir_fd=directory, dst_dir_fd=directory)
            except BaseException:
                with contextlib.suppress(OSError):
                    os.unlink(temporary, dir_fd=directory)
                raise
