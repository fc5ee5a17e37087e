"""The server's own key: one secret, from which one key is derived for each use."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import os
import secrets
from pathlib import Path

SHORTEST = 32


class BadSecret(Exception):
    """The kept secret can't be used; the text is one line for the person who starts the server."""


def read_or_create(path: Path) -> str:
    """The secret kept at `path` (mode 600); made on first use.

    Two processes that start at once get the same one: the file is written aside and linked into
    place, and whoever comes second reads what the first one wrote.
    """
    with contextlib.suppress(FileNotFoundError):
        return _read(path)
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w") as file:
            # What agents say is held back where it may begin a secret: this one begins like no last letter.
            file.write("~" + secrets.token_urlsafe(48))
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):
            os.link(draft, path)
    finally:
        draft.unlink()
    return _read(path)


def kept(path: Path) -> str:
    """What lies there, usable or not; empty if nothing does."""
    try:
        return path.read_text().strip()
    except (OSError, UnicodeDecodeError):
        return ""


def _read(path: Path) -> str:
    """A file cut short (full disk, broken restore) must never do as a key that anybody can guess."""
    secret = path.read_text().strip()
    if len(secret) < SHORTEST:
        raise BadSecret(
            f"{path} holds no usable key (at least {SHORTEST} characters); put the right one back from a"
            " copy, or delete the file: everybody signs in anew then, and stored API keys are entered anew"
        )
    return secret


def derive(secret: str, purpose: str) -> bytes:
    """32 bytes for one purpose; knowing them tells nothing about those for another."""
    return hmac.new(secret.encode(), f"kanban-agents:{purpose}".encode(), hashlib.sha256).digest()
