"""A bare ASGI answer on the server that serves the product.

`python -m tests.bench.bare <server> <bytes>` prints its port and ends with its standard input.
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

from tests.process.server import ROOT


@contextlib.contextmanager
def bare(server: str, size: int) -> Iterator[int]:
    """The port of a process that answers everything with that many bytes."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.bench.bare", server, str(size)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        yield int(process.stdout.readline())
    finally:
        process.kill()
        process.communicate()


def _application(size: int) -> Any:
    content = b"x" * size
    start = {
        "type": "http.response.start",
        "status": 200,
        "headers": [(b"content-type", b"text/plain"), (b"content-length", str(size).encode())],
    }

    async def application(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send(start)
        await send({"type": "http.response.body", "body": content})

    return application


def main(server: str, size: int) -> None:
    from kanban_agents.servers import RUNNERS, tune

    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", 0))
    listener.listen(2048)
    print(listener.getsockname()[1], flush=True)

    def end_with_parent() -> None:
        sys.stdin.read()
        os._exit(0)

    threading.Thread(target=end_with_parent, daemon=True).start()
    tune(web=True)
    RUNNERS[server](_application(size), listener, None)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
