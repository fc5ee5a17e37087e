"""What a web page on the internet, or a body made to hurt, can do to a server on somebody's own machine."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from asgiref.sync import sync_to_async

from apps.accounts import authentication, tokens
from apps.accounts.models import User
from apps.common.edge import LARGEST_BODY
from apps.projects.models import Project
from tests import factories
from tests.asgi import Reply, call

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def application() -> Iterator[Any]:
    from kanban_agents.asgi import application

    authentication.forget_all()
    yield application
    authentication.forget_all()


class Browser:
    """Alice's, whose token a page on the internet has got hold of; `send` is a request of such a page."""

    def __init__(self, application: Any, alice: User) -> None:
        self.application = application
        self.token = tokens.issue(alice)

    async def send(self, method: str, path: str, body: Any = None, **headers: str) -> Reply:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        given = {
            "authorization": f"Bearer {self.token}",
            "content-type": "application/json",
            **{name.replace("_", "-"): value for name, value in headers.items()},
        }
        return await call(
            self.application,
            method,
            path,
            headers=given,
            body=[b"" if body is None else content],
        )


@pytest.fixture
def browser(application: Any, alice: User) -> Browser:
    return Browser(application, alice)


async def test_a_name_that_was_rebound_to_this_machine_reads_nothing(
    browser: Browser, alice: User
) -> None:
    await sync_to_async(factories.make_project)(alice, name="Secret garden")
    for host in ("evil.example.org", "localhost.evil.example.org", "127.0.0.1.nip.io", ""):
        for path in ("/api/projects", "/api/health", "/", "/api/nothing"):
            reply = await browser.send("GET", path, host=host)
            assert (reply.status, reply.code) == (400, "host_not_allowed")
            assert b"Secret" not in reply.body
    control = await browser.send("GET", "/api/projects", host="localhost:37100")
    assert control.status == 200
    assert b"Secret garden" in control.body


async def test_a_page_from_elsewhere_changes_nothing(browser: Browser, tmp_path: Any) -> None:
    body = {"name": "Meadow", "path": str(tmp_path)}
    for origin in ("https://evil.example.org", "null", "http://localhost.evil.example.org"):
        reply = await browser.send("POST", "/api/projects", body, origin=origin)
        assert (reply.status, reply.code) == (403, "origin_refused")
        assert "access-control-allow-origin" not in reply.headers
    assert await sync_to_async(Project.objects.count)() == 0
    control = await browser.send("POST", "/api/projects", body, origin="http://localhost:37100")
    assert control.status == 201


async def test_what_a_form_can_send_without_asking_is_refused(
    browser: Browser, tmp_path: Any
) -> None:
    body = {"name": "Meadow", "path": str(tmp_path)}
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data"):
        reply = await browser.send("POST", "/api/projects", body, content_type=kind)
        assert (reply.status, reply.code) == (415, "unsupported_media_type")
    assert await sync_to_async(Project.objects.count)() == 0
    assert (await browser.send("POST", "/api/projects", body)).status == 201


async def test_a_cookie_or_an_address_signs_nobody_in(browser: Browser) -> None:
    token = browser.token
    cookie = await browser.send("GET", "/api/auth/me", authorization="", cookie=f"token={token}")
    assert cookie.status == 401
    reply = await call(browser.application, path="/api/auth/me", query=f"token={token}")
    assert reply.status == 401
    assert (await browser.send("GET", "/api/auth/me")).status == 200


async def test_pages_run_our_own_scripts_alone_and_data_runs_nothing(browser: Browser) -> None:
    page = await browser.send("GET", "/projects/proj_001")
    policy = dict(
        part.strip().split(" ", 1) for part in page.headers["content-security-policy"].split(";")
    )
    assert policy["default-src"] == policy["script-src"] == "'self'"
    for name in ("object-src", "base-uri", "frame-ancestors"):
        assert policy[name] == "'none'"
    # The control: the page itself has nothing that the policy forbids.
    assert re.search(rb"<script(?![^>]*\bsrc=)|\son[a-z]+=|javascript:", page.body) is None
    for path in ("/api/auth/me", "/api/nothing", "/api/health"):
        reply = await browser.send("GET", path)
        assert reply.headers["content-security-policy"].startswith("default-src 'none'")
        assert reply.headers["x-content-type-options"] == "nosniff"
        assert reply.headers["content-type"] == "application/json"


async def test_a_body_that_is_too_large_is_a_413_before_anybody_reads_it(
    browser: Browser, tmp_path: Any
) -> None:
    body = {"name": "Meadow", "path": str(tmp_path)}
    large = json.dumps({**body, "rest": "x" * LARGEST_BODY}).encode()
    for headers in ({}, {"content_length": str(len(large))}, {"authorization": ""}):
        reply = await browser.send("POST", "/api/projects", large, **headers)
        assert (reply.status, reply.code) == (413, "too_large")
    assert await sync_to_async(Project.objects.count)() == 0
    just = json.dumps({**body, "rest": "x" * (LARGEST_BODY - 200)}).encode()
    assert (await browser.send("POST", "/api/projects", just)).status == 201


@pytest.mark.parametrize("depth", [101, 300, 1_000, 1_000_000])
async def test_a_body_that_is_nested_without_end_is_a_400(
    browser: Browser, tmp_path: Any, depth: int
) -> None:
    def nested(levels: int) -> bytes:
        body = json.dumps({"name": "Meadow", "path": str(tmp_path), "rest": "HERE"}).encode()
        return body.replace(b'"HERE"', b"[" * levels + b"]" * levels)

    reply = await browser.send("POST", "/api/projects", nested(depth))
    assert (reply.status, reply.code) == (400, "invalid")
    assert (await browser.send("POST", "/api/projects", nested(90))).status == 201
