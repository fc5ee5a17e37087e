"""Many people at the same board at the same moment."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest

from apps.accounts.models import User
from apps.boards.models import Column
from apps.cards.models import Card, Dependency
from apps.events.models import EventStream, StoredEvent
from apps.projects.models import Project
from tests import factories
from tests.client import Api
from tests.together import at_once

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]


def gapless(project: Project) -> bool:
    return all(
        sorted(Card.objects.filter(column=column).values_list("position", flat=True))
        == list(range(Card.objects.filter(column=column).count()))
        for column in Column.objects.filter(project=project)
    )


def test_eight_people_move_cards_and_no_place_is_lost(project: Project, bob: User) -> None:
    made = [factories.make_card(project, title=str(n)).pk for n in range(24)]
    # Into active columns nothing moves here: this is about places.
    kinds = ("backlog", "done")
    columns = [factories.column(project, kind).pk for kind in kinds]
    start = EventStream.objects.get(pk=project.pk).version
    url = f"/api/projects/{project.pk}/cards"

    def mover(seed: int) -> Callable[[], None]:
        def move() -> None:
            dice, client = random.Random(seed), Api(bob)
            for _ in range(40):
                body = {"columnId": dice.choice(columns), "position": dice.randrange(24)}
                client.patch(f"{url}/{dice.choice(made)}/move", body)

        return move

    at_once([mover(seed) for seed in range(8)])
    assert Card.objects.count() == 24
    assert gapless(project)
    moved = StoredEvent.objects.filter(stream=project.pk, seq__gt=start).order_by("seq")
    assert [event.seq for event in moved] == list(range(start + 1, start + 321))


def test_changes_of_different_fields_at_once_are_all_kept(project: Project, bob: User) -> None:
    card = factories.make_card(project)
    url = f"/api/projects/{project.pk}/cards/{card.pk}"
    changes: list[dict[str, Any]] = [
        {"title": "New"},
        {"prompt": "Do it"},
        {"labels": ["a"]},
        {"permissionMode": "unattended"},
    ]
    at_once(
        [
            *(lambda body=body: Api(bob).patch(url, body) for body in changes),
            lambda: Api(bob).patch(f"{url}/auto-mode", {"enabled": True}),
            lambda: Api(bob).patch(
                f"{url}/move", {"columnId": factories.column(project, "done").pk}
            ),
        ]
    )
    found = Api(bob).get(url)
    for change in changes:
        for key, value in change.items():
            assert found[key] == value
    assert found["autoMode"] is True
    assert found["completedAt"] is not None


def test_creating_moving_and_deleting_at_once_leaves_no_gap(project: Project, bob: User) -> None:
    made = [factories.make_card(project, title=str(n)).pk for n in range(16)]
    done = factories.column(project, "done").pk
    url = f"/api/projects/{project.pk}/cards"

    def statuses(method: str, numbers: list[int], path: str, body: Any) -> Callable[[], None]:
        def work() -> None:
            client = Api(bob)
            for number in numbers:
                client.request(method, path.format(number), body, status=None)
                assert client.response.status_code in (200, 201, 204, 404)

        return work

    at_once(
        [
            statuses("DELETE", made[::2], url + "/{}", {}),
            statuses("DELETE", made[::3], url + "/{}", {}),
            statuses("PATCH", made, url + "/{}/move", {"columnId": done, "position": 0}),
            statuses("PATCH", made[::-1], url + "/{}/move", {"columnId": done}),
            statuses("POST", made, url, {"title": "new"}),
        ]
    )
    assert gapless(project)


def test_two_cards_can_not_be_made_to_wait_for_each_other(project: Project, bob: User) -> None:
    url = f"/api/projects/{project.pk}/cards"
    for _ in range(5):
        a, b = (factories.make_card(project, title=name).pk for name in "ab")
        answers: list[int] = []

        def block(card: int, blocker: int, answers: list[int] = answers) -> None:
            client = Api(bob)
            client.request("PATCH", f"{url}/{card}", {"blockedBy": [blocker]}, status=None)
            answers.append(client.response.status_code)

        at_once([lambda a=a, b=b: block(a, b), lambda a=a, b=b: block(b, a)])
        assert sorted(answers) == [200, 400]
        assert Dependency.objects.filter(card__in=[a, b]).count() == 1


def test_a_board_deleted_under_a_move_is_a_404_or_takes_the_card_with_it(
    project: Project, bob: User
) -> None:
    url = f"/api/projects/{project.pk}"
    for _ in range(4):
        board = Api(bob).post(f"{url}/boards", {"name": "Short-lived"})
        column = Api(bob).get(f"{url}/columns?boardId={board['id']}")[0]["id"]
        card = factories.make_card(project).pk
        answers: list[int] = []

        def move(card: int = card, column: str = column, answers: list[int] = answers) -> None:
            client = Api(bob)
            client.request("PATCH", f"{url}/cards/{card}/move", {"columnId": column}, status=None)
            answers.append(client.response.status_code)

        at_once([move, lambda board=board: Api(bob).delete(f"{url}/boards/{board['id']}")])
        assert answers[0] in (200, 404)
        assert gapless(project)
