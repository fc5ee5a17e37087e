"""Scripts as people set them up; how they run is tested in tests/process/test_scripts.py."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from apps.accounts.models import User
from apps.events.models import StoredEvent
from apps.projects.models import Project
from apps.runs.models import Worker
from apps.scripts import services
from tests import factories
from tests.client import Api

pytestmark = [pytest.mark.django_db, pytest.mark.both_databases]


@pytest.fixture
def url(project: Project) -> str:
    return f"/api/projects/{project.pk}/scripts"


@pytest.fixture
def three(api: Any, url: str, bob: User) -> list[str]:
    client = api(bob)
    bodies = [{"name": name, "command": f"make {name}"} for name in ("build", "test", "deploy")]
    return [client.post(url, body)["id"] for body in bodies]


def order(client: Api, url: str) -> list[tuple[str, int]]:
    return [(each["name"], each["position"]) for each in client.get(url)]


def events(project: Project) -> list[tuple[str, Any]]:
    rows = StoredEvent.objects.filter(stream=project.pk, type__startswith="script.")
    return [(row.type, json.loads(row.data)) for row in rows.order_by("seq")]


def test_a_member_makes_changes_and_deletes_scripts(
    api: Any, project: Project, url: str, bob: User
) -> None:
    client = api(bob)
    made = client.post(url, {"name": " Test ", "command": "make test", "else": 1})
    assert made["id"].startswith("script_")
    expected = {"name": "Test", "command": "make test", "position": 0}
    assert expected.items() <= made.items()
    assert client.get(url) == [made]
    changed = client.put(f"{url}/{made['id']}", {"command": "make check"})
    assert (changed["name"], changed["command"]) == ("Test", "make check")
    assert client.put(f"{url}/{made['id']}", {})["command"] == "make check"
    client.delete(f"{url}/{made['id']}")
    assert client.get(url) == []
    client.delete(f"{url}/{made['id']}", 404)
    kinds = [kind for kind, _ in events(project)]
    assert kinds == ["script.created", "script.updated", "script.deleted"]
    assert events(project)[1][1] == changed
    by = StoredEvent.objects.filter(stream=project.pk, type="script.updated").values_list(
        "actor_id", flat=True
    )
    assert list(by) == [bob.pk]


def test_what_is_behind_a_deleted_script_moves_up(
    api: Any, url: str, three: list[str], bob: User
) -> None:
    api(bob).delete(f"{url}/{three[0]}")
    assert order(api(bob), url) == [("test", 0), ("deploy", 1)]
    assert api(bob).post(url, {"name": "lint", "command": "ruff"})["position"] == 2


def test_listed_scripts_come_first_and_the_others_stay_behind_them(
    api: Any, project: Project, url: str, three: list[str], bob: User
) -> None:
    client = api(bob)
    answered = client.put(f"{url}/reorder", {"ids": [three[2]]})
    assert [each["name"] for each in answered] == ["deploy", "build", "test"]
    assert client.get(url) == answered
    kind, data = events(project)[-1]
    assert kind == "script.reordered"
    assert data["ids"] == [each["id"] for each in answered]
    before = len(events(project))
    client.put(f"{url}/reorder", {"ids": [three[2], three[0]]})
    client.put(f"{url}/reorder", {"ids": []})
    assert len(events(project)) == before


def test_an_order_with_strangers_or_repetitions_is_a_400(
    api: Any, project: Project, url: str, three: list[str], alice: User
) -> None:
    client = api(alice)
    other = factories.make_project(alice, name="Other")
    foreign = services.create_script(other.pk, name="x", command="true", by=alice.pk)
    for ids in (
        [three[0], "script_999999"],
        [three[0], foreign.pk],
        [three[0], three[1], three[0]],
        ["board_001"],
        [None],
        [{}],
        "script_001",
        None,
    ):
        assert "ids" in client.request("PUT", f"{url}/reorder", {"ids": ids}, 400)["message"]
    client.request("PUT", f"{url}/reorder", {}, 400)
    client.request("PATCH", f"{url}/reorder", {"ids": []}, 405)
    assert order(client, url) == [("build", 0), ("test", 1), ("deploy", 2)]


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"name": "x"},
        {"command": "true"},
        {"name": " ", "command": "true"},
        {"name": "x", "command": " \n"},
        {"name": None, "command": "true"},
        {"name": "x", "command": 5},
        {"name": "x" * 201, "command": "true"},
        {"name": "x", "command": "x" * 30_001},
        {"name": "x", "command": "echo \0"},
        [],
        b"{",
    ],
)
def test_a_script_that_makes_no_sense_is_a_400(api: Any, url: str, bob: User, body: Any) -> None:
    assert api(bob).post(url, body, 400)["message"]
    assert api(bob).get(url) == []


@pytest.mark.parametrize("body", [{"name": ""}, {"command": None}, {"command": ["ls"]}])
def test_a_change_that_makes_no_sense_is_a_400(
    api: Any, url: str, three: list[str], bob: User, body: Any
) -> None:
    api(bob).put(f"{url}/{three[0]}", body, 400)


def test_a_script_of_another_project_is_a_404(
    api: Any, url: str, three: list[str], alice: User
) -> None:
    other = factories.make_project(alice, name="Other")
    elsewhere = f"/api/projects/{other.pk}/scripts/{three[0]}"
    api(alice).put(elsewhere, {"name": "mine"}, 404)
    api(alice).delete(elsewhere, 404)
    assert len(api(alice).get(url)) == 3


def test_the_list_is_sent_again_only_when_it_has_changed(
    api: Any, url: str, three: list[str], bob: User
) -> None:
    client = api(bob)
    client.get(url)
    tag = client.response["ETag"]
    client.get(url, 304, If_None_Match=tag)
    client.put(f"{url}/{three[0]}", {"name": "other"})
    client.get(url, 200, If_None_Match=tag)


def test_a_project_has_a_limit_of_scripts(
    api: Any, project: Project, url: str, bob: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(services, "MOST_SCRIPTS", 1)
    api(bob).post(url, {"name": "one", "command": "true"})
    refused = api(bob).post(url, {"name": "two", "command": "true"}, 409)
    assert refused["code"] == "too_many_scripts"


def test_the_status_of_many_scripts_costs_as_much_as_of_one_and_is_sent_once(
    api: Any, project: Project, url: str, three: list[str], bob: User
) -> None:
    client = api(bob)

    def queries(count: int) -> int:
        client.get(f"{url}/status")
        with CaptureQueriesContext(connection) as captured:
            assert len(client.get(f"{url}/status")) == count
        return len(captured)

    Worker.objects.create(id="alive", host_id="here", pid=1)
    client.post(f"{url}/{three[0]}/run", status=200)
    before = queries(3)
    for number in range(20):
        script = factories.make_script(project, name=str(number))
        client.post(f"{url}/{script.pk}/run", status=200)
    assert queries(23) == before
    tag = client.response["ETag"]
    client.get(f"{url}/status", 304, If_None_Match=tag)
    client.post(f"{url}/{three[0]}/cancel", status=200)
    client.get(f"{url}/status", 200, If_None_Match=tag)


def test_runs_are_told_with_who_started_and_cancelled_them(
    api: Any, project: Project, url: str, three: list[str], alice: User, bob: User
) -> None:
    started = api(bob).post(f"{url}/{three[0]}/run", b"", status=200)
    assert started["startedBy"] == f"user_{bob.pk:03d}"
    refused = api(alice).post(f"{url}/{three[0]}/run", status=409)
    assert refused["code"] == "already_running"
    ended = api(alice).post(f"{url}/{three[0]}/cancel", {}, status=200)
    assert (ended["status"], ended["exitCode"], ended["output"]) == ("cancelled", None, "")
    assert ended["finishedAt"]
    refused = api(alice).post(f"{url}/{three[0]}/cancel", status=409)
    assert refused["code"] == "not_running"
    told = [data for kind, data in events(project) if kind == "script.status"]
    by = StoredEvent.objects.filter(stream=project.pk, type="script.status").order_by("seq")
    assert list(by.values_list("actor_id", flat=True)) == [bob.pk, alice.pk]
    assert [each["status"] for each in told] == ["running", "cancelled"]
    assert told[1] == {
        **{name: value for name, value in ended.items() if name != "output"},
        "projectId": f"proj_{project.pk:03d}",
    }
