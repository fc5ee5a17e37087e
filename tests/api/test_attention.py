"""What waits for a person, and how they hear of it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from apps.accounts import preferences
from apps.accounts.models import User
from apps.agents import answering, requests, sessions
from apps.agents.events import RequestChanged
from apps.agents.models import AgentRequest, AgentSession
from apps.cards import services
from apps.cards.models import Card
from apps.events import bus, telling
from apps.projects import services as projects
from apps.projects.models import Project
from tests import factories
from tests.client import Api

pytestmark = [pytest.mark.django_db, pytest.mark.both_databases]

Told = list[tuple[set[int], dict[str, Any]]]


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Told:
    """Who was told what, as it goes out after each commit."""
    found: Told = []

    def tell(user_ids: list[int], frame: str) -> None:
        message = json.loads(frame)
        if message["type"] == "notification":
            found.append((set(user_ids), message["data"]))

    monkeypatch.setattr(telling, "tell_users", tell)
    return found


def _ended(card: Card, state: str = "failed", **fields: Any) -> AgentSession:
    """The card's agent works, and ends like that."""
    approval = fields.pop("pending_approval", None)
    session = factories.make_session(card, state="running", **fields)
    _with_state(session, state, pending_approval=approval)
    return session


@bus.atomically
def _with_state(session: AgentSession, state: str, **more: Any) -> None:
    bus.lock(session.project_id)
    session.state = state
    session.save()
    sessions.changed(session, **more)


@bus.atomically
def _asks(card: Card, **fields: Any) -> AgentRequest:
    bus.lock(card.project_id)
    session = factories.make_session(card, state="waiting")
    request = factories.make_request(session, title="May I prune?", **fields)
    session.waiting_for = requests.waiting_for(request)
    session.save()
    bus.publish(RequestChanged(project_id=card.project_id, request=request))
    return request


def _deferred(project: Project, **fields: Any) -> Card:
    active = factories.column(project, "active")
    return factories.make_card(project, column=active, defer=True, **fields)


def _kinds(client: Api) -> list[str]:
    return [each["kind"] for each in client.get("/api/attention")]


def test_all_that_waits_for_a_person_is_listed_newest_first_and_nothing_else(
    api: Any, alice: User, project: Project
) -> None:
    client = api(alice)
    factories.make_card(project, title="Nothing to do")
    _ended(factories.make_card(project, title="Went well"), "completed")
    assert _kinds(client) == []
    _deferred(project, title="Put off")
    _asks(factories.make_card(project, title="Asks"))
    _ended(factories.make_card(project, title="Failed"))
    _ended(factories.make_card(project, title="Done"), "completed", pending_approval=True)
    found = client.get("/api/attention")
    assert [(each["kind"], each["cardTitle"]) for each in found] == [
        ("approval", "Done"),
        ("failed", "Failed"),
        ("request", "Asks"),
        ("deferred", "Put off"),
    ]
    assert len({each["id"] for each in found}) == 4
    times = [each["createdAt"] for each in found]
    assert times == sorted(times, reverse=True)


def test_each_has_what_it_takes_to_answer_it_in_place(
    api: Any, alice: User, project: Project
) -> None:
    client = api(alice)
    active = factories.column(project, "active")
    card = factories.make_card(project, title="Prune")
    asked = _asks(card)
    (found,) = client.get("/api/attention")
    assert (found["projectName"], found["columnName"]) == (project.name, card.column.name)
    assert found["request"]["options"] == asked.options
    path = f"/api/projects/{found['projectId']}/cards/{found['cardId']}"
    answer = {"optionId": found["request"]["options"][0]["optionId"]}
    client.post(f"{path}/agent/requests/{found['request']['id']}/answer", answer, 200)
    assert _kinds(client) == []

    card = _deferred(project)
    (found,) = client.get("/api/attention")
    assert found["deferredReason"].keys() == {"code", "message"}
    assert found["deferredReason"]["message"]
    done = factories.column(project, "done")
    services.move_card(card, to=done, by=alice.pk)
    assert _kinds(client) == []

    card = factories.make_card(project, column=active, defer=True)
    services.move_card(card, to=active, by=alice.pk)
    _ended(card, error_code="agent_failed", error_message="It fell off the ladder.")
    Card.objects.filter(pk=card.pk).update(deferred_code=None)
    services.update_card(card, by=alice.pk, title="Fallen")
    (found,) = client.get("/api/attention")
    assert found["kind"] == "failed"
    assert found["session"]["error"]["message"] == "It fell off the ladder."
    services.complete_card(card, by=alice.pk)
    assert _kinds(client) == []

    card = factories.make_card(project)
    _ended(card, "completed", pending_approval=True)
    (found,) = client.get("/api/attention")
    assert found["nextColumn"]["id"] == f"col_{active.pk:03d}"
    client.post(
        f"/api/projects/{found['projectId']}/cards/{found['cardId']}/approve-auto", status=204
    )
    assert "approval" not in _kinds(client)


