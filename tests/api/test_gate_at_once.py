"""Many people and several workers at the one gate that decides which cards start."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from apps.accounts.models import User
from apps.agents.claims import AgentKind
from apps.agents.models import AgentSession
from apps.boards.models import Column
from apps.cards.models import Card
from apps.projects.models import Project
from apps.runs.kinds import Claim
from tests import factories
from tests.client import Api
from tests.together import at_once

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]


@pytest.fixture(autouse=True)
def _roomy(settings: Any) -> None:
    """What limits here is the column."""
    settings.MAX_AGENTS = 50


@pytest.fixture
def url(project: Project, alice: User) -> str:
    """Of the cards; the project has a key."""
    project.credential = factories.make_credential(
        alice, provider="openai-compatible", base_url="http://127.0.0.1:9", model="m"
    )
    project.save(update_fields=["credential"])
    return f"/api/projects/{project.pk}/cards"


@pytest.fixture
def active(project: Project) -> Column:
    """Two at a time."""
    column = factories.column(project, "active")
    column.wip_limit = 2
    column.save(update_fields=["wip_limit"])
    return column


def claim(worker: str = "w") -> Claim | None:
    return AgentKind().claim(worker, "host", closing=False)


def working() -> int:
    return AgentSession.objects.filter(state="starting").count()


def reasons() -> Counter[str | None]:
    queued = AgentSession.objects.filter(state="queued")
    return Counter(queued.values_list("queue_reason", flat=True))


def test_eight_people_fill_a_limited_column_and_two_workers_start_no_more_than_it_takes(
    project: Project, url: str, active: Column, bob: User
) -> None:
    cards = [factories.make_card(project, title=str(n)).pk for n in range(16)]

    def mover(mine: list[int]) -> Callable[[], None]:
        def move() -> None:
            client = Api(bob)
            for card in mine:
                client.patch(f"{url}/{card}/move", {"columnId": active.pk, "position": 0})

        return move

    def worker(name: str) -> Callable[[], list[Claim]]:
        return lambda: [got for _ in range(12) if (got := claim(name)) is not None]

    movers = [mover(cards[n::8]) for n in range(8)]
    at_once([*movers, worker("a"), worker("b")])
    assert Card.objects.filter(column=active, agent_status__isnull=False).count() == 16
    assert AgentSession.objects.count() == 16
    # Whoever claimed before all were there may have found fewer than two.
    at_once([worker("a"), worker("b")])
    assert working() == 2
    assert reasons() == {"wip_limit": 14}


def test_a_place_that_is_freed_goes_to_one_of_many_who_want_it(
    project: Project, url: str, active: Column, bob: User
) -> None:
    for number in range(6):
        factories.make_card(project, title=str(number), column=active, by=bob.pk)
    at_once([claim] * 8)
    for ended in range(1, 5):
        AgentSession.objects.filter(
            pk=AgentSession.objects.filter(state="starting").order_by("pk")[0].pk
        ).update(state="completed", worker_id=None)
        claims = at_once([lambda name=name: claim(name) for name in "abcdefgh"])
        assert len([each for each in claims if each]) == 1
        assert working() == 2
        assert AgentSession.objects.filter(state="queued").count() == 4 - ended


def test_a_finished_step_keeps_its_place_until_the_card_goes_on(
    project: Project, url: str, active: Column, bob: User
) -> None:
    first, second, third = (
        factories.make_card(project, title=name, column=active, by=bob.pk) for name in "abc"
    )
    assert claim()
    assert claim()
    AgentSession.objects.filter(card=first).update(state="completed", worker_id=None)
    Card.objects.filter(pk=first.pk).update(agent_status="completed", pending_approval=True)
    assert claim() is None
    assert reasons() == {"wip_limit": 1}
    Api(bob).post(f"{url}/{first.pk}/approve-auto", status=204)
    claimed = claim()
    assert claimed is not None
    assert AgentSession.objects.get(pk=claimed.run_id).card == third
    assert Card.objects.get(pk=second.pk).agent_status == "starting"


def test_a_limit_that_is_raised_lets_the_next_ones_in(
    project: Project, url: str, active: Column, bob: User
) -> None:
    for number in range(4):
        factories.make_card(project, title=str(number), column=active, by=bob.pk)
    place = f"/api/projects/{project.pk}/columns/{active.pk}"
    assert [bool(claim()) for _ in range(3)] == [True, True, False]
    Api(bob).patch(place, {"wipLimit": 3})
    assert [bool(claim()) for _ in range(2)] == [True, False]
    Api(bob).patch(place, {"wipLimit": None})
    assert [bool(claim()) for _ in range(2)] == [True, False]


@pytest.mark.parametrize("some_are_deleted", [False, True])
def test_the_last_of_several_blockers_that_are_completed_at_once_starts_the_card_once(
    project: Project, url: str, active: Column, bob: User, *, some_are_deleted: bool
) -> None:
    """Where the last one was deleted instead, the card waits for a person and no longer for a blocker."""
    for _ in range(2):
        blockers = [factories.make_card(project, title=str(n)).pk for n in range(8)]
        body = {"title": "Waits", "columnId": active.pk, "blockedBy": blockers}
        waiting = Api(bob).post(url, body)
        assert waiting["deferredReason"]["code"] == "blocked"
        done = factories.column(project, "done").pk
        ways = [("POST", "/complete", {}), ("PATCH", "/move", {"columnId": done})]
        if some_are_deleted:
            ways.append(("DELETE", "?force=true", {}))
        calls = [
            lambda card=card, way=way: Api(bob).request(
                way[0], f"{url}/{card}{way[1]}", way[2], status=None
            )
            for card, way in zip(blockers, itertools.cycle(ways), strict=False)
        ]
        at_once(calls)
        found = Api(bob).get(f"{url}/{waiting['id']}")
        card_id = int(waiting["id"].removeprefix("card_"))
        sessions = AgentSession.objects.filter(card_id=card_id).count()
        reason = found["deferredReason"] and found["deferredReason"]["code"]
        outcome = (found["agentStatus"], reason, sessions)
        started = ("queued", None, 1)
        assert outcome == started or (some_are_deleted and outcome == (None, "deferred", 0))


def test_a_blocker_that_is_taken_up_again_before_the_start_holds_the_card_back(
    project: Project, url: str, active: Column, bob: User
) -> None:
    """The claim asks the gate again."""
    blocker = factories.make_card(project, title="Dig")
    body = {"title": "Plant", "columnId": active.pk, "blockedBy": [blocker.pk]}
    waiting = Api(bob).post(url, body)
    Api(bob).post(f"{url}/{blocker.pk}/complete", status=204)
    assert Api(bob).get(f"{url}/{waiting['id']}")["agentStatus"] == "queued"
    backlog = factories.column(project).pk
    Api(bob).patch(f"{url}/{blocker.pk}/move", {"columnId": backlog})
    assert claim() is None
    found = Api(bob).get(f"{url}/{waiting['id']}")
    assert (found["agentStatus"], found["deferredReason"]["code"]) == ("cancelled", "blocked")
    Api(bob).post(f"{url}/{blocker.pk}/complete", status=204)
    assert Api(bob).get(f"{url}/{waiting['id']}")["agentStatus"] == "queued"
    assert claim() is not None
