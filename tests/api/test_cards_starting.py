"""What starts an agent, what stops it and what does neither; here the session is only queued, never run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from apps.accounts.models import User
from apps.agents.models import AgentSession
from apps.boards.models import Column
from apps.cards import services
from apps.cards.models import Card
from apps.events.models import StoredEvent
from apps.organizations.models import OrganizationMember
from apps.projects.models import Project
from tests import factories

pytestmark = [pytest.mark.django_db, pytest.mark.both_databases]


@pytest.fixture
def url(project: Project) -> str:
    return f"/api/projects/{project.pk}/cards"


@pytest.fixture
def active(project: Project) -> Column:
    return factories.column(project, "active")


@pytest.fixture
def credential(project: Project, alice: User) -> None:
    """A model server of one's own needs no key."""
    project.credential = factories.make_credential(
        alice, provider="openai-compatible", base_url="http://127.0.0.1:9", model="m"
    )
    project.save(update_fields=["credential"])


@pytest.fixture
def card(project: Project) -> Card:
    return factories.make_card(project)


def state(card: Card | int) -> tuple[str | None, str | None]:
    """(agentStatus, code of the deferral)"""
    row = Card.objects.get(pk=card if isinstance(card, int) else card.pk)
    return row.agent_status, row.deferred_code


def test_entering_an_active_column_queues_a_session(
    api: Any, url: str, card: Card, active: Column, bob: User, credential: None
) -> None:
    moved = api(bob).patch(f"{url}/{card.pk}/move", {"columnId": active.pk})
    assert (moved["hasActiveAgent"], moved["agentStatus"]) == (True, "queued")
    session = AgentSession.objects.get()
    assert (session.card_id, session.started_by_id) == (card.pk, bob.pk)


def test_a_new_place_in_the_same_column_starts_nothing(
    api: Any, url: str, card: Card, active: Column, bob: User, credential: None
) -> None:
    api(bob).patch(f"{url}/{card.pk}/move", {"columnId": active.pk})
    before = AgentSession.objects.get()
    api(bob).patch(f"{url}/{card.pk}/move", {"columnId": active.pk, "position": 0})
    after = AgentSession.objects.get()
    assert (after.pk, after.state, after.fence) == (before.pk, before.state, before.fence)


def test_without_a_credential_the_card_is_deferred_and_the_move_holds(
    api: Any, url: str, card: Card, active: Column, bob: User
) -> None:
    moved = api(bob).patch(f"{url}/{card.pk}/move", {"columnId": active.pk})
    assert moved["columnId"] == f"col_{active.pk:03d}"
    assert (moved["deferred"], moved["deferredReason"]["code"]) == (True, "no_credential")
    error = api(bob).post(f"{url}/{card.pk}/activate", status=409)
    assert error["code"] == "no_credential"
    assert error["message"] == moved["deferredReason"]["message"]


@pytest.fixture
def empty(api: Any, alice: User, tmp_path: Path, run_git: Any) -> Project:
    """A repository that was just made, with a key."""
    folder = tmp_path.resolve() / "new"
    folder.mkdir()
    run_git(folder, "init", "--quiet", "--initial-branch=main")
    key = factories.make_credential(alice, provider="openai-compatible", base_url="http://[::1]:9")
    return factories.make_project(alice, path=folder, credential=key)


def test_a_card_of_a_repository_without_commits_is_deferred_until_there_is_one(
    api: Any, empty: Project, alice: User, run_git: Any
) -> None:
    made = api(alice).post("/api/cards", {"projectId": empty.pk, "title": "x", "start": True})
    assert (made["agentStatus"], made["deferredReason"]["code"]) == (None, "no_commits")
    url = f"/api/projects/{empty.pk}/cards/{made['id']}"
    error = api(alice).post(f"{url}/activate", status=409)
    assert (error["code"], error["message"]) == ("no_commits", made["deferredReason"]["message"])
    api(alice).patch(f"/api/projects/{empty.pk}", {"model": "m"})
    assert api(alice).get(url)["deferredReason"] == made["deferredReason"]
    who = ("-c", "user.name=Alice", "-c", "user.email=alice@example.org")
    run_git(Path(empty.path), *who, "commit", "--quiet", "--allow-empty", "-m", "First")
    api(alice).post(f"{url}/activate", status=204)
    assert api(alice).get(url)["agentStatus"] == "queued"


