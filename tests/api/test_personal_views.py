"""What each person has of projects and cards for themselves: order, last opened, read, panels."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from apps.accounts.models import User
from apps.cards.models import CardRead, PanelState
from apps.events.models import EventStream
from apps.projects.models import Project, ProjectVisit
from tests import factories
from tests.client import Api
from tests.together import at_once

pytestmark = [pytest.mark.django_db, pytest.mark.both_databases]

REORDER = "/api/projects/reorder"


@pytest.fixture
def url(project: Project) -> str:
    return f"/api/projects/proj_{project.pk:03d}"


@pytest.fixture
def projects(alice: User, bob: User, project: Project) -> list[int]:
    """Four that Alice and Bob share, oldest first."""
    more = [factories.make_project(alice, name=str(number)) for number in range(3)]
    for each in more:
        factories.add_member(each, bob)
    return [project.pk, *(each.pk for each in more)]


def listed(user: User) -> list[int]:
    return [int(each["id"].removeprefix("proj_")) for each in Api(user).get("/api/projects")]


def test_each_person_orders_their_own_list(
    api: Any, alice: User, bob: User, projects: list[int]
) -> None:
    one, two, three, four = projects
    ordered = api(bob).patch(REORDER, {"ids": [f"proj_{three:03d}", str(one)]})
    # Those left out keep their order behind the listed ones.
    assert listed(bob) == [three, one, two, four]
    assert ordered == api(bob).get("/api/projects")
    assert [each["position"] for each in ordered] == [0, 1, 2, 3]
    assert listed(alice) == projects
    api(bob).patch(REORDER, {"ids": [four]})
    assert listed(bob) == [four, three, one, two]
    assert api(bob).patch(REORDER, {"ids": []}) == api(bob).get("/api/projects")


def test_an_order_of_what_one_does_not_have_is_a_400(
    api: Any, alice: User, bob: User, charlie: User, projects: list[int]
) -> None:
    strange = factories.make_project(charlie).pk
    for ids in ([strange], [10**17], [projects[0], projects[0]], ["card_001"], [1.5], "x", None):
        api(bob).patch(REORDER, {"ids": ids}, 400)
    for body in ({}, {"ids": {"a": 1}}):
        api(bob).patch(REORDER, body, 400)
    api(None).patch(REORDER, {"ids": []}, 401)
    assert not ProjectVisit.objects.exists()


def test_an_order_takes_the_same_queries_however_long(
    api: Any, alice: User, projects: list[int], django_assert_max_num_queries: Any
) -> None:
    for number in range(12):
        factories.make_project(alice, name=f"more {number}")
    client = api(alice)
    client.get("/api/projects")
    with django_assert_max_num_queries(12):
        client.patch(REORDER, {"ids": projects[::-1]})


@pytest.mark.django_db(transaction=True)
def test_of_orders_given_at_once_one_counts_as_a_whole(bob: User, projects: list[int]) -> None:
    for _ in range(3):
        orders = list(itertools.permutations(projects))[5:23:3]
        at_once([lambda ids=ids: Api(bob).patch(REORDER, {"ids": ids}) for ids in orders])
        assert tuple(listed(bob)) in orders
        places = ProjectVisit.objects.filter(user=bob).values_list("position", flat=True)
        assert sorted(places) == [0, 1, 2, 3]


@pytest.mark.django_db(transaction=True)
def test_an_order_with_a_project_that_is_deleted_meanwhile_counts_or_is_a_400(
    alice: User, bob: User, projects: list[int]
) -> None:
    for number in range(5):
        gone = factories.make_project(alice, name=f"short-lived {number}")
        factories.add_member(gone, bob)

        def order(pk: int = gone.pk) -> int:
            client = Api(bob)
            client.request("PATCH", REORDER, {"ids": [pk, *projects[::-1]]}, status=None)
            return int(client.response.status_code)

        def remove(pk: int = gone.pk) -> None:
            Api(alice).delete(f"/api/projects/{pk}")

        assert at_once([order, remove])[0] in (200, 400)
        assert sorted(listed(bob)) == projects


def test_when_a_project_was_last_opened_is_each_persons_own(
    api: Any, alice: User, bob: User, charlie: User, project: Project, url: str
) -> None:
    assert api(bob).get(url)["lastOpenedAt"] is None
    version = EventStream.objects.get(pk=project.pk).version
    assert api(bob).patch(f"{url}/last-opened", status=204) is None
    first = api(bob).get(url)["lastOpenedAt"]
    assert first.endswith("Z")
    api(bob).patch(f"{url}/last-opened", {}, 204)
    assert api(bob).get("/api/projects")[0]["lastOpenedAt"] > first
    assert api(alice).get(url)["lastOpenedAt"] is None
    api(charlie).patch(f"{url}/last-opened", {}, 404)
    assert EventStream.objects.get(pk=project.pk).version == version


def test_marking_all_read_is_each_persons_own(
    api: Any, alice: User, bob: User, project: Project, url: str
) -> None:
    cards = [factories.make_card(project, title=str(number)) for number in range(3)]
    api(bob).post(f"{url}/cards/{cards[0].pk}/view", status=204)
    client = api(bob)
    client.get(f"{url}/cards")
    etag = client.response["ETag"]
    assert api(bob).get(url)["unreadCount"] == 2
    assert api(bob).post(f"{url}/mark-all-read", status=204) is None
    assert api(bob).get(url)["unreadCount"] == 0
    assert not any(each["unread"] for each in client.get(f"{url}/cards", If_None_Match=etag))
    assert CardRead.objects.filter(user=bob).count() == 3
    assert not CardRead.objects.filter(user=alice).exists()
    # What happens after that is unread again.
    api(alice).patch(f"{url}/cards/{cards[1].pk}", {"title": "changed"})
    assert [each["unread"] for each in api(bob).get(f"{url}/cards")] == [False, True, False]
    api(bob).post(f"{url}/mark-all-read", {}, 204)
    assert api(bob).get(url)["unreadCount"] == 0


def test_marking_all_read_when_nothing_is_unread_changes_nothing(
    api: Any, alice: User, project: Project, url: str
) -> None:
    factories.make_card(project)
    client = api(alice)
    client.get(f"{url}/cards")
    etag = client.response["ETag"]
    api(alice).post(f"{url}/mark-all-read", status=204)
    client.get(f"{url}/cards", 304, If_None_Match=etag)


def test_marking_all_read_takes_the_same_queries_however_many(
    api: Any, bob: User, project: Project, url: str, django_assert_max_num_queries: Any
) -> None:
    for number in range(15):
        factories.make_card(project, title=str(number))
    client = api(bob)
    client.get(url)
    with django_assert_max_num_queries(8):
        client.post(f"{url}/mark-all-read", status=204)


@pytest.mark.django_db(transaction=True)
def test_all_is_marked_read_by_several_while_cards_go(
    alice: User, bob: User, project: Project, url: str
) -> None:
    cards = [factories.make_card(project, title=str(number)).pk for number in range(6)]

    def read(user: User) -> None:
        for _ in range(3):
            Api(user).post(f"{url}/mark-all-read", status=204)

    def remove() -> None:
        for pk in cards[:4]:
            Api(alice).delete(f"{url}/cards/{pk}")

    at_once([lambda: read(bob), lambda: read(bob), lambda: read(alice), remove])
    assert Api(bob).get(url)["unreadCount"] == 0


def test_panels_are_merged_by_card_and_each_person_has_their_own(
    api: Any, alice: User, bob: User, project: Project, url: str
) -> None:
    one, two = (f"card_{factories.make_card(project).pk:03d}" for _ in range(2))
    panels = f"{url}/panel-states"
    assert api(bob).get(panels) == {}
    state = {"open": True, "tab": "diff", "sizes": [1, 2.5], "o": {"a": None}, "t": "ü\0\"'"}
    assert api(bob).put(panels, {one: state}) == {one: state}
    assert api(bob).put(panels, {two: {}}) == {one: state, two: {}}
    assert api(bob).put(panels, {one: {"open": False}}) == {one: {"open": False}, two: {}}
    assert api(bob).put(panels, {two: None}) == api(bob).get(panels) == {one: {"open": False}}
    assert api(bob).put(panels, {}) == {one: {"open": False}}
    assert api(alice).get(panels) == {}
    client = api(bob)
    client.get(panels)
    assert client.get(panels, 304, If_None_Match=client.response["ETag"]) is None


def test_panels_of_unknown_and_foreign_cards_are_left_out(
    api: Any, bob: User, project: Project, charlie: User, url: str
) -> None:
    foreign = factories.make_card(factories.make_project(charlie)).pk
    mine = factories.make_card(project).pk
    body = {str(foreign): {}, "card_999999": {}, "nonsense": {}, "": {}, str(mine): {"a": 1}}
    assert api(bob).put(f"{url}/panel-states", body) == {f"card_{mine:03d}": {"a": 1}}
    assert PanelState.objects.count() == 1


def test_a_panel_state_is_forgotten_whether_or_not_there_is_one(
    api: Any, alice: User, bob: User, project: Project, url: str
) -> None:
    card = factories.make_card(project)
    panels = f"{url}/panel-states"
    for person in (alice, bob):
        api(person).put(panels, {str(card.pk): {"a": 1}})
    for _ in range(2):
        api(bob).delete(f"{panels}/card_{card.pk:03d}")
    assert api(bob).get(panels) == {}
    assert len(api(alice).get(panels)) == 1
    api(bob).delete(f"{panels}/card_999999")
    other = factories.make_project(alice, name="Other")
    api(alice).delete(f"/api/projects/{other.pk}/panel-states/{card.pk}")
    assert len(api(alice).get(panels)) == 1
    api(alice).delete(f"{url}/cards/{card.pk}")
    assert api(alice).get(panels) == {}


@pytest.mark.parametrize("state", [5, "open", [], True, 1.5])
def test_a_panel_state_that_is_no_object_is_a_400(
    api: Any, bob: User, project: Project, url: str, state: Any
) -> None:
    card = factories.make_card(project).pk
    error = api(bob).put(f"{url}/panel-states", {str(card): state}, 400)
    assert str(card) in error["message"]
    assert not PanelState.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_panel_states_have_a_limit(api: Any, bob: User, project: Project, url: str) -> None:
    one, two = (factories.make_card(project).pk for _ in range(2))
    panels = f"{url}/panel-states"
    large = {"a": "x" * 200_000}
    kept = api(bob).put(panels, {str(one): large})
    api(bob).put(panels, {str(two): large}, 413)
    assert api(bob).get(panels) == kept
    # Instead of the other there is room.
    api(bob).put(panels, {str(one): None, str(two): large})
    api(bob).put(panels, {str(number): None for number in range(10_001)}, 413)
    api(bob).put(panels, {f"card_{number}": None for number in range(10**6, 10**6 + 9_000)})
    deep: Any = {}
    for _ in range(400):
        deep = {"a": deep}
    api(bob).put(panels, {str(one): deep}, 400)


@pytest.mark.django_db(transaction=True)
def test_panels_are_kept_while_cards_go(alice: User, bob: User, project: Project, url: str) -> None:
    cards = [factories.make_card(project).pk for _ in range(6)]

    def keep(number: int) -> None:
        for round_ in range(3):
            body = {str(pk): {"by": number, "round": round_} for pk in cards}
            Api(bob).put(f"{url}/panel-states", body)

    def remove() -> None:
        for pk in cards[:3]:
            Api(alice).delete(f"{url}/cards/{pk}")

    at_once([lambda: keep(1), lambda: keep(2), remove])
    kept = Api(bob).get(f"{url}/panel-states")
    assert kept.keys() == {f"card_{pk:03d}" for pk in cards[3:]}
    # Of two that write the same cards one was last, for all of them.
    assert len({each["by"] for each in kept.values()}) == 1
