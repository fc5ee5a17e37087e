"""A card's own way over its board, and the steps that a person approves."""

from __future__ import annotations

from typing import Any

import pytest

from apps.accounts.models import User
from apps.agents.turns import first_prompt
from apps.boards.models import Column
from apps.cards import services
from apps.cards.models import Card, PipelineStep
from apps.events.models import StoredEvent
from apps.projects.models import Project
from tests import factories
from tests.client import Api
from tests.together import at_once

pytestmark = [pytest.mark.django_db, pytest.mark.both_databases]

NAMES = ("Plan", "Build", "Check")


@pytest.fixture
def columns(api: Any, project: Project, bob: User) -> dict[str, str]:
    """By name: Backlog, Plan, Build, Check (all three active), Done, Archive."""
    url = f"/api/projects/{project.pk}/columns"
    board = factories.first_board(project).pk
    api(bob).delete(f"{url}/{factories.column(project, 'active').pk}")
    for name in NAMES:
        body = {"name": name, "columnType": "active", "boardId": board, "prompt": f"{name} it."}
        api(bob).post(url, body)
    api(bob).post(url, {"name": "Archive", "columnType": "archive", "boardId": board})
    found = {each["name"]: each["id"] for each in api(bob).get(url)}
    order = [found[name] for name in ("Backlog", *NAMES, "Done", "Archive")]
    api(bob).patch(f"{url}/reorder", {"ids": order})
    return found


@pytest.fixture
def card(project: Project, columns: dict[str, str]) -> Card:
    return factories.make_card(project)


@pytest.fixture
def url(project: Project, card: Card) -> str:
    return f"/api/projects/{project.pk}/cards/{card.pk}"


def finished(card: Card) -> None:
    """As the agent's end of a step leaves it, without auto mode."""
    services.set_agent_status(card.pk, "completed", noted=True, pending_approval=True)


def test_without_steps_of_its_own_a_card_goes_through_its_board_but_the_archive(
    api: Any, url: str, columns: dict[str, str], bob: User
) -> None:
    steps = api(bob).get(f"{url}/pipeline")["steps"]
    assert steps == [
        {
            "columnId": columns["Backlog"],
            "columnName": "Backlog",
            "prompt": "",
            "inherited": True,
        },
        *(
            {"columnId": columns[n], "columnName": n, "prompt": f"{n} it.", "inherited": True}
            for n in NAMES
        ),
        {"columnId": columns["Done"], "columnName": "Done", "prompt": "", "inherited": True},
    ]


def test_steps_are_replaced_read_back_and_restored(
    api: Any, project: Project, url: str, columns: dict[str, str], bob: User
) -> None:
    before = api(bob).get(f"{url}/pipeline")
    given = [
        {"columnId": columns["Check"], "prompt": "Twice.", "columnName": "ignored"},
        {"columnId": columns["Plan"]},
        {"columnId": columns["Build"], "prompt": ""},
    ]
    put = api(bob).put(f"{url}/pipeline", {"steps": given})
    assert put == {
        "steps": [
            {"columnId": columns["Check"], "columnName": "Check", "prompt": "Twice.", "inherited": False},
            {"columnId": columns["Plan"], "columnName": "Plan", "prompt": "Plan it.", "inherited": True},
            {"columnId": columns["Build"], "columnName": "Build", "prompt": "Build it.", "inherited": True},
        ]
    }  # fmt: skip
    assert api(bob).get(f"{url}/pipeline") == put
    event = StoredEvent.objects.latest("seq")
    assert (event.type, event.actor_id) == ("card.updated", bob.pk)
    assert api(bob).put(f"{url}/pipeline", put) == put
    assert StoredEvent.objects.latest("seq").seq == event.seq
    assert api(bob).put(f"{url}/pipeline", {"steps": []}) == before
    assert not PipelineStep.objects.exists()


def test_a_column_that_goes_drops_out(
    api: Any, project: Project, url: str, columns: dict[str, str], bob: User
) -> None:
    steps = [{"columnId": columns[name]} for name in ("Plan", "Check")]
    api(bob).put(f"{url}/pipeline", {"steps": steps})
    api(bob).delete(f"/api/projects/{project.pk}/columns/{columns['Plan']}")
    (left,) = api(bob).get(f"{url}/pipeline")["steps"]
    assert left["columnName"] == "Check"


def test_steps_that_make_no_sense_are_refused_and_nothing_changes(
    api: Any, project: Project, url: str, columns: dict[str, str], bob: User, alice: User
) -> None:
    other = factories.make_project(alice, name="Other")
    second = api(bob).post(f"/api/projects/{project.pk}/boards", {"name": "Second"})
    elsewhere = api(bob).get(f"/api/projects/{project.pk}/columns?boardId={second['id']}")[0]["id"]
    plan = {"columnId": columns["Plan"]}
    for steps in (
        [plan, plan],
        [{"columnId": factories.column(other, "active").pk}],
        [{"columnId": elsewhere}],
        [{"columnId": 10**15}],
        [{"columnId": "card_001"}],
        [{**plan, "prompt": 5}],
        [{**plan, "prompt": "a\0"}],
        [{}],
        ["Plan"],
        {"0": plan},
        None,
    ):
        error = api(bob).put(f"{url}/pipeline", {"steps": steps}, 400)
        assert "steps" in error["message"]
    api(bob).put(f"{url}/pipeline", {}, 400)
    assert not PipelineStep.objects.exists()