def test_every_way_into_an_active_column_asks_for_commits(
    api: Any, empty: Project, alice: User
) -> None:
    cards = f"/api/projects/{empty.pk}/cards"
    active = factories.column(empty, "active").pk
    first, second, third, fourth, blocker = (factories.make_card(empty).pk for _ in range(5))
    api(alice).patch(f"{cards}/{first}/move", {"columnId": active})
    api(alice).post(f"{cards}/bulk", {"cardIds": [second], "action": "start"}, 200)
    api(alice).post(
        f"{cards}/bulk", {"cardIds": [third], "action": "move", "columnId": active}, 200
    )
    api(alice).patch(f"{cards}/{fourth}", {"blockedBy": [blocker]})
    api(alice).patch(f"{cards}/{fourth}/move", {"columnId": active})
    assert state(fourth) == (None, "blocked")
    api(alice).post(f"{cards}/{blocker}/complete", status=204)
    assert [state(each) for each in (first, second, third, fourth)] == [(None, "no_commits")] * 4


def test_without_worktrees_no_commits_are_needed(api: Any, empty: Project, alice: User) -> None:
    api(alice).patch(f"/api/projects/{empty.pk}", {"worktree": False})
    made = api(alice).post("/api/cards", {"projectId": empty.pk, "title": "x", "start": True})
    assert made["agentStatus"] == "queued"


def test_what_a_deferred_card_says_keeps_up_with_its_projects_key_and_agent(
    api: Any, project: Project, url: str, card: Card, active: Column, alice: User, bob: User
) -> None:
    """It starts only when it is activated: nobody is surprised by twenty agents."""
    here = f"/api/projects/{project.pk}"
    key = factories.make_credential(alice, provider="google")
    api(bob).patch(f"{url}/{card.pk}/move", {"columnId": active.pk})
    assert state(card) == (None, "no_credential")
    api(alice).put(f"{here}/credential", {"credentialId": key.pk})
    assert state(card) == (None, "no_agent")
    api(alice).patch(here, {"agent": "builtin"})
    assert state(card) == (None, "wrong_credential")
    mine = factories.make_credential(alice, provider="openai-compatible", base_url="http://[::1]:9")
    shown = api(alice).put(f"{url}/{card.pk}/credential", {"credentialId": mine.pk})
    assert shown["deferredReason"]["code"] == "deferred"
    assert "activate" in shown["deferredReason"]["message"]
    assert AgentSession.objects.count() == 0
    before = StoredEvent.objects.count()
    api(alice).patch(here, {"model": "m"})
    assert StoredEvent.objects.count() == before + 1
    api(bob).post(f"{url}/{card.pk}/activate", status=204)
    assert state(card) == ("queued", None)


def test_a_card_that_loses_its_key_says_so_when_the_key_is_deleted(
    api: Any, project: Project, url: str, card: Card, active: Column, alice: User
) -> None:
    key = factories.make_credential(alice, provider="google")
    api(alice).put(f"/api/projects/{project.pk}/credential", {"credentialId": key.pk})
    api(alice).patch(f"{url}/{card.pk}/move", {"columnId": active.pk})
    assert state(card) == (None, "no_agent")
    api(alice).delete(f"/api/credentials/{key.pk}")
    assert state(card) == (None, "no_credential")


