"""One change to many cards: all or nothing, one answer and one event for each."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import pytest

from apps.accounts.models import User
from apps.agents.models import AgentSession
from apps.boards.models import Column
from apps.cards.models import Card
from apps.events.models import StoredEvent
from apps.projects.models import Project
from tests import factories
from tests.client import Api
from tests.together import at_once

pytestmark = [pytest.mark.django_db, pytest.mark.both_databases]

Bulk = Callable[..., Any]
COLUMNS = ("backlog", "active", "done")


@pytest.fixture
def url(project: Project) -> str:
    return f"/api/projects/{project.pk}/cards"


@pytest.fixture
def cards(project: Project) -> list[int]:
    return [factories.make_card(project, title=name).pk for name in "abcde"]


@pytest.fixture
def bulk(api: Any, url: str, bob: User) -> Bulk:
    """Bob's; the events that came of it are in `bulk.told`."""

    def change(action: str, card_ids: list[Any], status: int = 200, **options: Any) -> Any:
        body = {"action": action, "cardIds": card_ids, **options}
        start = StoredEvent.objects.latest("seq").seq
        answer = api(bob).post(f"{url}/bulk", body, status)
        events = StoredEvent.objects.filter(seq__gt=start).order_by("seq")
        change.told = [each.type for each in events]  # type: ignore[attr-defined]
        return answer

    return change


@pytest.fixture
def credential(project: Project, alice: User) -> None:
    project.credential = factories.make_credential(
        alice, provider="openai-compatible", base_url="http://127.0.0.1:9", model="m"
    )
    project.save(update_fields=["credential"])


def order(column: Column) -> list[str]:
    rows = Card.objects.filter(column=column).order_by("position")
    assert [each.position for each in rows] == list(range(len(rows)))
    return [each.title for each in rows]


def test_cards_move_in_the_order_they_are_listed(
    bulk: Any, project: Project, cards: list[int]
) -> None:
    a, b, c, d, _ = cards
    done = factories.column(project, "done")
    answers = bulk("move", [d, a], columnId=done.pk)
    assert [each["cardId"] for each in answers] == [f"card_{d:03d}", f"card_{a:03d}"]
    assert {each["card"]["columnId"] for each in answers} == {f"col_{done.pk:03d}"}
    assert all(each["card"]["completedAt"] and "prompt" not in each["card"] for each in answers)
    assert bulk.told == ["card.moved"] * 2
    assert order(done) == ["d", "a"]
    bulk("move", [b, c], columnId=done.pk, position=1)
    assert order(done) == ["d", "b", "c", "a"]


@pytest.mark.parametrize(
    ("listed", "position", "wanted"),
    [
        ("ab", 2, "cdabe"),
        ("ba", 2, "cdbae"),
        ("ed", 0, "edabc"),
        ("ae", 1, "baecd"),
        ("ca", 99, "bdeca"),
        ("ca", None, "bdeca"),
        ("abcde", 3, "abcde"),
    ],
)
def test_within_a_column_a_position_counts_those_that_stay(
    bulk: Any, project: Project, cards: list[int], listed: str, position: int | None, wanted: str
) -> None:
    backlog = factories.column(project)
    ids = [cards["abcde".index(name)] for name in listed]
    bulk("move", ids, columnId=backlog.pk, position=position)
    assert "".join(order(backlog)) == wanted
    assert bulk.told == ["card.moved"] * len(ids)


def copied(project: Project) -> dict[str, list[str]]:
    """What somebody with a copy of the board has, who applies all events from the beginning in order."""
    columns: dict[str, list[str]] = defaultdict(list)
    for event in StoredEvent.objects.filter(stream_id=project.pk).order_by("seq"):
        card = json.loads(event.data)
        column = columns[card.get("columnId")]
        if event.type == "card.moved":
            columns[card["fromColumnId"]].remove(card["id"])
        if event.type in ("card.created", "card.moved"):
            column.insert(card["position"], card["id"])
            assert column[card["position"]] == card["id"]
        elif event.type == "card.updated":
            assert column[card["position"]] == card["id"]
        elif event.type == "card.deleted":
            column.remove(card["id"])
    return {column: ids for column, ids in columns.items() if ids}


def stand(project: Project) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for column in Column.objects.filter(board__project=project):
        rows = list(Card.objects.filter(column=column).order_by("position"))
        assert [each.position for each in rows] == list(range(len(rows)))
        if rows:
            found[f"col_{column.pk:03d}"] = [f"card_{each.pk:03d}" for each in rows]
    return found


