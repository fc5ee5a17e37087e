"""Answers that cannot have changed: kept as they went out, and sent again while the database stands still.

SQLite tells a connection that never writes whether anybody has committed since it last asked (`PRAGMA
data_version`, some 3 µs); PostgreSQL has its snapshot (`apps.common.postgresql.standing`). So a GET whose
view declares `from_database` is answered from memory until that version moves or its token expires. No
permission is written twice here: whatever could change the answer changes the version. It depends on the
request as well, so the key is the whole request, all headers included.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import sqlite3
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Lock
from typing import Any, TypeVar, cast
from urllib.parse import quote

from rest_framework.request import Request

from apps.common.pools import UNDER_WAY, Application, Message, Receive, Scope, Send

View = TypeVar("View", bound=Callable[..., Any])

LIMIT = 48_000_000
# Entries have a cost beside their bytes.
_OVERHEAD = 1_500

# Only ever compared: one that was read twice says that nobody has committed in between.
Version = tuple[int, int | bytes]
Key = tuple[str, bytes | str, bytes, tuple[tuple[bytes, bytes], ...]]


class DatabaseVersion:
    """Reads the number on a connection of its own, opened when first asked: after a fork. Thread-safe."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._lock = Lock()
        self._connection: sqlite3.Connection | None = None
        self._file: tuple[int, int] | None = None
        self._opened = 0

    def read(self) -> Version | None:
        """None when it can't be had, for which the caller does without."""
        with self._lock:
            try:
                found = os.stat(self._path)  # noqa: PTH116 - a Path costs as much as the rest
                # Put back from a backup it is another file, of which the open one knows nothing.
                if self._connection is None or self._file != (found.st_dev, found.st_ino):
                    self._open()
                    self._file = (found.st_dev, found.st_ino)
                assert self._connection is not None
                row = self._connection.execute("PRAGMA data_version").fetchone()
                return self._opened, row[0]
            except (OSError, sqlite3.Error):
                self._close()
                return None

    def _open(self) -> None:
        self._close()
        # The numbers of two connections say nothing about each other.
        self._opened += 1
        self._connection = sqlite3.connect(
            f"file:{quote(self._path)}?mode=ro",
            uri=True,
            timeout=0,
            isolation_level=None,
            check_same_thread=False,
        )

    def _close(self) -> None:
        if self._connection is not None:
            with contextlib.suppress(sqlite3.Error):
                self._connection.close()
        self._connection = None


@dataclass(slots=True)
class UnderWay:
    """A request on its way through Django, with the database's version as it stood when it came in."""

    version: Version
    keepable: bool = False
    passing: bool = False
    until: float | None = None
    since: float = field(default_factory=time.monotonic)


def from_database(view: View) -> View:
    """Declare that this GET changes nothing, and that its answer depends on nothing but request and database.

    Not on the time, files, git, other processes or what this one has in memory.
    """

    @functools.wraps(view)
    def declared(self: Any, request: Request, *args: Any, **kwargs: Any) -> Any:
        response = view(self, request, *args, **kwargs)
        under_way = request.META.get(UNDER_WAY)
        if under_way is not None:
            under_way.keepable = not under_way.passing
            under_way.until = getattr(request.auth, "kept_until", None)
        return response

    return cast(View, declared)


def passes(request: Request) -> None:
    """Exempt this one answer of such a view: something else went into it, such as the time."""
    under_way: UnderWay | None = request.META.get(UNDER_WAY)
    if under_way is not None:
        under_way.passing = True


def version_of(request: Request, within_s: float) -> Version | None:
    """The database as it stood when the request came in; None where that isn't known, or longer ago.

    A request comes in with its headers: its body may take as long as the client likes.
    """
    under_way: UnderWay | None = request.META.get(UNDER_WAY)
    if under_way is None or time.monotonic() - under_way.since > within_s:
        return None
    return under_way.version


