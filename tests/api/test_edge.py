from __future__ import annotations

import asyncio
import json
import re
import threading
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.http import FileResponse, HttpResponse, StreamingHttpResponse

from apps.accounts import authentication, tokens
from apps.accounts.models import User
from apps.common.edge import LARGEST_BODY, Edge, Reach
from apps.common.pools import ThreadPool, build_environ
from apps.operations import health
from apps.runs import leases
from apps.runs.models import Worker
from tests import factories
from tests.asgi import call

REACH = Reach.of(
    host="0.0.0.0",
    public_url="https://board.example.org",
    extra=["extra.example.org"],
    origins=["https://app.example.net"],
)


def wsgi_answering(response: Callable[[dict[str, Any]], Any]) -> Any:
    def application(environ: dict[str, Any], start_response: Any) -> Any:
        answer = response(environ)
        start_response(f"{answer.status_code} X", list(answer.items()))
        return answer

    return application


def behind_edge(response: Callable[[dict[str, Any]], Any], **pool: Any) -> Edge:
    async def websocket(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "websocket.accept"})

    options = {"threads": 2, "limit": 10} | pool
    http = ThreadPool(wsgi_answering(response), **options)
    return Edge(http, websocket, REACH, larger=((re.compile("^/big$"), LARGEST_BODY * 2),))


@pytest.fixture
def echo() -> Edge:
    """Answers with what Django would have seen."""

    def response(environ: dict[str, Any]) -> HttpResponse:
        body = environ["wsgi.input"].read()
        seen = {k: v for k, v in environ.items() if isinstance(v, str)}
        return HttpResponse(json.dumps({"length": len(body), **seen}))

    return behind_edge(response)


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "LOCALHOST:1",
        "127.0.0.1:37100",
        "[::1]",
        "[::1]:37100",
        "board.example.org",
        "board.example.org:443",
        "extra.example.org",
    ],
)
async def test_the_server_answers_to_its_own_names(echo: Edge, host: str) -> None:
    assert (await call(echo, headers={"host": host})).status == 200


@pytest.mark.parametrize(
    "host",
    [
        "",
        "evil.example.org",
        "localhost.evil.example.org",
        "evil@localhost",
        "localhost:",
        "localhost:x",
        "localhost:123456",
        "localhost, evil",
        "0.0.0.0",
        "[::]",
        "::1",
        "local host",
        "localhost/",
        "*",
        "é",
    ],
)
async def test_under_any_other_name_even_reading_is_refused(echo: Edge, host: str) -> None:
    reply = await call(echo, headers={"host": host})
    assert (reply.status, reply.code) == (400, "host_not_allowed")


async def test_a_named_address_to_listen_on_is_one_of_its_names() -> None:
    reach = Reach.of(host="192.168.1.2", public_url="", extra=[], origins=[])
    assert reach.allows_host(b"192.168.1.2:37100")
    assert not reach.allows_host(b"board.example.org")


async def test_two_hosts_are_none(echo: Edge) -> None:
    scope_headers = [(b"host", b"localhost"), (b"host", b"evil.example.org")]
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        return {"type": "http.request"}

    scope = {
        "type": "http",
        "method": "GET",
        "path": "/",
        "raw_path": b"/",
        "query_string": b"",
        "headers": scope_headers,
    }
    await echo(scope, receive, send)
    assert sent[0]["status"] == 400


@pytest.mark.parametrize(
    "origin",
    [
        "http://localhost:37100",
        "https://board.example.org",
        "http://[::1]:37100",
        "https://app.example.net",
        "HTTPS://App.Example.net",
        None,
    ],
)
async def test_our_own_pages_may_change_things(echo: Edge, origin: str | None) -> None:
    headers = {"origin": origin} if origin else {}
    for method in ("POST", "PUT", "PATCH", "DELETE"):
        assert (await call(echo, method, headers=headers)).status == 200


@pytest.mark.parametrize(
    "origin",
    [
        "null",
        "https://evil.example.org",
        "https://localhost.evil.example.org",
        "http://app.example.net",
        "https://app.example.net:8443",
        "file://",
        "ftp://localhost",
        "localhost",
        "http://localhost@evil.example.org",
    ],
)
async def test_pages_from_elsewhere_may_not(echo: Edge, origin: str) -> None:
    for method in ("POST", "PUT", "PATCH", "DELETE"):
        reply = await call(echo, method, headers={"origin": origin})
        assert (reply.status, reply.code) == (403, "origin_refused")
    reply = await call(echo, headers={"origin": origin})
    assert reply.status == 200
    assert "access-control-allow-origin" not in reply.headers


async def test_only_listed_origins_are_told_that_they_may_read(echo: Edge) -> None:
    asks = {"access-control-request-method": "PATCH", "access-control-request-headers": "x-a"}
    good = await call(echo, "OPTIONS", headers={"origin": "https://app.example.net", **asks})
    assert good.status == 204
    assert good.headers["access-control-allow-origin"] == "https://app.example.net"
    assert "PATCH" in good.headers["access-control-allow-methods"]
    assert good.headers["access-control-allow-headers"] == "x-a"
    assert "Origin" in good.headers["vary"]
    assert "access-control-allow-credentials" not in good.headers
    for origin in ("https://evil.example.org", "null", "http://localhost:3000"):
        bad = await call(echo, "OPTIONS", headers={"origin": origin, **asks})
        assert not [name for name in bad.headers if name.startswith("access-control")]
    refused = await call(echo, headers={"origin": "https://app.example.net", "content-length": "x"})
    assert refused.headers["access-control-allow-origin"] == "https://app.example.net"


