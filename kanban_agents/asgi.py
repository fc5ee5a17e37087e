"""The ASGI application: kept answers, the edge, behind it Django in two thread pools, and the socket."""

from __future__ import annotations

import os
import re
from typing import Any, cast

from kanban_agents.servers import UPLOADS

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "kanban_agents.settings")

# Git, providers, many cards at once: what may take over a second must not hold up what takes a millisecond.
# Directories may be large, or lie on a network's disk that doesn't answer.
_SLOW = re.compile(
    r"^/api/(?:filesystem|.*/(?:diff|files|summary|verify|merge|push|pull-request|sync|export|backups?"
    r"|clean-all|bulk|oauth/callback))(?:/|$)"
)
# What the repository says of the project's settings is read from git.
_SETTINGS = re.compile(r"^/api/projects/[^/]+/settings(?:/|$)")
# Asks git what the directory is.
_PROJECTS = re.compile(r"^/api/projects/?$")
# A card asks git whether something would be lost, or the host that has the worktree. A board or a project
# takes all that its agents have ever said with it.
_DELETES_MUCH = re.compile(r"^/api/projects/[^/]+(?:/(?:cards|boards)/[^/]+)?/?$")


def is_slow(method: str, path: str) -> bool:
    if method == "DELETE":
        return bool(_SLOW.match(path) or _DELETES_MUCH.match(path))
    if _SLOW.match(path) or _SETTINGS.match(path):
        return True
    if method != "POST":
        return False
    return bool(_PROJECTS.match(path)) or any(pattern.match(path) for pattern, _ in UPLOADS)


def _assemble() -> Any:
    import django

    django.setup()

    # What has models can be imported only now.
    from django.conf import settings
    from django.core.handlers.wsgi import WSGIHandler

    from apps.common.edge import Edge, Reach
    from apps.common.kept import DatabaseVersion, KeptAnswers
    from apps.common.pools import Application, Receive, Scope, Send, ThreadPool
    from apps.integrations.waiting import Waiting
    from apps.realtime.callers import identified
    from apps.realtime.consumers import SocketConsumer

    handler = WSGIHandler()
    quick = ThreadPool(handler, threads=8, limit=1_000, downloads=32)
    slow = ThreadPool(
        handler, threads=16, limit=16, per_caller=4, caller_of=identified, downloads=32
    )

    async def http(scope: Scope, receive: Receive, send: Send) -> None:
        pool = slow if is_slow(scope["method"], scope["path"]) else quick
        await pool(scope, receive, send)

    edge = Edge(
        http=Waiting(http),
        websocket=cast(Application, SocketConsumer.as_asgi()),
        reach=Reach.of(
            host=settings.HOST,
            public_url=settings.PUBLIC_URL,
            extra=settings.EXTRA_HOSTS,
            origins=settings.CORS_ORIGINS,
        ),
        larger=UPLOADS,
    )
    database = settings.DATABASES["default"]
    if database["ENGINE"].endswith("sqlite3"):
        return KeptAnswers(edge, DatabaseVersion(str(database["NAME"])).read)

    # With the driver, of which nobody else has any use.
    from apps.common.postgresql.standing import SnapshotVersion

    return KeptAnswers(edge, SnapshotVersion().read)


application = _assemble()