def test_the_pipeline_is_not_sent_again_until_something_changed(
    api: Any, url: str, columns: dict[str, str], bob: User
) -> None:
    client = api(bob)
    client.get(f"{url}/pipeline")
    etag = client.response["ETag"]
    client.get(f"{url}/pipeline", 304, If_None_Match=etag)
    client.put(f"{url}/pipeline", {"steps": [{"columnId": columns["Plan"]}]})
    client.get(f"{url}/pipeline", 200, If_None_Match=etag)


def test_the_prompt_of_a_step_takes_the_columns_place(
    api: Any, url: str, card: Card, columns: dict[str, str], bob: User
) -> None:
    steps = [{"columnId": columns["Plan"], "prompt": "Draw it."}, {"columnId": columns["Build"]}]
    api(bob).put(f"{url}/pipeline", {"steps": steps})
    said = []
    for name in ("Plan", "Build", "Check"):
        api(bob).patch(f"{url}/move", {"columnId": columns[name]})
        said.append(first_prompt(Card.objects.get()).splitlines()[-1])
    assert said == ["Draw it.", "Build it.", "Check it."]


@pytest.mark.parametrize(
    ("steps", "stands", "goes_to"),
    [
        (None, "Plan", "Build"),
        (None, "Check", "Done"),
        (["Plan", "Check"], "Plan", "Check"),
        (["Check", "Backlog", "Plan"], "Check", "Plan"),
        (["Check", "Plan"], "Plan", "Done"),
        # It stands outside: the order of the board.
        (["Plan", "Check"], "Build", "Check"),
        (["Check"], "Plan", "Build"),
    ],
)
def test_an_approved_card_goes_on_along_its_own_way(
    api: Any,
    url: str,
    card: Card,
    columns: dict[str, str],
    bob: User,
    steps: list[str] | None,
    stands: str,
    goes_to: str,
) -> None:
    if steps is not None:
        body = {"steps": [{"columnId": columns[name]} for name in steps]}
        api(bob).put(f"{url}/pipeline", body)
    api(bob).patch(f"{url}/move", {"columnId": columns[stands], "defer": True})
    finished(card)
    api(bob).post(f"{url}/approve-auto", status=204)
    found = api(bob).get(url)
    assert (found["columnId"], found["pendingApproval"]) == (columns[goes_to], False)
    assert (found["completedAt"] is not None) == (goes_to == "Done")
    error = api(bob).post(f"{url}/approve-auto", {}, 409)
    assert error["code"] == "nothing_to_approve"


def test_auto_mode_switched_on_goes_along_the_cards_own_way(
    api: Any, url: str, card: Card, columns: dict[str, str], bob: User
) -> None:
    steps = [{"columnId": columns[name]} for name in ("Plan", "Check")]
    api(bob).put(f"{url}/pipeline", {"steps": steps})
    api(bob).patch(f"{url}/move", {"columnId": columns["Plan"], "defer": True})
    finished(card)
    answer = api(bob).patch(f"{url}/auto-mode", {"enabled": True})
    assert answer["columnId"] == columns["Check"]


@pytest.mark.parametrize(
    ("steps", "starts_in"),
    [(None, "Plan"), (["Check", "Build"], "Check"), (["Backlog", "Done"], "Plan")],
)
def test_activating_begins_at_the_first_active_step(
    api: Any,
    url: str,
    columns: dict[str, str],
    bob: User,
    steps: list[str] | None,
    starts_in: str,
) -> None:
    if steps is not None:
        body = {"steps": [{"columnId": columns[name]} for name in steps]}
        api(bob).put(f"{url}/pipeline", body)
    # There is no key, so the move alone succeeds.
    api(bob).post(f"{url}/activate", status=409)
    assert api(bob).get(url)["columnId"] == columns[starts_in]


def test_without_anywhere_to_go_an_approval_says_so(
    api: Any, project: Project, url: str, card: Card, columns: dict[str, str], bob: User
) -> None:
    api(bob).delete(f"/api/projects/{project.pk}/columns/{columns['Done']}")
    api(bob).patch(f"{url}/move", {"columnId": columns["Check"], "defer": True})
    finished(card)
    assert api(bob).post(f"{url}/approve-auto", status=409)["code"] == "no_next_column"
    assert api(bob).get(url)["pendingApproval"] is True


@pytest.mark.django_db(transaction=True)
def test_a_step_that_eight_people_approve_at_once_moves_the_card_once(
    project: Project, url: str, card: Card, columns: dict[str, str], bob: User
) -> None:
    Api(bob).patch(f"{url}/move", {"columnId": columns["Plan"], "defer": True})
    finished(card)
    answers: list[int] = []

    def approve() -> None:
        client = Api(bob)
        client.request("POST", f"{url}/approve-auto", status=None)
        answers.append(client.response.status_code)

    at_once([approve] * 8)
    assert sorted(answers) == [204, *[409] * 7]
    assert Card.objects.get().column == Column.objects.get(name="Build")


@pytest.mark.django_db(transaction=True)
def test_steps_that_several_people_set_at_once_are_one_persons(
    url: str, columns: dict[str, str], bob: User
) -> None:
    ways = [["Plan", "Build"], ["Build", "Check"], ["Check", "Plan", "Done"], []]

    def put(way: list[str]) -> None:
        steps = [{"columnId": columns[name], "prompt": str(way)} for name in way]
        Api(bob).put(f"{url}/pipeline", {"steps": steps})

    at_once([lambda way=way: put(way) for way in ways * 2])
    steps = Api(bob).get(f"{url}/pipeline")["steps"]
    names = [each["columnName"] for each in steps if not each["inherited"]]
    assert names in ways
    assert {each["prompt"] for each in steps if not each["inherited"]} <= {str(names)}
