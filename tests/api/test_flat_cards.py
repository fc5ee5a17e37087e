from __future__ import annotations

import threading
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from apps.accounts.models import User
from apps.cards import services
from apps.cards.models import Card
from apps.projects.models import Project
from apps.runs import leases
from apps.runs.models import Worker
from tests import factories
from tests.client import Api

pytestmark = pytest.mark.django_db

URL = "/api/cards"


def test_a_program_makes_a_card_and_looks_at_it(api: Any, project: Project, bob: User) -> None:
    body = {"projectId": f"proj_{project.pk:03d}", "title": "Fix", "prompt": "Do it."}
    made = api(bob).post(URL, body)
    assert made == {**made, "title": "Fix", "projectId": body["projectId"], "position": 0}
    found = api(bob).get(f"{URL}/{made['id']}")
    assert (found["columnName"], found["sessions"], found["prompt"]) == ("Backlog", [], "Do it.")
    assert found == {**made, "columnName": "Backlog", "sessions": []}
    status = api(bob).get(f"{URL}/{made['id']}/status")
    assert status == {
        **status,
        "id": made["id"],
        "title": "Fix",
        "columnName": "Backlog",
        "hasActiveAgent": False,
        "agentStatus": None,
        "waitingFor": None,
    }
    assert status["url"].endswith(f"/projects/{body['projectId']}/cards/{made['id']}")


def test_a_project_that_is_nobodys_or_anothers_is_named_by_its_field(
    api: Any, project: Project, charlie: User
) -> None:
    for each in (project.pk, 999_999):
        error = api(charlie).post(URL, {"projectId": each, "title": "x"}, 404)
        assert error["message"] == "projectId: there is no such project that you may see."


def test_a_card_is_made_with_its_permission_mode(api: Any, project: Project, bob: User) -> None:
    body = {"projectId": project.pk, "title": "Careful", "permissionMode": "plan"}
    for url in (URL, f"/api/projects/{project.pk}/cards"):
        assert api(bob).post(url, body)["permissionMode"] == "plan"
        api(bob).post(url, {**body, "permissionMode": "never"}, 400)


def test_the_same_external_id_is_the_same_card(
    api: Any, project: Project, alice: User, bob: User
) -> None:
    body = {"projectId": project.pk, "title": "Once", "externalId": "ci-1"}
    first = api(bob).post(URL, body)
    again = api(bob).post(URL, {**body, "title": "Twice", "columnName": "Gone"}, 200)
    assert again == first
    assert api(bob).post(f"/api/projects/{project.pk}/cards", body, 200) == first
    other = factories.make_project(alice, name="Other")
    assert api(alice).post(URL, {**body, "projectId": other.pk})["id"] != first["id"]


def test_a_card_lands_where_it_is_told(api: Any, project: Project, alice: User) -> None:
    done, active = factories.column(project, "done"), factories.column(project, "active")
    board = api(alice).post(f"/api/projects/{project.pk}/boards", {"name": "Other"})

    def landing(**where: Any) -> tuple[str, str]:
        made = api(alice).post(URL, {"projectId": project.pk, "title": "x", **where})
        return made["boardId"], made["columnId"]

    first = f"board_{factories.first_board(project).pk:03d}"
    assert landing(columnId=done.pk) == (first, f"col_{done.pk:03d}")
    assert landing(columnName="Done") == (first, f"col_{done.pk:03d}")
    assert landing(boardId=board["id"])[0] == board["id"]
    assert landing(boardId=board["id"], columnName="Done")[0] == board["id"]
    assert landing(start=True, defer=True) == (first, f"col_{active.pk:03d}")
    assert landing(start=True, defer=True, columnName="Done") == (first, f"col_{active.pk:03d}")
    assert landing(start=True, defer=True, boardId=board["id"])[0] == board["id"]


def test_a_place_that_is_not_there_is_a_404(api: Any, project: Project, alice: User) -> None:
    other = factories.make_project(alice, name="Other")
    board, column = factories.first_board(other), factories.column(other)
    for where in (
        {"boardId": board.pk},
        {"columnId": column.pk},
        {"columnName": "Nowhere"},
        {"boardId": factories.first_board(project).pk, "columnId": column.pk},
    ):
        api(alice).post(URL, {"projectId": project.pk, "title": "x", **where}, 404)
    both = {"columnId": factories.column(project).pk, "columnName": "Backlog"}
    api(alice).post(URL, {"projectId": project.pk, "title": "x", **both}, 400)
    assert not Card.objects.exists()


