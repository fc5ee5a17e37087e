"""Answers of 8 MB and limits of seconds: `python -m tests.realtime.downloads daphne <descriptor> <seconds>`.

`/streamed` comes in pieces, of which `/made` says how many there have been, `/late` after three times
as long as a connection may be idle; anything else comes whole.
"""

from __future__ import annotations

import os
import socket
import sys
import time
from collections.abc import Iterator
from typing import Any

from kanban_agents import servers

PIECE = b"x" * 256 * 1024
PIECES = 32
LIMIT = 10


class Pieces:
    streaming = True

    def __iter__(self) -> Iterator[bytes]:
        for _ in range(PIECES):
            made.append(1)
            yield PIECE

    def close(self) -> None:
        pass


made: list[int] = []


def wsgi(environ: dict[str, Any], start_response: Any) -> Any:
    if environ["PATH_INFO"] == "/made":
        start_response("200 OK", [])
        return [b"%d" % len(made)]
    if environ["PATH_INFO"] == "/late":
        time.sleep(3 * servers.IDLE_S)
        start_response("200 OK", [])
        return [b"late"]
    start_response("200 OK", [("Content-Length", str(PIECES * len(PIECE)))])
    return Pieces() if environ["PATH_INFO"] == "/streamed" else [PIECE] * PIECES


def main() -> None:
    kind, descriptor, idle_s = sys.argv[1:]
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "kanban_agents.settings")

    from apps.common import pools

    servers.IDLE_S = float(idle_s)
    pool = pools.ThreadPool(wsgi, threads=LIMIT, limit=LIMIT, downloads=32)
    servers.RUNNERS[kind](pool, socket.socket(fileno=int(descriptor)), None)


if __name__ == "__main__":
    main()
