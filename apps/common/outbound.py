"""Requests to the world outside: the one way by which the server itself asks another.

An address that somebody typed may lead anywhere. So the name is resolved once, and what it stands for is
looked at before it is connected to; redirects are not followed, since what was sent would go along; and a
request ends in time, however slowly the other side speaks and however much it says.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import socket
import ssl
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from queue import Empty, SimpleQueue
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit
from urllib.request import getproxies_environment, proxy_bypass

MOST_BYTES = 2_000_000
# Behind a proxy many names can't be resolved, and then each waits for it in vain.
LOOK_BEFORE_PROXY_S = 2.0

Address = IPv4Address | IPv6Address

# Clouds hand out a machine's own credentials there, beside the link-local address that all have in common.
_METADATA = frozenset(
    map(
        ip_address,
        ("100.100.100.200", "168.63.129.16", "192.0.0.192", "fd00:ec2::254", "fd20:ce::254"),
    )
)
_NAT64 = ip_network("64:ff9b::/96")


class Unreachable(Exception):
    """No answer came, or none that can be used; the text is a sentence about the server that was asked."""


@dataclass(frozen=True)
class Answer:
    status: int
    body: bytes = field(repr=False)


class Deadline:
    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._end = time.monotonic() + seconds

    def left(self) -> float:
        """Seconds, more than none; raises Unreachable when there are none."""
        left = self._end - time.monotonic()
        if left <= 0:
            raise self.missed()
        return left

    def missed(self) -> Unreachable:
        return Unreachable(f"did not answer within {self._seconds:g} seconds")


def ask(
    method: str,
    url: str,
    *,
    headers: Mapping[str, str],
    deadline: Deadline,
    body: bytes | None = None,
) -> Answer:
    """The answer, whatever its status. Raises Unreachable."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    secure = parts.scheme == "https"
    # Without a port it would take the end of an IPv6 address for one.
    port = parts.port or (443 if secure else 80)
    make = http.client.HTTPSConnection if secure else http.client.HTTPConnection
    connection = make(host, port)
    proxy = _proxy_for(parts)
    if proxy:
        _look_before_proxy(host, port, deadline)
    sock = _connect(*(_place(proxy) if proxy else (host, port)), deadline)
    cut = _Cut(sock, deadline)
    try:
        target = _target(parts)
        if proxy and secure:
            _open_tunnel(sock, proxy, f"{_bracketed(host)}:{port}")
        elif proxy:
            target = f"http://{parts.netloc}{target}"
            headers = {**headers, **_proxy_headers(proxy)}
        if secure:
            cut.sock = sock = _encrypted(sock, host)
            sock.do_handshake()
        connection.sock = sock
        connection.request(method, target, body, {"Connection": "close", **headers})
        response = connection.getresponse()
        content = response.read(MOST_BYTES + 1)
    except ssl.SSLCertVerificationError as problem:
        raise Unreachable(
            f"has no certificate that can be trusted: {problem.verify_message}"
        ) from None
    except (OSError, http.client.HTTPException, ValueError) as problem:
        deadline.left()
        raise Unreachable(f"does not speak HTTP as it should: {_words(problem)}") from None
    finally:
        cut.off()
        connection.close()
        sock.close()
    deadline.left()
    if len(content) > MOST_BYTES:
        raise Unreachable(f"answered with more than {MOST_BYTES // 1_000_000} MB")
    return Answer(response.status, content)