def test_whoever_applies_the_events_one_by_one_has_every_card_at_its_place(
    bulk: Any, api: Any, url: str, bob: User, project: Project, credential: None
) -> None:
    made = [
        int(api(bob).post(url, {"title": name}, 201)["id"].removeprefix("card_"))
        for name in "abcdefgh"
    ]
    backlog, active, done = (factories.column(project, kind) for kind in COLUMNS)
    for ids, options in (
        ([1, 6, 3], {"columnId": done.pk}),
        ([7, 3, 0, 2], {"columnId": backlog.pk, "position": 1}),
        ([2, 4, 7], {"columnId": active.pk, "position": 0}),
        ([4, 0, 5, 1, 2], {"columnId": active.pk, "position": 1}),
        ([3, 6], {"columnId": done.pk, "position": 99}),
    ):
        bulk("move", [made[each] for each in ids], **options)
        assert copied(project) == stand(project)
    bulk("complete", [made[each] for each in (4, 2, 0)])
    assert copied(project) == stand(project)
    bulk("delete", [made[each] for each in (2, 6, 5)], force=True)
    assert copied(project) == stand(project)


def test_a_card_that_starts_in_the_middle_because_of_it_is_told_of_at_its_place(
    bulk: Any, api: Any, url: str, bob: User, project: Project, credential: None
) -> None:
    a, b, waits, c = (
        int(api(bob).post(url, {"title": name}, 201)["id"].removeprefix("card_")) for name in "abcd"
    )
    api(bob).patch(f"{url}/{waits}", {"blockedBy": [b]})
    bulk("start", [a, b, waits, c])
    bulk("complete", [a, b, c])
    assert "card.updated" in bulk.told
    assert copied(project) == stand(project)


def test_labels_are_added_and_removed(
    bulk: Any, api: Any, url: str, bob: User, cards: list[int]
) -> None:
    api(bob).patch(f"{url}/{cards[0]}", {"labels": ["old", "kept"]})
    answers = bulk("label", cards[:2], addLabels=["new", "kept"], removeLabels=["old"])
    assert [each["card"]["labels"] for each in answers] == [["kept", "new"], ["new", "kept"]]
    assert bulk.told == ["card.updated"] * 2
    bulk("label", cards[:2], addLabels=["new"])
    assert bulk.told == []


def test_auto_mode_complete_and_cancel(
    bulk: Any, project: Project, cards: list[int], credential: None
) -> None:
    answers = bulk("autoMode", cards[:2], enabled=True)
    assert all(each["card"]["autoMode"] for each in answers)
    answers = bulk("start", cards[:3])
    assert {each["card"]["agentStatus"] for each in answers} == {"queued"}
    answers = bulk("cancel", cards[:2])
    assert [each["card"]["agentStatus"] for each in answers] == ["cancelled"] * 2
    answers = bulk("complete", cards[2:4])
    assert all(each["card"]["completedAt"] for each in answers)
    states = dict(AgentSession.objects.values_list("card_id", "state"))
    assert states == {card: "cancelled" for card in cards[:3]}


def test_the_transcript_says_what_was_done_of_many_cards_as_of_one(
    bulk: Any, api: Any, url: str, bob: User, cards: list[int], credential: None
) -> None:
    bulk("start", cards[:3])
    bulk("cancel", cards[:1])
    api(bob).post(f"{url}/{cards[1]}/agent/cancel", status=204)
    bulk("complete", cards[2:3])
    said = [
        api(bob).get(f"{url}/{card}/agent/messages")["messages"][-1]["content"]
        for card in cards[:3]
    ]
    assert said[0] == said[1] == "Bob stopped the agent."
    assert "moved the card to" in said[2]


def test_of_a_started_chain_the_first_is_queued_and_the_others_say_what_they_wait_for(
    bulk: Any, api: Any, url: str, bob: User, cards: list[int], credential: None
) -> None:
    for card, blocker in zip(cards[1:3], cards, strict=False):
        api(bob).patch(f"{url}/{card}", {"blockedBy": [blocker]})
    answers = bulk("start", cards[:3])
    assert [each["card"]["agentStatus"] for each in answers] == ["queued", None, None]
    reasons = [(each["card"]["deferredReason"] or {}).get("code") for each in answers]
    assert reasons == [None, "blocked", "blocked"]


