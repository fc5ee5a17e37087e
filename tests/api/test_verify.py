"""Verifying asks a real server over a real socket, whatever that does in return."""

from __future__ import annotations

import gzip
import json
import socket
import threading
import time
from collections.abc import Iterator
from ipaddress import ip_address
from typing import Any

import pytest

from apps.accounts.models import User
from apps.common import outbound
from apps.credentials import verifying
from apps.credentials.models import Credential
from tests.fakes.mock_provider import Director, MockServer, RequestLog, Scenario
from tests.fakes.raw_server import Behaviour, RawServer, Send, http, says

KEY = "sk-ant-a-key-for-tests-0123456789"

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def provider() -> Iterator[MockServer]:
    """Takes one key only."""
    scenario = {"valid_keys": [KEY], "scripts": [{"steps": [{"say": [{"text": "Hello"}]}]}]}
    server = MockServer(
        ("127.0.0.1", 0),
        Director(Scenario.parse(scenario)),
        RequestLog(None, False),
    )
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def url_of(server: MockServer) -> str:
    return f"http://127.0.0.1:{server.server_port}"


def verified(api: Any, user: User, **fields: Any) -> tuple[bool, str]:
    body = {"name": "Mine", "provider": "openai", "apiKey": KEY} | fields
    made = api(user).post("/api/credentials", body)
    answer = api(user).post(f"/api/credentials/{made['id']}/verify", status=200)
    assert answer.keys() == {"valid", "error"}
    assert answer["valid"] is (answer["error"] is None)
    assert KEY not in (answer["error"] or "")
    return answer["valid"], answer["error"] or ""


PROVIDERS = {
    "anthropic": ("", "/v1/models"),
    "openai": ("/v1", "/v1/models"),
    "openai-compatible": ("/v1", "/v1/models"),
    "google": ("", "/v1beta/models"),
    "openrouter": ("/api/v1", "/api/v1/key"),
}


@pytest.mark.parametrize("name", PROVIDERS)
def test_every_provider_is_asked_in_its_own_way_with_the_key(
    api: Any, alice: User, provider: MockServer, name: str
) -> None:
    base, path = PROVIDERS[name]
    base_url = url_of(provider) + base
    assert verified(api, alice, provider=name, baseUrl=base_url) == (True, "")
    assert [(each["path"], each["key"]) for each in provider.log.entries] == [(path, KEY[:12])]
    valid, error = verified(
        api, alice, provider=name, baseUrl=base_url + "/", apiKey="wrong-key-123"
    )
    assert not valid
    assert error == "The provider refused the key (401): invalid x-api-key"


@pytest.mark.parametrize("name", PROVIDERS)
def test_where_there_is_no_list_of_models_one_token_is_asked_for(
    api: Any, alice: User, provider: MockServer, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verifying, "_list", lambda name: verifying._Question("/nothing"))
    base_url = url_of(provider) + PROVIDERS[name][0]
    fields = {"provider": name, "baseUrl": base_url}
    valid, error = verified(api, alice, **fields)
    assert not valid
    assert "enter a model" in error
    assert verified(api, alice, **fields, model="mock-model") == (True, "")
    call = provider.log.entries[-1]
    assert (call["status"], call["model"]) == (200, "mock-model")
    valid, error = verified(api, alice, **fields, model="mock-model", apiKey="wrong-key-123")
    assert (valid, "refused the key (401)" in error) == (False, True)


def test_a_server_of_ones_own_needs_no_key(api: Any, alice: User) -> None:
    with RawServer(says(http(200, b'{"data": []}'))) as server:
        fields = {"provider": "openai-compatible", "baseUrl": server.url, "apiKey": None}
        assert verified(api, alice, **fields) == (True, "")
    assert b"authorization" not in server.asked[0].lower()


def _endless(send: Send) -> None:
    send(b"HTTP/1.1 200 OK\r\n\r\n")
    while True:
        send(b"[" * 65_536)