def test_what_a_deferred_card_says_keeps_up_with_the_key_that_its_organization_lends(
    api: Any, project: Project, url: str, card: Card, active: Column, alice: User
) -> None:
    project.organization = factories.make_organization((alice, OrganizationMember.Role.ADMIN))
    project.save(update_fields=["organization"])
    lent = f"/api/organizations/{project.organization.pk}/default-credential"
    api(alice).patch(f"{url}/{card.pk}/move", {"columnId": active.pk})
    assert state(card) == (None, "no_credential")
    key = factories.make_credential(alice, provider="google")
    api(alice).put(lent, {"credentialId": key.pk})
    assert state(card) == (None, "no_agent")
    before = StoredEvent.objects.count()
    api(alice).put(lent, {"credentialId": key.pk})
    assert StoredEvent.objects.count() == before
    api(alice).delete(f"/api/credentials/{key.pk}")
    assert state(card) == (None, "no_credential")
    api(alice).put(lent, {"credentialId": factories.make_credential(alice).pk})
    assert state(card) == (None, "deferred")


@pytest.mark.parametrize("holder", ["card", "project", "organization"])
def test_what_a_deferred_card_says_keeps_up_with_a_credential_that_becomes_of_use(
    api: Any, project: Project, url: str, card: Card, active: Column, alice: User, holder: str
) -> None:
    made = api(alice).post("/api/credentials", {"name": "key", "provider": "anthropic"})
    assert made["status"] == "pending"
    key = f"/api/credentials/{made['id']}"
    organization = factories.make_organization((alice, OrganizationMember.Role.ADMIN))
    project.organization = organization
    project.save(update_fields=["organization"])
    assign = {
        "card": f"{url}/{card.pk}/credential",
        "project": f"/api/projects/{project.pk}/credential",
        "organization": f"/api/organizations/{organization.pk}/default-credential",
    }[holder]
    api(alice).put(assign, {"credentialId": made["id"]})
    api(alice).patch(f"{url}/{card.pk}/move", {"columnId": active.pk})
    assert state(card) == (None, "no_credential")
    api(alice).patch(key, {"apiKey": "sk-ant-0123456789abcdef"})
    assert state(card) == (None, "deferred")


@pytest.mark.parametrize("address", ["{url}", "/api/cards"])
def test_a_card_can_be_made_and_started_in_one_call(
    api: Any, project: Project, url: str, bob: User, credential: None, address: str
) -> None:
    body = {"title": "Go", "start": True, "externalId": "ci-1", "projectId": project.pk}
    made = api(bob).post(address.format(url=url), body)
    assert made["agentStatus"] == "queued"
    again = api(bob).post(address.format(url=url), body, 200)
    assert again["id"] == made["id"]
    assert AgentSession.objects.count() == 1


def test_activate_starts_what_was_put_off(
    api: Any, url: str, card: Card, active: Column, bob: User, credential: None
) -> None:
    api(bob).patch(f"{url}/{card.pk}/move", {"columnId": active.pk, "defer": True})
    assert state(card) == (None, "deferred")
    api(bob).post(f"{url}/{card.pk}/activate", status=204)
    assert state(card) == ("queued", None)
    before = StoredEvent.objects.count()
    api(bob).post(f"{url}/{card.pk}/activate", {}, status=204)
    assert StoredEvent.objects.count() == before
    assert AgentSession.objects.count() == 1


def test_activate_takes_a_card_out_of_the_backlog(
    api: Any, url: str, card: Card, active: Column, bob: User, credential: None
) -> None:
    api(bob).post(f"{url}/{card.pk}/activate", status=204)
    assert Card.objects.get().column == active
    assert state(card) == ("queued", None)


def test_leaving_the_active_column_stops_the_agent(
    api: Any, project: Project, url: str, card: Card, active: Column, bob: User, credential: None
) -> None:
    api(bob).patch(f"{url}/{card.pk}/move", {"columnId": active.pk})
    backlog = factories.column(project)
    left = api(bob).patch(f"{url}/{card.pk}/move", {"columnId": backlog.pk})
    assert (left["hasActiveAgent"], left["agentStatus"]) == (False, "cancelled")


