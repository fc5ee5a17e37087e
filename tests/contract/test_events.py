"""A copy of a project that applies its events is, after each of them, what a new reader gets."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

from apps.accounts.models import User
from apps.cards import services as cards
from apps.cards.models import Card
from apps.events.models import EventStream, StoredEvent
from apps.projects.models import Project
from tests import factories
from tests.client import Api

pytestmark = [pytest.mark.django_db, pytest.mark.both_databases]

PER_USER = {"unread", "role", "position", "lastOpenedAt", "unreadCount", "activeAgentCount"}
Thing = dict[str, Any]


class Copy:
    """What a browser keeps: boards, columns and cards by id, and how events change them."""

    def __init__(self, client: Api, project: Project) -> None:
        self._client = client
        self._project = project
        self.seq = EventStream.objects.get(pk=project.pk).version
        self.boards, self.columns, self.cards = self.fetched()

    def fetched(self) -> tuple[dict[str, Thing], ...]:
        return tuple(
            {
                each["id"]: {key: value for key, value in each.items() if key != "unread"}
                for each in self._client.get(f"/api/projects/{self._project.pk}/{kind}")
            }
            for kind in ("boards", "columns", "cards")
        )

    def catch_up(self) -> list[str]:
        """Apply what was stored since; the types."""
        events = StoredEvent.objects.filter(stream=self._project.pk, seq__gt=self.seq)
        types = []
        for event in events.order_by("seq"):
            assert event.seq == self.seq + 1
            self.seq = event.seq
            self.apply(event.type, json.loads(event.data))
            types.append(event.type)
        return types

    def apply(self, kind: str, data: Thing) -> None:
        assert data["projectId"] == f"proj_{self._project.pk:03d}"
        assert "unread" not in data
        family, _, verb = kind.partition(".")
        if family == "card":
            self._card(verb, data)
        elif family in ("board", "column"):
            things = self.boards if family == "board" else self.columns
            if verb == "reordered":
                for position, each in enumerate(data["ids"]):
                    things[each]["position"] = position
            elif verb == "deleted":
                gone = things.pop(data["id"])
                self._close(things, "boardId" if family == "column" else "projectId", gone)
                if family == "board":
                    self.columns = _without(self.columns, "boardId", data["id"])
                    self.cards = _without(self.cards, "boardId", data["id"])
            else:
                things[data["id"]] = data

    def _card(self, verb: str, data: Thing) -> None:
        old = self.cards.pop(data["id"], None)
        if verb == "updated":
            assert old is not None
            assert (old["columnId"], old["position"]) == (data["columnId"], data["position"])
        elif old is not None:
            self._close(self.cards, "columnId", old)
            assert data.pop("fromColumnId", old["columnId"]) == old["columnId"]
        if verb in ("created", "moved"):
            for other in self.cards.values():
                if other["columnId"] == data["columnId"] and other["position"] >= data["position"]:
                    other["position"] += 1
        if verb != "deleted":
            self.cards[data["id"]] = data

    @staticmethod
    def _close(things: dict[str, Thing], parent: str, gone: Thing) -> None:
        for other in things.values():
            if other[parent] == gone[parent] and other["position"] > gone["position"]:
                other["position"] -= 1


def _without(things: dict[str, Thing], key: str, value: str) -> dict[str, Thing]:
    return {name: each for name, each in things.items() if each[key] != value}


@pytest.fixture
def copy(api: Any, project: Project, bob: User) -> Copy:
    return Copy(api(bob), project)


def agrees(copy: Copy) -> bool:
    return (copy.boards, copy.columns, copy.cards) == copy.fetched()


def test_a_copy_follows_a_long_day_of_work(
    api: Any, project: Project, copy: Copy, alice: User
) -> None:
    """Several hundred changes of every kind, in an order that is random but always the same."""
    dice = random.Random(7)
    client = api(alice)
    url = f"/api/projects/{project.pk}"
    seen: set[str] = set()
    credential = factories.make_credential(alice).pk
    for number in range(260):
        columns, all_cards = list(copy.columns), list(copy.cards)
        column = dice.choice(columns) if columns else None
        card = dice.choice(all_cards) if all_cards else None
        other = dice.choice(all_cards) if all_cards else None
        place = f"{url}/cards/{card}"
        bulk = {
            "cardIds": dice.sample(all_cards, min(3, len(all_cards))),
            "action": dice.choice(["move", "start", "cancel", "label", "complete", "delete"]),
            **{"columnId": column, "position": dice.randrange(4), "addLabels": [str(number)]},
        }
        moves = [
            ("POST", f"{url}/cards", {"title": str(number), "columnId": column, "defer": True}),
            ("POST", f"{url}/cards", {"title": str(number), "labels": ["a"], "start": True}),
            ("PATCH", place, {"title": f"t{number}", "prompt": "p", "labels": [str(number)]}),
            ("PATCH", place, {"blockedBy": [other]}),
            ("PATCH", place, {"blockedBy": []}),
            ("PATCH", f"{place}/move", {"columnId": column, "position": dice.randrange(6)}),
            ("PATCH", f"{place}/move", {"columnId": column}),
            ("PATCH", f"{place}/move", {"columnId": column, "defer": True}),
            ("PATCH", f"{place}/auto-mode", {"enabled": dice.random() < 0.5}),
            ("PUT", f"{place}/credential", {"credentialId": dice.choice([None, credential])}),
            ("PUT", f"{place}/pipeline", {"steps": [{"columnId": column, "prompt": "p"}]}),
            ("POST", f"{place}/complete", {}),
            ("POST", f"{place}/approve-auto", {}),
            ("POST", f"{place}/activate", {}),
            ("POST", f"{place}/view", {}),
            ("DELETE", f"{place}?force=true", {}),
            ("POST", f"{url}/cards/bulk", bulk),
            ("PATCH", f"{url}/columns/{column}", {"name": f"c{number}", "prompt": "x"}),
        ]
        if number % 6 == 0:
            board = dice.choice(list(copy.boards)) if copy.boards else None
            full = {each["columnId"] for each in copy.cards.values()}
            empty = next((each for each in columns if each not in full), None)
            kind = dice.choice(["backlog", "active", "done", "archive"])
            body = {"name": f"n{number}", "columnType": kind, "boardId": board}
            in_turn = [
                ("POST", f"{url}/boards", {"name": f"b{number}"}),
                ("PATCH", f"{url}/boards/reorder", {"ids": list(copy.boards)[::-1]}),
                ("PATCH", f"{url}/boards/{board}", {"name": f"b{number}"}),
                ("POST", f"{url}/columns", body),
                ("PATCH", f"{url}/columns/reorder", {"ids": [column]}),
                ("POST", f"{url}/columns/{column}/clean-all", {}),
                ("DELETE", f"{url}/columns/{empty}", {}),
                ("DELETE", f"{url}/boards/{board}", {}),
            ]
            moves = [in_turn[number // 6 % len(in_turn)]]
        method, path, body = dice.choice(moves)
        client.request(method, path, body, status=None)
        assert client.response.status_code < 500
        seen |= set(copy.catch_up())
        assert agrees(copy), (number, method, path, body)
    assert seen >= {
        *("card.created", "card.updated", "card.moved", "card.deleted"),
        *("column.created", "column.updated", "column.deleted", "column.reordered"),
        *("board.created", "board.updated", "board.deleted", "board.reordered"),
    }


def test_what_agents_say_reaches_a_copy(project: Project, copy: Copy) -> None:
    card = factories.make_card(project)
    for status in ("queued", "running", "waiting", "completed"):
        cards.set_agent_status(card.pk, status, noted=True, pending_approval=status == "completed")
        copy.catch_up()
        assert agrees(copy)
    cards.defer_card(card, "no_credential", "No key.")
    copy.catch_up()
    assert agrees(copy)
    cards.clear_deferral(card)
    copy.catch_up()
    assert agrees(copy)


def test_project_events_carry_the_project_less_what_is_each_persons_own(
    api: Any, project: Project, alice: User
) -> None:
    url = f"/api/projects/{project.pk}"
    api(alice).patch(url, {"name": "Renamed", "worktree": False})
    event = StoredEvent.objects.get(stream=project.pk, type="project.updated")
    data = json.loads(event.data)
    assert data.pop("projectId") == data["id"]
    assert not data.keys() & PER_USER
    fetched = api(alice).get(url)
    assert data == {key: value for key, value in fetched.items() if key not in PER_USER}


def test_nothing_is_told_of_what_changed_nothing(api: Any, project: Project, alice: User) -> None:
    card = factories.make_card(project)
    before = StoredEvent.objects.count()
    url = f"/api/projects/{project.pk}"
    api(alice).patch(url, {"name": project.name})
    api(alice).patch(f"{url}/cards/{card.pk}", {"title": card.title, "blockedBy": []})
    api(alice).patch(f"{url}/columns/{card.column_id}", {"name": "Backlog"})
    api(alice).patch(f"{url}/cards/{card.pk}/auto-mode", {"enabled": False})
    api(alice).patch(f"{url}/cards/{card.pk}/move", {"columnId": 10**15}, 404)
    assert StoredEvent.objects.count() == before


def test_every_event_says_who_did_it(api: Any, project: Project, alice: User, bob: User) -> None:
    card = factories.make_card(project)
    api(bob).patch(f"/api/projects/{project.pk}/cards/{card.pk}", {"title": "x"})
    cards.set_agent_status(card.pk, "running", noted=False)
    actors = StoredEvent.objects.order_by("seq").values_list("type", "actor_id")
    assert list(actors) == [
        ("card.created", alice.pk),
        ("card.updated", bob.pk),
        ("card.updated", None),
    ]


@pytest.mark.django_db(transaction=True)
def test_a_change_that_fails_leaves_neither_rows_nor_events(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    from apps.cards.events import CardMoved

    card = factories.make_card(project)
    before = StoredEvent.objects.count()

    def broken(self: CardMoved) -> dict[str, Any]:
        raise ZeroDivisionError

    monkeypatch.setattr(CardMoved, "data", broken)
    with pytest.raises(ZeroDivisionError):
        cards.move_card(card, to=factories.column(project, "done"), by=None)
    assert StoredEvent.objects.count() == before
    assert Card.objects.get().column == factories.column(project)
