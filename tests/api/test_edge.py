from __future__ import annotations

import json
from typing import Any

import pytest
from django.http import FileResponse, HttpResponse, StreamingHttpResponse

from apps.common.edge import LARGEST_BODY, Edge, Reach
from apps.common.pools import ThreadPool, build_environ
from tests.api.edges import behind_edge, wsgi_answering
from tests.asgi import call


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

    pool = ThreadPool(wsgi_answering(never), threads=1, limit=1, downloads=1)
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
