"""Load on a server over kept-open connections: `wrk` where it is installed, else a generator of our own."""

from __future__ import annotations

import asyncio
import re
import shutil
import statistics
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass
class Load:
    """`times` are seconds, one of each request; empty when `wrk` made the load."""

    rate: float
    errors: int
    times: list[float] = field(default_factory=list)

    @property
    def p50_ms(self) -> float:
        return 1000 * statistics.median(self.times)


def request(
    method: str, path: str, *, token: str | None = None, body: bytes = b"", etag: str = ""
) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1"]
    if token:
        lines.append(f"Authorization: Bearer {token}")
    if etag:
        lines.append(f"If-None-Match: {etag}")
    if body:
        lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + body


def read(port: int, path: str, *, token: str | None, connections: int, seconds: float) -> Load:
    """Many times the same GET."""
    _own(port, lambda _number: request("GET", path, token=token), connections, 0.5)  # warm up
    if shutil.which("wrk"):
        return _wrk(port, path, token, connections, seconds)
    return _own(port, lambda _number: request("GET", path, token=token), connections, seconds)


def send(port: int, make: Callable[[int], bytes], *, connections: int, seconds: float) -> Load:
    """`make(connection)` gives the next request of that connection."""
    return _own(port, make, connections, seconds)


def _wrk(port: int, path: str, token: str | None, connections: int, seconds: float) -> Load:
    headers = ["-H", f"Authorization: Bearer {token}"] if token else []
    url = f"http://127.0.0.1:{port}{path}"
    said = subprocess.run(
        ["wrk", "-t1", f"-c{connections}", f"-d{seconds:.0f}s", "--timeout", "30s", *headers, url],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    found = re.search(r"Requests/sec:\s+([\d.]+)", said)
    assert found, said
    bad = re.search(r"Non-2xx or 3xx responses: (\d+)", said)
    lost = re.search(r"Socket errors: (.*)", said)
    errors = (int(bad[1]) if bad else 0) + (
        sum(int(n) for n in re.findall(r"\d+", lost[1])) if lost else 0
    )
    return Load(float(found[1]), errors)


class _Asker(asyncio.Protocol):
    """One request after the other on one connection, for as long as the deadline is away."""

    def __init__(self, make: Callable[[], bytes], deadline: float) -> None:
        self.make = make
        self.deadline = deadline
        self.data = b""
        self.began = 0.0
        self.times: list[float] = []
        self.errors = 0
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self._ask()

    def _ask(self) -> None:
        assert self.transport is not None
        self.began = time.perf_counter()
        if self.began > self.deadline:
            if not self.done.done():
                self.done.set_result(None)
            self.transport.close()
            return
        self.transport.write(self.make())

    def data_received(self, data: bytes) -> None:
        self.data += data
        head, gap, body = self.data.partition(b"\r\n\r\n")
        if not gap:
            return
        lower = head.lower()
        status = int(head[9:12])
        length = re.search(rb"content-length:\s*(\d+)", lower)
        if length:
            if len(body) < int(length[1]):
                return
        elif b"chunked" in lower:
            if not body.endswith(b"0\r\n\r\n"):
                return
        elif status not in (204, 304):
            return
        self.data = b""
        self.times.append(time.perf_counter() - self.began)
        self.errors += status >= 400
        self._ask()

    def connection_lost(self, error: Exception | None) -> None:
        if not self.done.done():
            self.errors += 1
            self.done.set_result(None)


def _own(port: int, make: Callable[[int], bytes], connections: int, seconds: float) -> Load:
    async def run() -> Load:
        loop = asyncio.get_running_loop()
        deadline = time.perf_counter() + seconds

        def asker(number: int) -> _Asker:
            return _Asker(lambda: make(number), deadline)

        began = time.perf_counter()
        askers = []
        for number in range(connections):
            _, protocol = await loop.create_connection(
                lambda number=number: asker(number), "127.0.0.1", port
            )
            askers.append(protocol)
        await asyncio.gather(*(each.done for each in askers))
        took = time.perf_counter() - began
        times = [each for asked in askers for each in asked.times]
        return Load(len(times) / took, sum(each.errors for each in askers), times)

    return asyncio.run(run())
