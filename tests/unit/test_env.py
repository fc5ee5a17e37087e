from __future__ import annotations

import json
from pathlib import Path
from urllib.parse import quote

import pytest

from kanban_agents.env import VARIABLES, EnvironmentProblem, is_loopback, load

HOME = {"KANBAN_DATA_DIR": "/data"}


def test_nothing_set_means_a_private_server_for_this_machine() -> None:
    env = load({"XDG_DATA_HOME": "/share"})
    assert (env["KANBAN_HOST"], env["KANBAN_PORT"]) == ("127.0.0.1", 37100)
    assert env["KANBAN_DATA_DIR"] == Path("/share/kanban-agents")
    assert env.loopback
    assert env["KANBAN_REGISTRATION"] == "open"
    assert env["KANBAN_SHARE_SERVER_KEYS"] == "on"
    assert env["KANBAN_FS_ROOTS"] == [Path.home()]


@pytest.mark.parametrize(
    "beyond", [{"KANBAN_HOST": "0.0.0.0"}, {"KANBAN_PUBLIC_URL": "https://board.example.org"}]
)
def test_whoever_others_can_reach_is_stricter_by_default(beyond: dict[str, str]) -> None:
    env = load(HOME | beyond)
    assert not env.loopback
    assert env["KANBAN_REGISTRATION"] == "invited"
    assert env["KANBAN_SHARE_SERVER_KEYS"] == "off"
    assert env["KANBAN_FS_ROOTS"] == []
    with pytest.raises(EnvironmentProblem, match="loopback"):
        load(HOME | beyond | {"KANBAN_AUTH": "off"})


def test_an_unknown_name_stops_the_start() -> None:
    with pytest.raises(EnvironmentProblem, match="KANBAN_HOSTT is not a setting"):
        load(HOME | {"KANBAN_HOSTT": "x"})
    with pytest.raises(EnvironmentProblem):
        load(HOME | {"KANBAN_HOST_FILE": "/x"})  # not a secret
    load(HOME | {"KANBAN_TEST_ANYTHING": "x", "OTHER": "y"})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("KANBAN_PORT", "0"),
        ("KANBAN_PORT", "65536"),
        ("KANBAN_PORT", "٣"),
        ("KANBAN_PORT", "-1"),
        ("KANBAN_PORT", "8 0"),
        ("KANBAN_HOST", "a b"),
        ("KANBAN_DATA_DIR", "relative"),
        ("KANBAN_DATABASE_URL", "mysql://x"),
        ("KANBAN_REDIS_URL", "localhost"),
        ("KANBAN_SECRET_KEY", "short"),
        ("KANBAN_PUBLIC_URL", "board.example.org"),
        ("KANBAN_ALLOWED_HOSTS", "*"),
        ("KANBAN_CORS_ORIGINS", "board.example.org"),
        ("KANBAN_FS_ROOTS", "/a:b"),
        ("KANBAN_SANDBOX", "maybe"),
        ("KANBAN_AUTH", "no"),
        ("KANBAN_REGISTRATION", "closed"),
        ("KANBAN_MAX_AGENTS", "0"),
        ("KANBAN_ASGI", "gunicorn"),
        ("KANBAN_LOG_LEVEL", "loud"),
    ],
)
def test_a_bad_value_stops_the_start_with_one_line_that_names_it(name: str, value: str) -> None:
    with pytest.raises(EnvironmentProblem) as caught:
        load(HOME | {name: value})
    message = str(caught.value)
    assert message.startswith(name)
    assert "\n" not in message


def test_a_secret_is_never_in_the_message() -> None:
    with pytest.raises(EnvironmentProblem) as caught:
        load(HOME | {"KANBAN_DATABASE_URL": "mysql://root:hunter2@db/x"})
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    "password",
    [
        "hunter2/x",
        "hunter2#x",
        "hunter2?x",
        "37100/hunter2",
        "[hunter2",
        "[hunter2]",
        "hunter2\u2100",
    ],
)
@pytest.mark.parametrize(
    ("name", "url"),
    [
        ("KANBAN_DATABASE_URL", "postgresql://kanban:{}@db/kanban"),
        ("KANBAN_REDIS_URL", "redis://kanban:{}@cache:6379/0"),
    ],
)
def test_a_password_that_breaks_its_url_is_not_shown_and_how_to_write_it_is(
    name: str, url: str, password: str
) -> None:
    with pytest.raises(EnvironmentProblem) as caught:
        load(HOME | {name: url.format(password)})
    message = str(caught.value)
    assert message.startswith(f"{name}: ")
    assert "hunter2" not in message
    assert "percent-encoded" in message
    load(HOME | {name: url.format(quote(password, safe=""))})
    assert "hunter2" not in repr(load(HOME | {"KANBAN_SETUP_CODE": "hunter2"}))