@pytest.mark.django_db(transaction=True)
def test_one_that_refuses_keeps_all_as_they_were_and_every_refusal_is_named(
    bulk: Any, api: Any, url: str, bob: User, cards: list[int], credential: None
) -> None:
    for card in cards[1:3]:
        api(bob).post(f"{url}/{card}/complete", status=204)
    before = api(bob).get(url)
    error = bulk("start", cards[:3], 409)
    assert error["code"] == "card_is_complete"
    refused = [each["cardId"] for each in error["details"]["cards"]]
    assert refused == [f"card_{card:03d}" for card in cards[1:3]]
    assert refused[0] in error["message"]
    assert bulk.told == []
    assert api(bob).get(url) == before
    assert not AgentSession.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_delete_takes_all_or_none(bulk: Any, project: Project, cards: list[int]) -> None:
    factories.make_session(Card.objects.get(pk=cards[1]), state="running")
    Card.objects.filter(pk=cards[1]).update(agent_status="running")
    error = bulk("delete", cards[:3], 409)
    assert error["code"] == "agent_running"
    assert Card.objects.count() == 5
    answers = bulk("delete", cards[:3], force=True)
    assert [each["card"] for each in answers] == [None] * 3
    assert bulk.told == ["card.deleted"] * 3
    assert order(factories.column(project)) == ["d", "e"]


@pytest.mark.django_db(transaction=True)
def test_cards_of_another_project_are_missing_and_nothing_happens(
    bulk: Any, project: Project, cards: list[int], alice: User
) -> None:
    strange = factories.make_card(factories.make_project(alice, name="Other"))
    for action, options in (
        ("delete", {"force": True}),
        ("delete", {}),
        ("complete", {}),
        ("move", {"columnId": factories.column(project, "done").pk}),
    ):
        error = bulk(action, [cards[0], strange.pk], 404, **options)
        assert [each["cardId"] for each in error["details"]["cards"]] == [f"card_{strange.pk:03d}"]
    bulk("move", cards, 404, columnId=strange.column_id)
    assert Card.objects.filter(completed_at=None).count() == 6


@pytest.mark.parametrize(
    "change",
    [
        {"cardIds": []},
        {"cardIds": None},
        {"cardIds": ["col_001"]},
        {"cardIds": list(range(1, 202))},
        {"action": "explode"},
        {"action": None},
        {"action": "move"},
        {"action": "move", "columnId": "x"},
        {"action": "move", "columnId": 1, "position": 1.5},
        {"action": "label"},
        {"action": "label", "addLabels": [""]},
        {"action": "autoMode"},
        {"action": "autoMode", "enabled": 1},
        {"action": "delete", "force": "yes"},
    ],
)
def test_what_makes_no_sense_is_refused(
    api: Any, url: str, bob: User, cards: list[int], change: Any
) -> None:
    body = {"action": "complete", "cardIds": cards, **change}
    assert api(bob).post(f"{url}/bulk", body, 400)["code"] == "invalid"
    api(bob).post(f"{url}/bulk", {**body, "cardIds": [cards[0]] * 2}, 400)
    assert Card.objects.filter(completed_at=None).count() == 5


def test_outsiders_change_nothing(api: Any, url: str, cards: list[int], charlie: User) -> None:
    body = {"action": "delete", "cardIds": cards, "force": True}
    api(charlie).post(f"{url}/bulk", body, 404)
    api(None).post(f"{url}/bulk", body, 401)
    assert Card.objects.count() == 5


@pytest.mark.django_db(transaction=True)
def test_eight_people_move_bunches_at_once_and_none_is_torn_apart(
    project: Project, url: str, bob: User
) -> None:
    bunches = [
        [factories.make_card(project, title=f"{n}{letter}").pk for letter in "abc"]
        for n in range(8)
    ]
    columns = [factories.column(project, kind) for kind in ("backlog", "done")]

    def mover(number: int) -> Callable[[], None]:
        def move() -> None:
            client = Api(bob)
            for turn in range(6):
                column = columns[(number + turn) % 2]
                body = {"action": "move", "columnId": column.pk, "position": 2 * turn}
                client.post(f"{url}/bulk", {**body, "cardIds": bunches[number]}, 200)

        return move

    at_once([mover(number) for number in range(8)])
    titles = [order(column) for column in columns]
    assert sum(map(len, titles)) == 24
    # Others may step in between, but each bunch is in one column, in its order.
    for number in range(8):
        (mine,) = [m for t in titles if (m := [each for each in t if each[0] == str(number)])]
        assert mine == [f"{number}{letter}" for letter in "abc"]
