from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import pytest
from django.conf import settings as django_settings
from django.db import connection, transaction
from pytest_django import Settings

from apps.accounts import tokens
from apps.accounts.models import Role, User
from apps.events import bus, telling
from apps.events.bus import ProjectEvent
from apps.projects.models import Project, ProjectMember
from tests.realtime.client import Client
from tests.realtime.processes import RedisServer, WebServer


@dataclass(frozen=True, kw_only=True)
class Noted(ProjectEvent):
    type: ClassVar[str] = "card.updated"
    note: Any

    def data(self) -> dict[str, Any]:
        return {"note": self.note}


@dataclass
class World:
    alice: User
    bob: User
    charlie: User
    root: User
    project: Project
    notes: int = field(default=0)

    def publish(self, note: Any = None) -> int:
        """One more event in the project; returns its seq."""
        self.notes += 1
        with transaction.atomic():
            bus.lock(self.project.pk)
            return bus.publish(
                Noted(project_id=self.project.pk, note=self.notes if note is None else note)
            )


@pytest.fixture(scope="session")
def redis_process() -> Iterator[RedisServer]:
    server = RedisServer()
    server.start()
    # A test before this one may have told a server that is gone.
    telling._forget()
    yield server
    server.remove()


@pytest.fixture
def redis(redis_process: RedisServer, settings: Settings) -> Iterator[RedisServer]:
    settings.REDIS_URL = redis_process.url
    redis_process.start()
    yield redis_process
    redis_process.thaw()


@pytest.fixture(scope="session")
def web_servers(
    redis_process: RedisServer, django_db_setup: None
) -> Iterator[Callable[[str], WebServer]]:
    running: dict[str, WebServer] = {}
    with ExitStack() as stack:

        def get(kind: str) -> WebServer:
            if kind not in running:
                running[kind] = WebServer(
                    kind,
                    redis_url=redis_process.url,
                    database=str(connection.settings_dict["NAME"]),
                    data_dir=Path(django_settings.DATA_DIR),
                )
                stack.callback(running[kind].stop)
            return running[kind]

        yield get


@pytest.fixture(params=["daphne", "uvicorn"])
def web(
    request: pytest.FixtureRequest,
    web_servers: Callable[[str], WebServer],
    redis: RedisServer,
    transactional_db: None,
) -> WebServer:
    return web_servers(request.param)


@pytest.fixture
def world(transactional_db: None) -> World:
    def person(name: str, role: str = Role.USER) -> User:
        return User.objects.create_user(f"{name}@example.com", display_name=name, role=role)

    alice, bob, charlie = person("alice"), person("bob"), person("charlie")
    root = person("root", Role.SUPER_ADMIN)
    project = Project.objects.create(name="Garden", path="/srv/garden", owner=alice)
    ProjectMember.objects.create(project=project, user=bob)
    bus.create_stream(project.pk)
    return World(alice, bob, charlie, root, project)


@pytest.fixture
def connect(web: WebServer) -> Iterator[Callable[[User], Client]]:
    with ExitStack() as stack:

        def as_user(user: User) -> Client:
            return stack.enter_context(Client(web.url(f"?token={tokens.issue(user)}")))

        yield as_user