def test_everybody_sees_what_waits_in_the_projects_they_reach(
    api: Any, alice: User, bob: User, charlie: User, root: User, project: Project
) -> None:
    other = factories.make_project(charlie, name="Other")
    _deferred(project, title="Mine")
    _asks(factories.make_card(other, title="Theirs"))
    for person, titles in (
        (alice, ["Mine"]),
        (bob, ["Mine"]),
        (charlie, ["Theirs"]),
        (root, ["Theirs", "Mine"]),
    ):
        found = api(person).get("/api/attention")
        assert [each["cardTitle"] for each in found] == titles
    token = Api(factories.make_token(root, "read", project_id=other.pk))
    assert [each["cardTitle"] for each in token.get("/api/attention")] == ["Theirs"]
    Api().get("/api/attention", 401)


def test_an_unchanged_list_is_a_304(api: Any, alice: User, project: Project) -> None:
    client = api(alice)
    client.get("/api/attention")
    etag = client.response["ETag"]
    client.get("/api/attention", 304, If_None_Match=etag)
    _deferred(project)
    client.get("/api/attention", 200, If_None_Match=etag)


@pytest.mark.django_db(transaction=True)
class TestTelling:
    """Each transaction is committed, so that what follows it is told."""

    def test_who_reaches_the_project_hears_of_what_begins_and_ceases_to_wait(
        self,
        api: Any,
        alice: User,
        bob: User,
        charlie: User,
        root: User,
        project: Project,
        told: Told,
    ) -> None:
        everybody = {alice.pk, bob.pk, root.pk}
        request = _asks(factories.make_card(project))
        card = factories.make_card(project)
        session = _ended(card)
        assert [people for people, _ in told] == [everybody, everybody]
        listed = api(bob).get("/api/attention")
        assert [data["added"] for _, data in told] == [[listed[1]], [listed[0]]]
        assert {data["projectId"] for _, data in told} == {f"proj_{project.pk:03d}"}
        told.clear()
        _with_state(session, "running")
        answering.answer(request.session.card, request.pk, {"option_id": "yes"}, by=bob)
        assert [data["removed"] for _, data in told] == [[listed[0]["id"]], [listed[1]["id"]]]
        assert api(bob).get("/api/attention") == []

    def test_it_is_told_once_and_not_of_what_was_undone(
        self, alice: User, project: Project, told: Told
    ) -> None:
        card = _deferred(project)
        assert len(told) == 1
        services.update_card(card, by=alice.pk, title="Another name")
        services.set_auto_mode(card, enabled=True, by=alice.pk)
        assert len(told) == 1

        @bus.atomically
        def undone() -> None:
            services.complete_card(card, by=alice.pk)
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            undone()
        assert len(told) == 1

    def test_people_are_told_what_they_want_to_be_told(
        self, alice: User, bob: User, project: Project, told: Told
    ) -> None:
        preferences.merge_notifications(alice, {"agent_failed": False})
        preferences.merge_notifications(bob, {"agent_waiting": False})
        _ended(factories.make_card(project))
        _deferred(project)
        assert [people for people, _ in told] == [{bob.pk}, {alice.pk}]
        told.clear()
        preferences.merge_notifications(alice, {"enabled": False})
        _deferred(project)
        assert told == []

    @pytest.mark.parametrize("what", ["card", "column", "board", "project"])
    def test_what_waited_ceases_to_wait_when_it_is_deleted(
        self, api: Any, alice: User, bob: User, project: Project, told: Told, what: str
    ) -> None:
        card = factories.make_card(project)
        request = _asks(card)
        _with_state(request.session, "failed")
        ids = {each["id"] for each in api(bob).get("/api/attention")}
        assert len(ids) == 2
        told.clear()
        if what == "card":
            services.delete_card(card, force=True, by=alice.pk)
        elif what == "column":
            services.clean_column(card.column, by=alice.pk)
        elif what == "board":
            path = f"/api/projects/{project.pk}/boards"
            api(alice).post(path, {"name": "Second"})
            api(alice).delete(f"{path}/{card.column.board_id}")
        else:
            projects.delete_project(project, by=alice.pk)
        assert {each for _, data in told for each in data["removed"]} == ids
        assert {bob.pk} <= told[0][0]
        assert api(bob).get("/api/attention") == []