@dataclass(frozen=True, slots=True)
class _Entry:
    version: Version
    until: float | None
    start: Message
    body: Message
    size: int

    def stands(self, version: Version) -> bool:
        return self.version == version and (self.until is None or time.time() < self.until)


@dataclass(frozen=True, slots=True)
class _Computing:
    version: Version
    loop: asyncio.AbstractEventLoop
    done: asyncio.Future[_Entry | None]


class KeptAnswers:
    """An ASGI application around another. The least used answers go first when the bytes get too many.

    When the number has moved, the first who asks for an answer that was kept before has it computed, and
    who asks meanwhile under the same number waits for it: nobody has committed since that began.
    """

    def __init__(
        self,
        application: Application,
        version: Callable[[], Version | asyncio.Future[Version | None] | None],
        *,
        limit: int = LIMIT,
    ) -> None:
        self._application = application
        self._version = version
        self._limit = limit
        self._used = 0
        self._lock = Lock()
        self._entries: OrderedDict[Key, _Entry] = OrderedDict()
        self._computing: dict[Key, _Computing] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        version = self._version() if scope["type"] == "http" else None
        if asyncio.isfuture(version):
            version = await version
        if version is None:
            await self._application(scope, receive, send)
            return
        method = scope["method"]
        if method not in ("GET", "HEAD"):
            scope[UNDER_WAY] = UnderWay(version)
            await self._application(scope, receive, send)
            return
        key: Key = (
            method,
            scope.get("raw_path") or scope["path"],
            scope["query_string"],
            tuple(scope["headers"]),
        )
        with self._lock:
            entry = self._entries.get(key)
            if entry is not None:
                self._entries.move_to_end(key)
        if entry is not None:
            if not entry.stands(version):
                entry = await self._computed(key, version)
            if entry is not None and entry.stands(version):
                await send(entry.start)
                await send(entry.body)
                return
        await self._compute(key, version, scope, receive, send)

    async def _computed(self, key: Key, version: Version) -> _Entry | None:
        """What somebody else is getting just now, if that began under the same number."""
        computing = self._computing.get(key)
        if (
            computing is None
            or computing.version != version
            or computing.loop is not asyncio.get_running_loop()
        ):
            return None
        return await asyncio.shield(computing.done)

    async def _compute(
        self, key: Key, version: Version, scope: Scope, receive: Receive, send: Send
    ) -> None:
        under_way = scope[UNDER_WAY] = UnderWay(version)
        loop = asyncio.get_running_loop()
        computing = _Computing(version, loop, loop.create_future())
        self._computing[key] = computing
        sent: list[Message] = []

        async def noted(message: Message) -> None:
            if len(sent) < 3:
                sent.append(message)
                if under_way.keepable and len(sent) == 2:
                    self._keep(key, under_way, sent, computing.done)
            await send(message)

        try:
            await self._application(scope, receive, noted)
        finally:
            if self._computing.get(key) is computing:
                del self._computing[key]
            if not computing.done.done():
                computing.done.set_result(None)

    def _keep(
        self, key: Key, under_way: UnderWay, sent: list[Message], done: asyncio.Future[Any]
    ) -> None:
        start, body = sent
        if start["status"] not in (200, 304) or body.get("more_body"):
            return
        _, path, query, headers = key
        # Such a request has a body, which would have to be read.
        if any(name in (b"content-length", b"transfer-encoding") for name, _ in headers):
            return
        size = len(body.get("body", b"")) + len(path) + len(query) + _OVERHEAD
        size += sum(len(name) + len(value) for name, value in headers)
        entry = _Entry(under_way.version, under_way.until, start, body, size)
        if not done.done():
            done.set_result(entry)
        if size > self._limit:
            return
        with self._lock:
            old = self._entries.pop(key, None)
            self._used += size - (old.size if old is not None else 0)
            self._entries[key] = entry
            while self._used > self._limit:
                _, gone = self._entries.popitem(last=False)
                self._used -= gone.size
