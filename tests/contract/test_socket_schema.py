"""Every message of the socket is as `GET /api/events/schema` says, and every one is described there."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import jsonschema_rs
import pytest

from apps.accounts.models import User
from apps.agents import requests
from apps.agents.models import AgentRequest
from apps.agents.runtime.activity import Activity
from apps.agents.serializers import line_frame, message_frame
from apps.agents.sessions import changed
from apps.cards import services as cards
from apps.events import telling
from apps.events.bus import Position, ProjectEvent
from apps.events.models import StoredEvent
from apps.operations.openapi import collected, sockets
from apps.projects.models import Project
from apps.realtime import frames
from apps.realtime.frames import Project as ProjectTopic
from apps.realtime.frames import Refused, Run, Session
from apps.runs.sink import Line
from apps.scripts.serializers import output_frame
from tests import factories
from tests.client import Api
from tests.contract.document import wrong_frame

pytestmark = pytest.mark.django_db


def _below(event: type[ProjectEvent]) -> Iterator[type[ProjectEvent]]:
    for each in event.__subclasses__():
        yield each
        yield from _below(each)


def test_every_event_is_described_and_nothing_else_is() -> None:
    types = {each.type for each in _below(ProjectEvent) if "type" in vars(each)}
    assert collected.events().keys() == types


def test_it_is_a_json_schema() -> None:
    jsonschema_rs.meta.validate(sockets.document())


def test_everything_that_happens_in_a_project_is_told_as_described(
    api: Any, project: Project, alice: User, charlie: User
) -> None:
    client: Api = api(alice)
    url = f"/api/projects/{project.pk}"
    client.patch(url, {"name": "Renamed"})
    member = client.post(f"{url}/members", {"email": charlie.email})["userId"]
    client.patch(f"{url}/members/{member}", {"role": "admin"})
    client.delete(f"{url}/members/{member}")
    client.post(f"{url}/members", {"email": "guest@example.org"})
    client.delete(f"{url}/invitations/guest@example.org")
    board = client.post(f"{url}/boards", {"name": "Second"})["id"]
    client.patch(f"{url}/boards/{board}", {"name": "Other"})
    client.patch(f"{url}/boards/reorder", {"ids": [board]})
    column = client.post(
        f"{url}/columns", {"name": "Ideas", "columnType": "backlog", "boardId": board}
    )["id"]
    client.patch(f"{url}/columns/{column}", {"name": "Thoughts"})
    client.patch(f"{url}/columns/reorder", {"ids": [column]})
    card = client.post(f"{url}/cards", {"title": "Roses", "columnId": column})["id"]
    other = client.post(f"{url}/cards", {"title": "Tulips", "blockedBy": [card], "start": True})
    client.patch(f"{url}/cards/{card}", {"labels": ["red"], "prompt": "Many."})
    client.patch(f"{url}/cards/{card}/move", {"columnId": other["columnId"], "position": 0})
    client.delete(f"{url}/cards/{card}?force=true")
    client.delete(f"{url}/columns/{column}")
    client.delete(f"{url}/boards/{board}")
    script = client.post(f"{url}/scripts", {"name": "test", "command": "true"})["id"]
    client.put(f"{url}/scripts/{script}", {"name": "tests"})
    second = client.post(f"{url}/scripts", {"name": "lint", "command": "true"})["id"]
    client.put(f"{url}/scripts/reorder", {"ids": [second]})
    client.post(f"{url}/scripts/{script}/run", status=200)
    client.post(f"{url}/scripts/{script}/cancel", status=200)
    client.delete(f"{url}/scripts/{script}")
    _work(project, alice)
    client.delete(url)

    told = [
        {"type": each.type, "seq": each.seq, "data": json.loads(each.data)}
        for each in StoredEvent.objects.filter(stream=project.pk)
    ]
    assert [(each, wrong) for each in told if (wrong := wrong_frame(each))] == []
    assert collected.events().keys() - {each["type"] for each in told} == set()


def _work(project: Project, alice: User) -> None:
    """An agent's session that asks, and is answered."""
    session = factories.make_session(factories.make_card(project), state="running")
    changed(session, noted=True)
    request = factories.make_request(session)
    request.state = AgentRequest.State.ANSWERED
    request.answered_by = alice
    request.answer = {"optionId": "yes", "granted": True, "text": None}
    request.save()
    requests.delivered(request)


async def _activity(told: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(telling, "tell_project", lambda *given: told.append(given[-1]))
    Activity(project_id=1, card_id=1, session_id=1).now("tool", "bash")


async def test_what_only_passes_by_is_as_described(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    await _activity(told, monkeypatch)
    position = Position("3f2a", 4)
    told += [
        frames.project_frame("subscribed", 1, position),
        frames.project_frame("resync", 1, position),
        frames.lines_frame("subscribed", Session(1), -1, 0),
        frames.lines_frame("resync", Run(1), 4, 7),
        frames.error("invalid", "No."),
        frames.error("not_found", "No.", ProjectTopic(1)),
        output_frame(
            1, index=0, rev=1, content="x", truncated=False, created_at=datetime.now(tz=UTC)
        ),
        line_frame(1, 1, 0, 1, Line(0, role="assistant", type="text", content="Hello")),
    ]
    assert [(each, wrong) for each in told if (wrong := wrong_frame(json.loads(each)))] == []


def test_messages_and_what_was_read_are_as_described(
    project: Project,
    bob: User,
    monkeypatch: pytest.MonkeyPatch,
    django_capture_on_commit_callbacks: Any,
) -> None:
    told: list[str] = []
    monkeypatch.setattr(telling, "tell_user", lambda *given: told.append(given[-1]))
    card = factories.make_card(project)
    session = factories.make_session(card)
    cards.set_agent_status(card.pk, "completed", noted=True)
    with django_capture_on_commit_callbacks(execute=True):
        cards.mark_viewed(card, user_id=bob.pk)
        cards.mark_all_viewed(project.pk, user_id=bob.pk)
    assert told
    told.append(message_frame(factories.make_message(session)))
    assert [(each, wrong) for each in told if (wrong := wrong_frame(json.loads(each)))] == []


GOOD = [
    {"type": "auth", "payload": {"token": "x"}},
    {"type": "subscribe", "payload": {"projectId": "proj_001", "since": "3f2a:17"}},
    {"type": "subscribe", "payload": {"projectId": 1, "since": 0}},
    {"type": "subscribe", "payload": {"sessionId": "sess_001", "after": -1}},
    {"type": "subscribe", "payload": {"runId": "1", "afterRev": 3}},
    {"type": "unsubscribe", "payload": {"runId": "run_001"}},
]
BAD: list[dict[str, Any]] = [
    {"type": "subscribe"},
    {"type": "subscribe", "payload": {}},
    {"type": "subscribe", "payload": {"projectId": "card_001"}},
    {"type": "subscribe", "payload": {"projectId": 1, "since": -1}},
    {"type": "subscribe", "payload": {"sessionId": 1, "after": -2}},
    {"type": "subscribe", "payload": {"projectId": 1, "sessionId": 1}},
]


@pytest.mark.parametrize("message", GOOD, ids=json.dumps)
def test_what_the_schema_takes_the_server_takes(message: dict[str, Any]) -> None:
    assert wrong_frame(message, "received") == []
    frames.parse(json.dumps(message))


@pytest.mark.parametrize("message", BAD, ids=json.dumps)
def test_what_the_schema_refuses_the_server_refuses(message: dict[str, Any]) -> None:
    assert wrong_frame(message, "received") != []
    with pytest.raises(Refused):
        frames.parse(json.dumps(message))