ANSWERS: dict[str, tuple[Behaviour, str]] = {
    "401 with the key in it": (
        says(http(401, json.dumps({"error": {"message": f"no such key {KEY}"}}).encode())),
        "refused the key (401): no such key ****",
    ),
    "403": (says(http(403, b'{"message": "not in your country"}')), "(403): not in your country"),
    "429": (says(http(429, b'{"error": "slow down"}')), "limit is reached (429): slow down"),
    "500": (says(http(500, b"<html>secret of the house</html>")), "problem of its own (500)"),
    "418": (says(http(418, b"{}")), "refused the request (418)"),
    "404": (says(http(404, b"not found")), "has no list of models (404)"),
    "nothing": (says(), "does not speak HTTP"),
    "garbage": (says(b"\x00\xff garbage\r\n\r\n"), "does not speak HTTP"),
    "a status that is none": (says(b"HTTP/1.1 abc\r\n\r\n"), "does not speak HTTP"),
    "half an answer": (says(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{"), "something else"),
    "a page": (says(http(200, b"<html>Welcome</html>")), "something else than a provider"),
    "a list": (says(http(200, b"[]")), "something else than a provider"),
    "deep nesting": (says(http(200, b"[" * 200_000)), "something else than a provider"),
    "packed": (
        says(http(200, gzip.compress(b"{" * 50_000_000), "Content-Encoding: gzip")),
        "something else than a provider",
    ),
    "no end": (_endless, "more than 2 MB"),
    "endless headers": (
        says(b"HTTP/1.1 200 OK\r\n", *[b"X: " + b"y" * 60_000 + b"\r\n"] * 200),
        "does not speak HTTP",
    ),
}


@pytest.mark.parametrize("kind", ANSWERS)
def test_whatever_a_server_answers_is_said_in_a_sentence(api: Any, alice: User, kind: str) -> None:
    behaviour, expected = ANSWERS[kind]
    with RawServer(behaviour) as server:
        valid, error = verified(api, alice, baseUrl=server.url)
    assert not valid
    assert expected in error
    assert "secret of the house" not in error
    assert len(error) < 400


def _drip(send: Send) -> None:
    send(b"HTTP/1.1 200 OK\r\n")
    while True:
        send(b"X")
        time.sleep(0.02)


@pytest.mark.parametrize(
    ("behaviour", "listens"),
    [(None, True), (None, False), (_drip, True)],
    ids=["says nothing", "reads nothing", "a byte now and then"],
)
def test_a_server_that_does_not_come_to_an_end_is_given_up(
    api: Any,
    alice: User,
    behaviour: Behaviour | None,
    listens: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert verifying.SECONDS == 10
    monkeypatch.setattr(verifying, "SECONDS", 0.3)
    before = time.monotonic()
    with RawServer(behaviour, listens=listens) as server:
        answer = verified(api, alice, baseUrl=server.url)
    assert answer == (False, "The provider did not answer within 0.3 seconds.")
    assert time.monotonic() - before < 5


def test_a_name_that_is_not_resolved_in_time_is_given_up(
    api: Any, alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    over = threading.Event()

    def never(*_: Any, **__: Any) -> None:
        over.wait(10)
        raise socket.gaierror

    monkeypatch.setattr(verifying, "SECONDS", 0.3)
    monkeypatch.setattr(socket, "getaddrinfo", never)
    valid, error = verified(api, alice, baseUrl="http://provider.example")
    over.set()
    assert (valid, error) == (False, "The provider did not answer within 0.3 seconds.")


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_the_key_does_not_follow_a_redirect(api: Any, alice: User, status: int) -> None:
    with RawServer(says(http(200, b"{}"))) as thief:
        redirect = says(http(status, b"", f"Location: {thief.url}/models"))
        with RawServer(redirect) as server:
            valid, error = verified(api, alice, baseUrl=server.url)
    assert not valid
    assert "sends elsewhere" in error
    assert KEY.encode() in server.asked[0]
    assert thief.asked == []


def test_what_is_not_there_is_said(api: Any, alice: User) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    valid, error = verified(api, alice, baseUrl=f"http://127.0.0.1:{port}")
    assert (valid, error) == (False, "The provider can't be reached: Connection refused.")
    with RawServer(says(b"no TLS here"), listens=False) as server:
        address = server.url.replace("http:", "https:")
        valid, error = verified(api, alice, baseUrl=address)
    assert not valid
    assert "does not speak HTTP as it should" in error


@pytest.mark.parametrize(
    "host",
    ["169.254.169.254", "[fe80::1]", "[::ffff:169.254.169.254]", "2852039166", "0xa9fea9fe"],
)
def test_the_machines_own_metadata_is_never_asked_for(api: Any, alice: User, host: str) -> None:
    valid, error = verified(api, alice, baseUrl=f"http://{host}/latest")
    assert (valid, error) == (False, "The provider has an address that this server does not ask.")


def test_a_name_can_not_stand_for_such_an_address_either(
    api: Any, alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []

    def resolve(host: str, port: int, **_: Any) -> list[Any]:
        asked.append(host)
        # Another one each time, as a name server does that wants to get past a check.
        address = "127.0.0.1" if len(asked) > 1 else "169.254.169.254"
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    valid, error = verified(api, alice, baseUrl="http://provider.example")
    assert (valid, error) == (False, "The provider has an address that this server does not ask.")
    assert asked == ["provider.example"]


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("127.0.0.1", False),
        ("::1", False),
        ("192.168.1.20", False),
        ("fd12:3456::1", False),
        ("1.1.1.1", False),
        ("64:ff9b::7f00:1", False),
        ("169.254.0.1", True),
        ("100.100.100.200", True),
        ("168.63.129.16", True),
        ("192.0.0.192", True),
        ("fd00:ec2::254", True),
        ("64:ff9b::a9fe:a9fe", True),
        ("2002:a9fe:a9fe::1", True),
        ("224.0.0.1", True),
    ],
)
def test_private_servers_may_be_asked_and_metadata_may_not(address: str, expected: bool) -> None:
    assert outbound.refused(ip_address(address)) is expected


def test_a_proxy_of_the_operators_is_used(
    api: Any, alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    with RawServer(says(http(200, b"{}"))) as proxy:
        address = proxy.url.replace("//", "//gate:let%20me@")
        monkeypatch.setenv("http_proxy", address)
        assert verified(api, alice, baseUrl="http://far.example/v1") == (True, "")
        monkeypatch.setenv("https_proxy", address)
        valid, error = verified(api, alice)
    plain, tunnel = proxy.asked
    assert plain.startswith(b"GET http://far.example/v1/models HTTP/1.1\r\nHost: far.example\r\n")
    assert b"Proxy-Authorization: Basic Z2F0ZTpsZXQgbWU=" in plain
    assert tunnel.startswith(b"CONNECT api.openai.com:443 HTTP/1.1\r\nHost: api.openai.com:443\r\n")
    assert KEY.encode() not in tunnel
    assert not valid
    assert "does not speak HTTP" in error


@pytest.mark.parametrize(
    "host",
    ["169.254.169.254", "169.254.169.254.", "0xa9fea9fe", "[fd00:ec2::254]", "inner.example"],
)
def test_no_proxy_is_told_to_ask_for_metadata(
    api: Any, alice: User, monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    real = socket.getaddrinfo

    def resolve(name: Any, port: Any, *more: Any, **options: Any) -> list[Any]:
        known = {"inner.example": "168.63.129.16"}
        return real(known.get(name, name), port, *more, **options)

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    with RawServer(says(http(200, b"{}"))) as proxy:
        monkeypatch.setenv("http_proxy", proxy.url)
        monkeypatch.setenv("https_proxy", proxy.url)
        for scheme in ("http", "https"):
            valid, error = verified(api, alice, baseUrl=f"{scheme}://{host}/latest")
            assert not valid
            assert error == "The provider has an address that this server does not ask."
    assert proxy.asked == []


def test_a_name_that_is_not_resolved_here_in_time_is_left_to_the_proxy(
    api: Any, alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, over = socket.getaddrinfo, threading.Event()

    def resolve(name: Any, *more: Any, **options: Any) -> list[Any]:
        if name == "far.example":
            over.wait(20)
        return real(name, *more, **options)

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    monkeypatch.setattr(outbound, "LOOK_BEFORE_PROXY_S", 0.2)
    with RawServer(says(http(200, b"{}"))) as proxy:
        monkeypatch.setenv("http_proxy", proxy.url)
        assert verified(api, alice, baseUrl="http://far.example/v1") == (True, "")
    over.set()


def test_what_can_not_be_asked_is_not(api: Any, alice: User, settings: Any) -> None:
    assert verified(api, alice, apiKey=None) == (False, "It has no API key yet.")
    valid, error = verified(api, alice, provider="codex-login", apiKey=None)
    assert (valid, "login" in error) == (False, True)
    made = api(alice).post("/api/credentials", {"name": "x", "provider": "openai", "apiKey": KEY})
    settings.SERVER_SECRET = "another secret of this server, long enough"
    # The token is signed by the old secret.
    credential = Credential.objects.latest("pk")
    assert credential.name == made["name"]
    assert "can't be decrypted" in str(verifying.verify(credential).error)


def test_only_its_owner_and_super_admins_may_have_a_key_tried(
    api: Any, alice: User, bob: User, root: User
) -> None:
    with RawServer(says(http(200, b"{}"))) as server:
        body = {"name": "x", "provider": "openai", "apiKey": KEY, "baseUrl": server.url}
        path = f"/api/credentials/{api(alice).post('/api/credentials', body)['id']}/verify"
        api(bob).post(path, status=404)
        api(None).post(path, status=401)
        assert server.asked == []
        assert api(root).post(path, status=200) == {"valid": True, "error": None}
