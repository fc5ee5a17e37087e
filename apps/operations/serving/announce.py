"""What a person reads in the terminal once the server answers."""

from __future__ import annotations

import contextlib
import sys
from urllib.parse import urlsplit

from django.conf import settings


def address() -> str:
    """The address to open in a browser."""
    if settings.PUBLIC_URL:
        return str(settings.PUBLIC_URL)
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(settings.HOST, settings.HOST)
    if ":" in host and not host.startswith("["):
        host = f"[{host}]"
    return f"http://{host}:{settings.PORT}"


def warnings() -> list[str]:
    """What makes this installation easy to get into."""
    found = []
    if settings.AUTH_FIXED_OFF:
        found.append(
            "authentication is off: every program on this machine, agents included, acts as the"
            " administrator"
        )
    database = settings.DATABASES["default"]
    tcp = database["ENGINE"].endswith("postgresql") and not database["HOST"].startswith("/")
    if tcp and database["HOST"] and not database["PASSWORD"]:
        found.append("the database is reached over TCP without a password; agents can reach it too")
    redis = urlsplit(settings.REDIS_URL)
    if redis.scheme != "unix" and not redis.password:
        found.append("Redis is reached over TCP without a password; agents can reach it too")
    return found


def setup_code() -> str | None:
    if settings.LOOPBACK:
        return None
    from apps.accounts import setup_code as code

    return code.current()


def ready() -> None:
    lines = [f"Kanban Agents is ready: {address()}"]
    if code := setup_code():
        lines.append(f"First visit: the setup asks for the code {code}")
    with contextlib.suppress(OSError):
        sys.stdout.write("\n".join(lines) + "\n")
        sys.stdout.flush()
    for warning in warnings():
        sys.stderr.write(f"kanban-agents: warning: {warning}\n")