def test_a_blocked_card_starts_when_its_last_blocker_is_complete(
    api: Any, project: Project, url: str, card: Card, active: Column, bob: User, credential: None
) -> None:
    first, second = (factories.make_card(project, title=name) for name in ("Dig", "Plant"))
    api(bob).patch(f"{url}/{card.pk}", {"blockedBy": [first.pk, second.pk]})
    api(bob).patch(f"{url}/{card.pk}/move", {"columnId": active.pk})
    assert state(card) == (None, "blocked")
    api(bob).post(f"{url}/{first.pk}/complete", status=204)
    assert state(card) == (None, "blocked")
    api(bob).patch(f"{url}/{second.pk}/move", {"columnId": factories.column(project, "done").pk})
    assert state(card) == ("queued", None)


def test_a_card_that_is_made_to_wait_for_another_does_not_start_before_it(
    api: Any, project: Project, url: str, card: Card, bob: User, credential: None
) -> None:
    made = api(bob).post(url, {"title": "Later", "start": True, "blockedBy": [card.pk]})
    assert (made["agentStatus"], made["blockedBy"]) == (None, [f"card_{card.pk:03d}"])
    assert made["deferredReason"]["code"] == "blocked"
    api(bob).post(f"{url}/{card.pk}/complete", status=204)
    assert api(bob).get(f"{url}/{made['id']}")["agentStatus"] == "queued"


@pytest.mark.django_db(transaction=True)
def test_a_card_that_would_wait_for_a_stranger_is_not_made(
    api: Any, url: str, alice: User, bob: User
) -> None:
    strange = factories.make_card(factories.make_project(alice, name="Other"))
    api(bob).post(url, {"title": "Never", "blockedBy": [strange.pk]}, 404)
    assert Card.objects.count() == 1


def test_a_blocked_card_starts_when_it_is_told_to_wait_for_nothing(
    api: Any, project: Project, url: str, card: Card, active: Column, bob: User, credential: None
) -> None:
    blocker = factories.make_card(project, title="Dig")
    api(bob).patch(f"{url}/{card.pk}", {"blockedBy": [blocker.pk]})
    api(bob).patch(f"{url}/{card.pk}/move", {"columnId": active.pk})
    api(bob).patch(f"{url}/{card.pk}", {"blockedBy": []})
    assert state(card) == ("queued", None)


@pytest.mark.parametrize("way", ["card", "column", "board"])
def test_a_blocked_card_whose_blocker_is_deleted_says_that_it_can_be_activated(
    api: Any,
    project: Project,
    url: str,
    card: Card,
    bob: User,
    alice: User,
    credential: None,
    way: str,
) -> None:
    of_project = f"/api/projects/{project.pk}"
    board = api(alice).post(f"{of_project}/boards", {"name": "Second"}, 201)
    column = Column.objects.filter(board_id=int(board["id"][6:]), column_type="backlog").get()
    blocker = factories.make_card(project, column=column, title="Dig")
    api(bob).patch(f"{url}/{card.pk}", {"blockedBy": [blocker.pk]})
    api(bob).patch(f"{url}/{card.pk}/move", {"columnId": factories.column(project, "active").pk})
    if way == "card":
        api(bob).delete(f"{url}/{blocker.pk}")
    elif way == "column":
        api(bob).post(f"{of_project}/columns/{column.pk}/clean-all", status=204)
    else:
        api(alice).delete(f"{of_project}/boards/{column.board_id}?force=1")
    found = api(bob).get(f"{url}/{card.pk}")
    assert (found["agentStatus"], found["blockedBy"]) == (None, [])
    assert found["deferredReason"]["code"] == "deferred"
    assert "activate the card" in found["deferredReason"]["message"]
    api(bob).post(f"{url}/{card.pk}/activate", status=204)
    assert state(card) == ("queued", None)