def test_a_secret_may_lie_in_a_file(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("s" * 40 + "\n")
    assert load(HOME | {"KANBAN_SECRET_KEY_FILE": str(file)})["KANBAN_SECRET_KEY"] == "s" * 40
    with pytest.raises(EnvironmentProblem, match="both set"):
        load(HOME | {"KANBAN_SECRET_KEY_FILE": str(file), "KANBAN_SECRET_KEY": "s" * 40})
    with pytest.raises(EnvironmentProblem, match="can't read"):
        load(HOME | {"KANBAN_SECRET_KEY_FILE": str(tmp_path / "absent")})


def test_an_empty_value_means_the_default() -> None:
    names = [variable.name for variable in VARIABLES if variable.name != "KANBAN_DATA_DIR"]
    plain, emptied = load(HOME), load(HOME | dict.fromkeys(names, ""))
    assert dict(emptied.values) == dict(plain.values)


def test_lists_are_split_and_trimmed() -> None:
    env = load(
        HOME | {"KANBAN_ALLOWED_HOSTS": " Board.Example.org, ,b ", "KANBAN_FS_ROOTS": "/a:/b"}
    )
    assert env["KANBAN_ALLOWED_HOSTS"] == ["board.example.org", "b"]
    assert env["KANBAN_FS_ROOTS"] == [Path("/a"), Path("/b")]


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("localhost", True),
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("::1", True),
        ("0.0.0.0", False),
        ("::", False),
        ("192.168.1.2", False),
        ("localhost.example.org", False),
    ],
)
def test_loopback_is_what_only_this_machine_reaches(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected


CLIENT = {
    "clientId": "board",
    "authorizationUrl": "https://login.example.org/authorize",
    "tokenUrl": "https://login.example.org/token",
}


def test_oauth_clients_are_read_from_json(tmp_path: Path) -> None:
    assert load(HOME)["KANBAN_OAUTH_CLIENTS"] == {}
    file = tmp_path / "clients.json"
    file.write_text(json.dumps({"openai": {**CLIENT, "clientSecret": "hidden"}}))
    found = load(HOME | {"KANBAN_OAUTH_CLIENTS_FILE": str(file)})["KANBAN_OAUTH_CLIENTS"]
    assert (found["openai"].id, found["openai"].secret) == ("board", "hidden")
    assert "hidden" not in repr(found)
    local = {**CLIENT, "tokenUrl": "http://127.0.0.1:9000/token"}
    load(HOME | {"KANBAN_OAUTH_CLIENTS": json.dumps({"openai": local})})


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ("{", "must be a JSON object"),
        ([], "must be a JSON object"),
        ({"openai": "x"}, "an object for each provider"),
        ({"nobody": CLIENT}, "nobody is not one of: openai"),
        ({"openai": {"clientId": "x"}}, "openai lacks authorizationUrl, tokenUrl"),
        ({"openai": {**CLIENT, "secret": "hidden"}}, "unknown keys: secret"),
        ({"openai": {**CLIENT, "scope": ["hidden"]}}, "scope of openai must be text"),
        ({"openai": {**CLIENT, "tokenUrl": "http://x.example/"}}, "must begin with https"),
        ({"openai-compatible": CLIENT}, "lacks baseUrl"),
    ],
)
def test_oauth_clients_that_can_not_be_used_stop_the_start(given: object, problem: str) -> None:
    text = given if isinstance(given, str) else json.dumps(given)
    with pytest.raises(EnvironmentProblem, match=problem) as raised:
        load(HOME | {"KANBAN_OAUTH_CLIENTS": text})
    assert "hidden" not in str(raised.value)
