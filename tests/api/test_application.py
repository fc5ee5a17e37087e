"""The application as a server runs it."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from asgiref.sync import sync_to_async

from apps.accounts import authentication, tokens
from apps.accounts.models import User
from apps.operations import health
from apps.runs import leases
from apps.runs.models import Worker
from tests import factories
from tests.asgi import call


@pytest.fixture
def application() -> Any:
    authentication.forget_all()
    from kanban_agents.asgi import application

    yield application
    authentication.forget_all()


@pytest.mark.django_db(transaction=True)
async def test_the_real_application_sets_up_and_signs_in(application: Any) -> None:
    json_header = {"content-type": "application/json"}
    body = json.dumps({"email": "root@example.org", "password": "correct horse"}).encode()
    made = await call(application, "POST", "/api/auth/setup", headers=json_header, body=[body])
    assert made.status == 201
    token = json.loads(made.body)["data"]["token"]
    headers = {"authorization": f"Bearer {token}"}
    me = await call(application, path="/api/auth/me", headers=headers)
    assert json.loads(me.body)["data"]["email"] == "root@example.org"
    slow = await call(application, path="/api/auth/me", query="wait=5", headers=headers)
    assert slow.body == me.body
    head = await call(application, "HEAD", "/api/auth/me", headers=headers)
    assert (head.status, head.body) == (200, b"")
    assert head.headers["content-length"] == str(len(me.body))


async def _never_ends(application: Any, authorization: str) -> int | None:
    """The status of a slow request whose body stays away; None when it is let in and waited for."""
    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": "POST",
        "path": "/api/projects/import",
        "raw_path": b"/api/projects/import",
        "query_string": b"",
        "headers": [(b"host", b"localhost"), (b"authorization", authorization.encode())],
        "client": ("127.0.0.1", 5),
        "server": ("127.0.0.1", 37100),
        "scheme": "http",
    }
    status: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            status.set_result(message["status"])

    task = asyncio.create_task(application(scope, asyncio.Event().wait, send))
    _never_ending.append(task)
    done, _ = await asyncio.wait({status}, timeout=0.5)
    return status.result() if done else None


_never_ending: list[asyncio.Task[Any]] = []


@pytest.fixture
async def slowly(application: Any) -> AsyncIterator[Callable[[str], Any]]:
    yield lambda authorization: _never_ends(application, authorization)
    for task in _never_ending:
        task.cancel()
    await asyncio.gather(*_never_ending, return_exceptions=True)
    _never_ending.clear()


@pytest.mark.django_db(transaction=True)
async def test_no_tokens_but_good_ones_are_callers_of_their_own(slowly: Any, bob: User) -> None:
    made_up = [f"Bearer kba_{number:043d}" for number in range(3)] + ["Bearer x", "Basic y"]
    assert [await slowly(each) for each in made_up] == [None] * 4 + [429]
    token = await sync_to_async(factories.make_token)(bob)
    spellings = ["Bearer {}", "bearer {}", "BEARER  {}", "Bearer {} ", "bEaReR {}"]
    assert [await slowly(each.format(token)) for each in spellings] == [None] * 4 + [429]
    assert await slowly(f"Bearer {tokens.issue(bob)}") is None


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/api", 404, "unknown_endpoint"),
        ("GET", "/api/", 404, "unknown_endpoint"),
        ("GET", "/api/nothing/here", 404, "unknown_endpoint"),
        ("POST", "/api/auth/login/", 404, "unknown_endpoint"),
        ("GET", "/api/credentials/12345678901234567890", 404, "not_found"),
        ("GET", "/api/credentials/abc/nothing", 404, "unknown_endpoint"),
        ("GET", "/api/projects//boards", 404, "unknown_endpoint"),
        ("GET", "/api/auth/login", 405, "method_not_allowed"),
        ("TRACE", "/api/auth/login", 405, "method_not_allowed"),
        ("BREW", "/api/auth/login", 405, "method_not_allowed"),
        ("GET", "/api/auth/me", 401, "unauthenticated"),
        ("GET", "/api/auth%2Fme", 401, "unauthenticated"),
        ("GET", "/api/%2e%2e/etc", 404, "unknown_endpoint"),
        ("GET", "/api/%00", 400, "invalid"),
        ("GET", "/favicon.ico", 404, "not_found"),
        ("GET", "/admin", 404, "not_found"),
        ("GET", "/admin/users", 404, "not_found"),
    ],
)
async def test_the_real_application_refuses_in_the_error_format(
    application: Any, method: str, path: str, status: int, code: str
) -> None:
    reply = await call(application, method, path)
    assert (reply.status, reply.code) == (status, code)


@pytest.mark.django_db(transaction=True)
async def test_health_names_what_is_down(
    application: Any, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.REDIS_URL = "unix:///nowhere/redis.sock"
    monkeypatch.setattr(health, "_client", health._client.__wrapped__)
    monkeypatch.setattr(leases, "_started", time.monotonic())
    young = await call(application, path="/api/health")
    assert json.loads(young.body)["error"]["details"] == {"failing": ["redis"]}
    monkeypatch.setattr(leases, "_started", float("-inf"))
    reply = await call(application, path="/api/health")
    assert (reply.status, reply.code) == (503, "unavailable")
    assert json.loads(reply.body)["error"]["details"] == {"failing": ["redis", "workers"]}


@pytest.mark.django_db(transaction=True)
async def test_health_is_good_while_everything_answers(
    application: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "_redis_answers", lambda: True)
    monkeypatch.setattr(leases, "_started", float("-inf"))
    await sync_to_async(Worker.objects.create)(id="w1", host_id="h1", pid=1)
    reply = await call(application, path="/api/health", headers={"authorization": "Bearer stale"})
    assert (reply.status, json.loads(reply.body)) == (200, {"data": {"status": "ok"}})