def test_a_card_names_the_blockers_that_are_left_and_starts_with_the_last_of_them(
    api: Any, project: Project, url: str, card: Card, active: Column, bob: User, credential: None
) -> None:
    first, second = (factories.make_card(project, title=name) for name in ("Dig", "Plant"))
    api(bob).patch(f"{url}/{card.pk}", {"blockedBy": [first.pk, second.pk]})
    api(bob).patch(f"{url}/{card.pk}/move", {"columnId": active.pk})
    api(bob).delete(f"{url}/{first.pk}")
    reason = api(bob).get(f"{url}/{card.pk}")["deferredReason"]
    assert reason["code"] == "blocked"
    assert "Dig" not in reason["message"]
    assert "Plant" in reason["message"]
    api(bob).post(f"{url}/{second.pk}/complete", status=204)
    assert state(card) == ("queued", None)


def test_a_card_whose_blocker_is_deleted_says_what_else_it_lacks(
    api: Any, project: Project, url: str, card: Card, active: Column, bob: User
) -> None:
    blocker = factories.make_card(project, title="Dig")
    api(bob).patch(f"{url}/{card.pk}", {"blockedBy": [blocker.pk]})
    api(bob).patch(f"{url}/{card.pk}/move", {"columnId": active.pk})
    api(bob).delete(f"{url}/{blocker.pk}")
    assert state(card) == (None, "no_credential")


def test_a_blocked_card_that_waits_in_the_backlog_stays_there(
    api: Any, project: Project, url: str, card: Card, bob: User, credential: None
) -> None:
    blocker = factories.make_card(project, title="Dig")
    api(bob).patch(f"{url}/{card.pk}", {"blockedBy": [blocker.pk]})
    api(bob).post(f"{url}/{blocker.pk}/complete", status=204)
    assert state(card) == (None, None)


def test_a_card_put_off_by_a_person_is_not_started_by_its_blocker(
    api: Any, project: Project, url: str, card: Card, active: Column, bob: User, credential: None
) -> None:
    blocker = factories.make_card(project, title="Dig")
    api(bob).patch(f"{url}/{card.pk}", {"blockedBy": [blocker.pk]})
    api(bob).patch(f"{url}/{card.pk}/move", {"columnId": active.pk, "defer": True})
    api(bob).post(f"{url}/{blocker.pk}/complete", status=204)
    assert state(card) == (None, "deferred")


def test_completing_in_place_stops_the_agent_too(
    api: Any, project: Project, url: str, card: Card, active: Column, bob: User, credential: None
) -> None:
    done = factories.column(project, "done")
    api(bob).delete(f"/api/projects/{project.pk}/columns/{done.pk}")
    api(bob).patch(f"{url}/{card.pk}/move", {"columnId": active.pk})
    api(bob).post(f"{url}/{card.pk}/complete", status=204)
    found = api(bob).get(f"{url}/{card.pk}")
    assert (found["agentStatus"], found["hasActiveAgent"]) == ("cancelled", False)
    assert found["completedAt"] is not None


def test_the_servers_own_move_makes_nothing_unread(
    api: Any, project: Project, url: str, card: Card, bob: User
) -> None:
    api(bob).post(f"{url}/{card.pk}/view", status=204)
    services.move_card(card, to=factories.column(project, "done"), by=None)
    assert api(bob).get(f"{url}/{card.pk}")["unread"] is False


def test_deleting_with_force_ends_the_session(
    api: Any, url: str, card: Card, active: Column, bob: User, credential: None
) -> None:
    api(bob).patch(f"{url}/{card.pk}/move", {"columnId": active.pk})
    api(bob).delete(f"{url}/{card.pk}", 409)
    api(bob).delete(f"{url}/{card.pk}?force=1")
    assert not AgentSession.objects.exists()