@pytest.mark.parametrize(
    "path",
    ["/%", "/%zz", "/%f", "/%00", "/a%00b", "/%ff", "/%c3", "/%0a", "/%7f", "/%ed%a0%80"],
)
async def test_a_path_that_is_no_text_is_a_400(echo: Edge, path: str) -> None:
    reply = await call(echo, path=path)
    assert (reply.status, reply.code) == (400, "invalid")


async def test_a_nul_in_the_query_is_a_400(echo: Edge) -> None:
    assert (await call(echo, query="q=%00")).status == 400
    assert (await call(echo, query="q=%ff&a")).status == 200


async def test_paths_arrive_as_they_were_meant(echo: Edge) -> None:
    reply = await call(echo, path="/caf%C3%A9/a%2Fb%20c", query="x=%C3%A9")
    seen = json.loads(reply.body)
    assert seen["PATH_INFO"].encode("latin-1").decode() == "/café/a/b c"
    assert seen["QUERY_STRING"] == "x=%C3%A9"
    assert seen["SCRIPT_NAME"] == ""


async def test_a_body_over_the_limit_is_a_413_announced_or_not(echo: Edge) -> None:
    announced = await call(echo, "POST", headers={"content-length": str(LARGEST_BODY + 1)})
    assert (announced.status, announced.code) == (413, "too_large")
    absurd = await call(echo, "POST", headers={"content-length": "9" * 5000})
    assert absurd.status == 413
    half = b"x" * (LARGEST_BODY // 2 + 1)
    chunked = await call(echo, "POST", body=[half, half])
    assert (chunked.status, chunked.code) == (413, "too_large")
    just = await call(echo, "POST", body=[half, half[:-2]])
    assert json.loads(just.body)["length"] == LARGEST_BODY
    larger = await call(echo, "POST", "/big", body=[half, half])
    assert json.loads(larger.body)["length"] == 2 * len(half)
    for bad in ("-1", "abc", "1e3", "1, 2"):
        assert (await call(echo, "POST", headers={"content-length": bad})).status == 400


async def test_the_length_is_that_of_the_body_as_it_came(echo: Edge) -> None:
    reply = await call(
        echo, "POST", headers={"transfer-encoding": "chunked"}, body=[b"ab", b"", b"c"]
    )
    assert json.loads(reply.body)["CONTENT_LENGTH"] == "3"


async def test_a_client_that_leaves_during_its_request_reaches_no_view() -> None:
    def never(environ: dict[str, Any]) -> Any:
        raise AssertionError("ran")

    pool = ThreadPool(wsgi_answering(never), threads=1, limit=1)
    incoming = [
        {"type": "http.request", "body": b"a", "more_body": True},
        {"type": "http.disconnect"},
    ]

    async def receive() -> Any:
        return incoming.pop(0)

    async def send(message: Any) -> None:
        raise AssertionError("answered")

    await pool({"headers": []}, receive, send)


async def test_every_answer_carries_the_security_headers(echo: Edge) -> None:
    for reply in (await call(echo), await call(echo, headers={"host": "evil"})):
        assert reply.headers["x-content-type-options"] == "nosniff"
        assert reply.headers["referrer-policy"] == "same-origin"
        assert reply.headers["x-frame-options"] == "DENY"


@pytest.mark.parametrize(
    ("method", "status", "length", "body"),
    [
        ("GET", 200, "5", b"hello"),
        ("HEAD", 200, "5", b""),
        ("GET", 304, None, b""),
        ("GET", 204, None, b""),
    ],
)
async def test_what_has_no_body_has_none(
    method: str, status: int, length: str | None, body: bytes
) -> None:
    reply = await call(behind_edge(lambda environ: HttpResponse(b"hello", status=status)), method)
    assert (reply.status, reply.headers.get("content-length"), reply.body) == (
        status,
        length,
        body,
    )


async def test_streams_arrive_whole_and_are_closed(tmp_path: Any) -> None:
    pieces = behind_edge(lambda environ: StreamingHttpResponse(iter([b"a", b"b", b"c"])))
    assert (await call(pieces)).body == b"abc"
    file = tmp_path / "large"
    file.write_bytes(b"z" * 300_000)
    opened: list[Any] = []

    def response(environ: dict[str, Any]) -> FileResponse:
        opened.append(file.open("rb"))
        return FileResponse(opened[-1])

    reply = await call(behind_edge(response))
    assert reply.body == b"z" * 300_000
    assert reply.headers["content-length"] == "300000"
    assert (await call(behind_edge(response), "HEAD")).body == b""
    assert all(each.closed for each in opened)


async def test_what_breaks_outside_django_is_a_500_in_the_error_format() -> None:
    def broken(environ: dict[str, Any]) -> Any:
        raise RuntimeError("no")

    reply = await call(behind_edge(broken))
    assert (reply.status, reply.code) == (500, "internal")


@pytest.fixture
async def blocked() -> AsyncIterator[tuple[Callable[..., Edge], threading.Event]]:
    go = threading.Event()

    def response(environ: dict[str, Any]) -> HttpResponse:
        go.wait(10)
        return HttpResponse(b"done")

    yield lambda **pool: behind_edge(response, **pool), go
    go.set()


async def test_a_full_pool_says_that_it_is_busy(blocked: Any) -> None:
    make, go = blocked
    edge = make(threads=2, limit=2)
    running = [asyncio.create_task(call(edge)) for _ in range(2)]
    await asyncio.sleep(0.05)
    reply = await call(edge)
    assert (reply.status, reply.code, reply.headers["retry-after"]) == (503, "busy", "1")
    go.set()
    assert [reply.status for reply in await asyncio.gather(*running)] == [200, 200]
    assert (await call(edge)).status == 200


async def test_one_caller_cannot_take_the_whole_pool(blocked: Any) -> None:
    make, go = blocked

    async def by_header(scope: Any) -> bytes:
        return bytes(dict(scope["headers"]).get(b"authorization", b""))

    edge = make(threads=4, limit=4, per_caller=2, caller_of=by_header)
    alice, bob = {"authorization": "Bearer a"}, {"authorization": "Bearer b"}
    running = [asyncio.create_task(call(edge, headers=alice)) for _ in range(2)]
    await asyncio.sleep(0.05)
    reply = await call(edge, headers=alice)
    assert (reply.status, reply.code, reply.headers["retry-after"]) == (429, "rate_limited", "1")
    running.append(asyncio.create_task(call(edge, headers=bob)))
    await asyncio.sleep(0.05)
    go.set()
    assert [reply.status for reply in await asyncio.gather(*running)] == [200] * 3
    assert (await call(edge, headers=alice)).status == 200


async def test_a_thread_counts_until_it_is_done_though_its_client_has_gone(blocked: Any) -> None:
    make, go = blocked
    edge = make(threads=1, limit=1)
    task = asyncio.create_task(call(edge))
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (await call(edge)).code == "busy"
    go.set()
    for _ in range(100):
        await asyncio.sleep(0.01)
        if (await call(edge)).status == 200:
            return
    raise AssertionError("the thread was never given back")


def test_no_header_can_pass_for_another() -> None:
    scope = {
        "method": "GET",
        "path": "/",
        "query_string": b"",
        "http_version": "1.1",
        "headers": [
            (b"x_forwarded_for", b"1.2.3.4"),
            (b"accept", b"a"),
            (b"accept", b"b"),
            (b"cookie", b"a=1"),
            (b"cookie", b"b=2"),
            (b"content-length", b"99"),
        ],
    }
    environ = build_environ(scope, None, 0)  # type: ignore[arg-type]
    assert "HTTP_X_FORWARDED_FOR" not in environ
    assert environ["HTTP_ACCEPT"] == "a,b"
    assert environ["HTTP_COOKIE"] == "a=1; b=2"
    assert environ["CONTENT_LENGTH"] == ""


async def socket(edge: Any, **scope: Any) -> list[Any]:
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:
        sent.append(message)

    headers = {"host": "localhost", "origin": "http://localhost"} | scope.pop("headers", {})
    scope = {"type": "websocket", "path": "/api/ws", **scope}
    scope["headers"] = [(k.encode(), v.encode()) for k, v in headers.items() if v]
    await edge(scope, receive, send)
    return sent


async def test_sockets_pass_the_same_checks(echo: Edge) -> None:
    assert await socket(echo) == [{"type": "websocket.accept"}]
    assert await socket(echo, headers={"origin": ""}) == [{"type": "websocket.accept"}]
    refused = [{"type": "websocket.close", "code": 1008}]
    assert await socket(echo, headers={"host": "evil.example.org"}) == refused
    assert await socket(echo, headers={"origin": "https://evil.example.org"}) == refused
    assert await socket(echo, headers={"origin": "null"}) == refused
    assert await socket(echo, path="/elsewhere") == refused
    said = await socket(
        echo,
        headers={"origin": "null"},
        extensions={"websocket.http.response": {}},
    )
    assert [m["type"] for m in said] == [
        "websocket.http.response.start",
        "websocket.http.response.body",
    ]
    assert said[0]["status"] == 403


async def test_the_socket_without_an_upgrade_is_a_426(echo: Edge) -> None:
    reply = await call(echo, path="/api/ws")
    assert (reply.status, reply.code) == (426, "upgrade_required")
    assert reply.headers["upgrade"] == "websocket"


async def test_the_lifespan_is_acknowledged(echo: Edge) -> None:
    incoming = [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}]
    sent: list[Any] = []

    async def receive() -> Any:
        return incoming.pop(0)

    async def send(message: Any) -> None:
        sent.append(message["type"])

    await echo({"type": "lifespan"}, receive, send)
    assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete"]


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
