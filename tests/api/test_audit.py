"""The list of what happened in a project."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from django.conf import settings
from django.core.management import call_command

from apps.accounts.models import User
from apps.events.models import EventStream, StoredEvent
from apps.events.replay import renew_epoch
from apps.projects.models import Project
from tests import factories
from tests.client import Api

pytestmark = [pytest.mark.django_db, pytest.mark.both_databases]


def _path(project: Project, **query: Any) -> str:
    rest = "&".join(f"{name}={value}" for name, value in query.items())
    return f"/api/projects/{project.pk}/events?{rest}"


def _cards(client: Api, project: Project, count: int) -> None:
    for number in range(count):
        client.post(f"/api/projects/{project.pk}/cards", {"title": f"Card {number}"})


def test_it_says_who_did_what_and_when_in_the_order_of_events(
    api: Any, alice: User, bob: User, project: Project
) -> None:
    card = api(alice).post(f"/api/projects/{project.pk}/cards", {"title": "Rake"})
    path = f"/api/projects/{project.pk}/cards/{card['id']}"
    api(bob).patch(path, {"title": "Rake leaves"})
    api(bob).delete(path)
    found = api(bob).get(_path(project))
    assert [(each["type"], each["actor"]["displayName"]) for each in found[-3:]] == [
        ("card.created", "Alice"),
        ("card.updated", "Bob"),
        ("card.deleted", "Bob"),
    ]
    assert found[-2]["data"]["title"] == "Rake leaves"
    assert found[-1]["actor"]["id"] == f"user_{bob.pk:03d}"
    assert found[-1]["createdAt"].endswith("Z")
    assert [each["seq"] for each in found] == list(range(1, len(found) + 1))
    stream = EventStream.objects.get(pk=project.pk)
    assert {each["epoch"] for each in found} == {stream.epoch}
    rows = StoredEvent.objects.filter(stream=stream).order_by("seq")
    assert [json.loads(row.data) for row in rows] == [each["data"] for each in found]


def test_an_event_has_the_microseconds_of_its_time(api: Any, alice: User, project: Project) -> None:
    _cards(api(alice), project, 5)
    times = [each["createdAt"] for each in api(alice).get(_path(project))]
    assert times == sorted(times)
    assert any(not each.endswith(".000000Z") for each in times)


def test_what_the_server_did_has_no_actor(api: Any, alice: User, project: Project) -> None:
    factories.make_card(project, by=None)
    assert api(alice).get(_path(project, limit=1))[0]["actor"] is None


def test_since_gives_the_next_ones_and_nothing_the_latest(
    api: Any, alice: User, project: Project
) -> None:
    client = api(alice)
    _cards(client, project, 7)
    assert [each["seq"] for each in client.get(_path(project, limit=2))] == [6, 7]
    assert [each["seq"] for each in client.get(_path(project, since=0, limit=3))] == [1, 2, 3]
    seen: list[int] = []
    since = "0"
    while page := client.get(_path(project, since=since, limit=3)):
        seen += [each["seq"] for each in page]
        since = f"{page[-1]['epoch']}:{page[-1]['seq']}"
    assert seen == [1, 2, 3, 4, 5, 6, 7]


@pytest.mark.parametrize(
    ("limit", "count"), [("", 7), ("0", 1), ("-5", 1), ("3", 3), ("999999", 7), ("9" * 40, 7)]
)
def test_a_limit_out_of_range_is_brought_into_it(
    api: Any, alice: User, project: Project, limit: str, count: int
) -> None:
    _cards(api(alice), project, 7)
    assert len(api(alice).get(_path(project, limit=limit))) == count


@pytest.mark.parametrize(
    "query",
    [
        {"limit": "many"},
        {"limit": "1.5"},
        {"since": "-1"},
        {"since": "yesterday"},
        {"since": "a:b"},
    ],
)
def test_what_is_no_number_is_refused_by_its_name(
    api: Any, alice: User, project: Project, query: dict[str, str]
) -> None:
    error = api(alice).get(_path(project, **query), 400)
    assert next(iter(query)) in error["message"]


def test_another_epoch_and_a_seq_that_never_was_must_begin_anew(
    api: Any, alice: User, project: Project
) -> None:
    client = api(alice)
    _cards(client, project, 2)
    last = client.get(_path(project))[-1]
    assert client.get(_path(project, since=f"{last['epoch']}:2")) == []
    error = client.get(_path(project, since=3), 409)
    assert error["code"] == "resync"
    assert error["details"] == {"epoch": last["epoch"], "seq": 2}
    renew_epoch(project.pk, last["epoch"])
    error = client.get(_path(project, since=f"{last['epoch']}:2"), 409)
    assert error["details"]["seq"] == 2
    assert client.get(_path(project, since=f"{error['details']['epoch']}:2")) == []


def test_after_a_copy_was_put_back_as_documented_no_lost_past_is_gone_on_from(
    api: Any, alice: User, project: Project
) -> None:
    client = api(alice)
    _cards(client, project, 2)
    kept = client.get(_path(project))[-1]
    EventStream.objects.update(version=1)
    StoredEvent.objects.filter(seq=2).delete()
    documented = (settings.BASE_DIR / "docs" / "reliability.md").read_text()
    (line,) = re.findall(r'manage\.py shell -c "(.*)"$', documented, re.MULTILINE)
    call_command("shell", command=line)
    _cards(client, project, 3)
    error = client.get(_path(project, since=f"{kept['epoch']}:{kept['seq']}"), 409)
    assert error["code"] == "resync"


def test_only_who_reaches_the_project_sees_it(
    api: Any, alice: User, charlie: User, project: Project
) -> None:
    _cards(api(alice), project, 1)
    api(charlie).get(_path(project), 404)
    Api().get(_path(project), 401)
    other = factories.make_project(alice, name="Other")
    _cards(api(alice), other, 1)
    token = Api(factories.make_token(alice, "read", project_id=project.pk))
    assert len(token.get(_path(project))) == 1
    token.get(_path(other), 404)


def test_a_page_of_long_events_ends_before_it_has_too_many_bytes(
    api: Any, alice: User, project: Project
) -> None:
    """Whoever goes on until nothing more comes has them all."""
    client = api(alice)
    columns = f"/api/projects/{project.pk}/columns"
    column = client.get(columns)[0]["id"]
    for number in range(30):
        body = {"prompt": f"{number}" + ("ü" if number % 2 else "x") * 99_000}
        client.patch(f"{columns}/{column}", body)
    everything = list(range(1, EventStream.objects.get(pk=project.pk).version + 1))
    latest = client.get(_path(project, limit=1000))
    assert len(client.response.content) < 2_500_000
    assert [each["seq"] for each in latest] == everything[-len(latest) :]
    seen: list[int] = []
    while page := client.get(_path(project, since=seen[-1] if seen else 0, limit=1000)):
        assert len(client.response.content) < 2_500_000
        seen += [each["seq"] for each in page]
    assert seen == everything


def test_an_event_that_is_too_long_by_itself_comes_alone(
    api: Any, alice: User, project: Project
) -> None:
    _cards(api(alice), project, 3)
    StoredEvent.objects.filter(stream_id=project.pk, seq__lte=2).update(
        data=json.dumps({"long": "x" * 3_000_000})
    )
    for since in (0, 1, 2):
        assert [each["seq"] for each in api(alice).get(_path(project, since=since))] == [since + 1]


def test_an_unchanged_list_is_a_304(api: Any, alice: User, project: Project) -> None:
    client = api(alice)
    _cards(client, project, 2)
    client.get(_path(project))
    etag = client.response["ETag"]
    client.get(_path(project), 304, If_None_Match=etag)
    _cards(client, project, 1)
    client.get(_path(project), 200, If_None_Match=etag)


def test_programs_are_not_told_the_email_addresses_of_members(
    api: Any, alice: User, bob: User, project: Project
) -> None:
    members = f"/api/projects/{project.pk}/members"
    api(alice).post(members, {"email": "guest@example.org"})
    api(alice).patch(f"{members}/{bob.pk}", {"role": "admin"})
    api(alice).delete(f"{members}/{bob.pk}")
    seen = api(alice).get(_path(project))[-3:]
    assert [each["data"]["email"] for each in seen] == ["guest@example.org", bob.email, bob.email]
    for token in (
        factories.make_token(alice, "read"),
        factories.make_token(alice, project_id=project.pk),
    ):
        bot = api(token)
        found = bot.get(_path(project))[-3:]
        assert found == [{**each, "data": {**each["data"], "email": None}} for each in seen]
        assert b"@example" not in bot.response.content