def refused(address: Address) -> bool:
    """Whether nobody may have the server ask there: nothing but machines' own metadata would answer.

    Private and loopback addresses are allowed: that is where people's own model servers are.
    """
    if isinstance(address, IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour
        if inner is None and address in _NAT64:
            inner = IPv4Address(int(address) & 0xFFFF_FFFF)
        if inner is not None:
            return refused(inner)
    return address.is_link_local or address.is_multicast or address in _METADATA


def _connect(host: str, port: int, deadline: Deadline) -> socket.socket:
    """To an address that was looked at, so that a name can't stand for another one a moment later."""
    addresses = _resolve(host, port, deadline)
    _refuse(addresses)
    problem: OSError | None = None
    for address in addresses:
        try:
            return socket.create_connection((address, port), deadline.left())
        except TimeoutError:
            deadline.left()
        except OSError as error:
            problem = error
    raise Unreachable(f"can't be reached: {_words(problem)}")


def _look_before_proxy(host: str, port: int, deadline: Deadline) -> None:
    """A proxy has to go by the name, so what that stands for is only known as far as it is here.

    A name that isn't resolved here is left to the proxy.
    """
    name = unquote(host).rstrip(".")
    try:
        addresses = _resolve(name, port, Deadline(min(LOOK_BEFORE_PROXY_S, deadline.left())))
    except Unreachable:
        deadline.left()
    else:
        _refuse(addresses)


def _refuse(addresses: list[str]) -> None:
    if any(refused(ip_address(address.partition("%")[0])) for address in addresses):
        raise Unreachable("has an address that this server does not ask")


def _resolve(host: str, port: int, deadline: Deadline) -> list[str]:
    """In a thread of its own: the system's resolver takes as long as it likes."""
    found: SimpleQueue[list[str] | OSError | ValueError] = SimpleQueue()

    def look() -> None:
        try:
            infos = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, ValueError) as problem:
            found.put(problem)
        else:
            found.put(list(dict.fromkeys(str(info[4][0]) for info in infos)))

    threading.Thread(target=look, daemon=True).start()
    try:
        addresses = found.get(timeout=deadline.left())
    except Empty:
        raise deadline.missed() from None
    if isinstance(addresses, Exception) or not addresses:
        raise Unreachable(f"has a name that stands for no address: {host}")
    return addresses


def _encrypted(sock: socket.socket, host: str) -> ssl.SSLSocket:
    """Before the handshake, which can take long too; `sock` itself is worth nothing any more."""
    context = ssl.create_default_context()
    return context.wrap_socket(sock, server_hostname=host, do_handshake_on_connect=False)


class _Cut:
    """Ends the connection at the deadline: a time-out of a socket begins anew with every byte.

    Whoever reads or writes there then gets an error.
    """

    def __init__(self, sock: socket.socket, deadline: Deadline) -> None:
        self.sock = sock
        self._timer = threading.Timer(deadline.left(), self._now)
        self._timer.daemon = True
        self._timer.start()

    def off(self) -> None:
        self._timer.cancel()

    def _now(self) -> None:
        with contextlib.suppress(OSError):
            # Of the plain socket: that of an encrypted one first changes what a reader is using.
            socket.socket.shutdown(self.sock, socket.SHUT_RDWR)


def _proxy_for(parts: SplitResult) -> SplitResult | None:
    """The operator's own, from the usual variables, which agents are given too."""
    proxies = getproxies_environment()
    url = proxies.get(parts.scheme) or proxies.get("all")
    if not url or proxy_bypass(parts.hostname or ""):
        return None
    proxy = urlsplit(url if "://" in url else f"http://{url}")
    if proxy.scheme != "http":
        raise Unreachable(f"stands behind a proxy of a kind that isn't supported: {proxy.scheme}")
    return proxy


def _place(proxy: SplitResult) -> tuple[str, int]:
    return proxy.hostname or "", proxy.port or 80


def _proxy_headers(proxy: SplitResult) -> dict[str, str]:
    if proxy.username is None:
        return {}
    who = f"{unquote(proxy.username)}:{unquote(proxy.password or '')}"
    return {"Proxy-Authorization": f"Basic {base64.b64encode(who.encode()).decode()}"}


def _open_tunnel(sock: socket.socket, proxy: SplitResult, target: str) -> None:
    lines = [f"CONNECT {target} HTTP/1.1", f"Host: {target}"]
    lines += [f"{name}: {value}" for name, value in _proxy_headers(proxy).items()]
    sock.sendall("\r\n".join([*lines, "", ""]).encode())
    response = http.client.HTTPResponse(sock, method="CONNECT")
    response.begin()
    if response.status != 200:
        raise Unreachable(f"stands behind a proxy that refused ({response.status})")


def _target(parts: SplitResult) -> str:
    return (parts.path or "/") + (f"?{parts.query}" if parts.query else "")


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _words(problem: Any) -> str:
    return str(getattr(problem, "strerror", None) or problem or type(problem).__name__)[:200]
