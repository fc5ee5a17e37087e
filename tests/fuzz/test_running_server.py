"""The same requests to a web process on a socket, whose changes stay: edge, pools, kept answers and commits.

Only for `make fuzz`. Nobody works there: no worker, so that no command of a script is ever run.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import schemathesis
from django.conf import settings as django_settings
from django.db import connection
from hypothesis import given
from schemathesis.specs.openapi import checks

from apps.accounts import tokens
from apps.accounts.models import User
from tests import factories
from tests.contract.world import World, make_world
from tests.fuzz.cases import (
    AS_MANY,
    CALLERS,
    OPERATIONS,
    REAL,
    cases_of,
    name_what_is_there,
)
from tests.realtime.processes import RedisServer, WebServer

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.both_databases,
]

CHECKS = [
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_schema_conformance,
]
# Python reads it when it starts: the server reaches no other machine either.
NOWHERE_ELSE = """
import socket
connect, look_up = socket.socket.connect, socket.getaddrinfo
def only_here(self, address):
    if self.family != socket.AF_UNIX and not str(address[0]).startswith(("127.", "::1", "localhost")):
        raise OSError(f"no way to {address}")
    return connect(self, address)
def known(host, *rest, **more):
    name = host.decode() if isinstance(host, bytes) else str(host)
    if not name.startswith(("127.", "::1", "localhost")):
        raise socket.gaierror(socket.EAI_NONAME, f"nobody is called {name}")
    return look_up(host, *rest, **more)
socket.socket.connect, socket.getaddrinfo = only_here, known
"""


@pytest.fixture(scope="module")
def web(django_db_setup: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebServer]:
    at_start = tmp_path_factory.mktemp("start")
    (at_start / "sitecustomize.py").write_text(NOWHERE_ELSE)
    redis = RedisServer()
    redis.start()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(at_start))
        patch.setenv("KANBAN_FS_ROOTS", os.environ["HOME"])
        server = WebServer(
            "daphne",
            redis_url=redis.url,
            database=str(connection.settings_dict["NAME"]),
            data_dir=django_settings.DATA_DIR,
        )
    yield server
    server.stop()
    redis.remove()


@pytest.fixture
def world(transactional_db: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    folder = Path(os.environ["HOME"]) / tmp_path.name
    folder.mkdir()
    return make_world(folder)


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda each: each.label)
def test_a_running_server_answers_as_declared(world: World, web: WebServer, operation: Any) -> None:
    people = {name: User.objects.get(email__startswith=name) for name in ("alice", "root")}
    callers = {name: tokens.issue(user) for name, user in people.items()}
    callers["bot"] = factories.make_token(people["alice"], project_id=world.ids["projectId"])
    callers["nobody"] = ""

    @AS_MANY
    @given(case=cases_of(operation), caller=CALLERS, real=REAL)
    def answered(case: Any, caller: str, real: bool) -> None:
        if real:
            name_what_is_there(case, world)
        if isinstance(case.query, dict) and "wait" in case.query:
            case.query["wait"] = "1"
        response = _send(case, web, callers[caller])
        # That a part of the server is down or busy is declared, and so is looked at below.
        assert response.status_code < 500 or response.status_code == 503, response.content[:500]
        case.validate_response(response, checks=CHECKS)

    answered()


def _send(case: Any, web: WebServer, token: str) -> schemathesis.Response:
    base_url = f"http://127.0.0.1:{web.port}"
    asked = requests.Request(**case.as_transport_kwargs(base_url=base_url)).prepare()
    if token:
        asked.headers["Authorization"] = f"Bearer {token}"
    with requests.Session() as session:
        session.trust_env = False
        found = session.send(asked, timeout=60, allow_redirects=False)
    return schemathesis.Response.from_requests(found, verify=False)