def test_starting_on_a_board_without_an_active_column_is_a_conflict(
    api: Any, project: Project, alice: User
) -> None:
    active = factories.column(project, "active")
    api(alice).delete(f"/api/projects/{project.pk}/columns/{active.pk}")
    body = {"projectId": project.pk, "title": "x", "start": True}
    assert api(alice).post(URL, body, 409)["code"] == "no_active_column"


def test_outsiders_reach_nothing(api: Any, project: Project, charlie: User) -> None:
    card = factories.make_card(project)
    for client, status in ((api(charlie), 404), (api(None), 401)):
        client.post(URL, {"projectId": project.pk, "title": "x"}, status)
        client.get(f"{URL}/{card.pk}", status)
        client.get(f"{URL}/{card.pk}/status", status)
        client.get(f"{URL}/{card.pk}/status?wait=60", status)


@pytest.mark.parametrize(
    "change",
    [
        {"projectId": None},
        {"projectId": "card_001"},
        {"projectId": "9" * 20},
        {"projectId": 1.5},
        {"title": ""},
        {"title": 7},
        {"title": "\0"},
        {"title": "\ud800"},
        {"prompt": 1},
        {"prompt": "x" * 100_001},
        {"labels": "a"},
        {"start": "true"},
        {"defer": 1},
        {"autoMode": None},
        {"externalId": 5},
        {"externalId": "x" * 201},
        {"externalId": ""},
        {"columnId": "9" * 20},
        {"boardId": []},
        {"columnName": {}},
    ],
)
def test_a_card_that_makes_no_sense_is_refused(
    api: Any, project: Project, bob: User, change: Any
) -> None:
    body = {"projectId": project.pk, "title": "x", **change}
    assert api(bob).post(URL, body, 400)["code"] == "invalid"
    assert not Card.objects.exists()


def test_an_unchanged_status_is_not_sent_again(api: Any, project: Project, bob: User) -> None:
    card = factories.make_card(project)
    for path, status in ((f"{URL}/{card.pk}", "running"), (f"{URL}/{card.pk}/status", "completed")):
        client = api(bob)
        client.get(path)
        etag = client.response["ETag"]
        client.get(path, 304, If_None_Match=etag)
        services.set_agent_status(card.pk, status, noted=False)
        client.get(path, 200, If_None_Match=etag)


def test_a_wait_that_makes_no_sense_is_refused(api: Any, project: Project, bob: User) -> None:
    card = factories.make_card(project)
    for wrong in ("-1", "x", "1.5"):
        api(bob).get(f"{URL}/{card.pk}/status?wait={wrong}&known=x", 400)


@pytest.mark.django_db(transaction=True)
@pytest.mark.both_databases
def test_one_card_comes_of_many_calls_with_one_external_id(project: Project, bob: User) -> None:
    body = {"projectId": project.pk, "title": "Once", "externalId": "ci-1"}
    answers: list[tuple[int, str]] = []

    def create() -> None:
        client = Api(bob)
        made = client.request("POST", URL, body, status=None)
        answers.append((client.response.status_code, made["id"]))
        connection.close()

    threads = [threading.Thread(target=create) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(status for status, _ in answers) == [200] * 7 + [201]
    assert len({wire for _, wire in answers}) == 1
    assert Card.objects.count() == 1


def test_a_card_that_no_worker_takes_up_says_so(
    api: Any, project: Project, bob: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases, "_started", float("-inf"))
    worker = Worker.objects.create(id="w1", host_id="h1", pid=1)
    card = factories.make_card(project)
    session = factories.make_session(card, state="queued")
    Card.objects.filter(pk=card.pk).update(agent_status="queued")
    client, url = api(bob), f"{URL}/{card.pk}"
    status = client.get(f"{url}/status")
    assert (status["queueReason"], status["statusText"]) == (None, "Starts within seconds.")
    tag = {"If_None_Match": client.response["ETag"]}
    client.get(f"{url}/status", 304, **tag)
    Worker.objects.filter(pk=worker.pk).update(beat_at=timezone.now() - timedelta(minutes=1))
    status = client.get(f"{url}/status", **tag)
    assert status["queueReason"] == "no_worker"
    assert status["statusText"].startswith("No worker is running")
    [shown] = client.get(url)["sessions"]
    assert (shown["queueReason"], shown["statusText"]) == ("no_worker", status["statusText"])
    session.refresh_from_db()
    assert session.queue_reason is None
