"""Finding cards by their words, wherever one may look."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import pytest
from django.core.management import call_command
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from apps.accounts.models import Role, User
from apps.boards.models import Board
from apps.cards import search_index, services
from apps.cards.models import Card
from apps.organizations.models import OrganizationMember
from apps.projects import services as projects
from apps.projects.models import Project
from tests import factories
from tests.client import Api

pytestmark = [pytest.mark.django_db, pytest.mark.both_databases]


def _titles(client: Api, text: str, **more: Any) -> list[str]:
    rest = "".join(f"&{name}={value}" for name, value in more.items())
    return [each["title"] for each in client.get(f"/api/search?q={quote(text)}{rest}")]


@pytest.fixture
def card(project: Project) -> Card:
    return factories.make_card(
        project,
        title="Prune the old Apple tree",
        prompt="Cut what is dead in src/orchard/apple_tree.py, version 3.5, and tell größere Äste.",
        labels=["Winter-work", "Bäume"],
    )


@pytest.mark.parametrize(
    "text",
    [
        "prune",
        "APPLE",
        "tree old",
        "app",
        "prune dead wint",
        "winter-work",
        "baume",
        "BÄUME",
        "Ba\u0308ume",
        "groß",
        "aste",
        "src/orchard",
        "apple_tree.py",
        "orchard",
        "3.5",
        "apple&tree",
        "  tree  ",
    ],
)
def test_a_card_is_found_by_all_its_words_and_the_beginning_of_the_last(
    api: Any, alice: User, card: Card, text: str
) -> None:
    factories.make_card(card.project, title="Something else")
    assert _titles(api(alice), text) == [card.title]


@pytest.mark.parametrize("text", ["pear", "prune pear", "appl tree", "pple", "dead prune summer"])
def test_a_card_without_one_of_the_words_is_not_found(
    api: Any, alice: User, card: Card, text: str
) -> None:
    assert _titles(api(alice), text) == []


@pytest.mark.parametrize(
    "text",
    [
        *('"', "'", '"apple', "*", "apple*", "(", "apple)", "NEAR(a b)", "title:apple", "^apple"),
        *(
            "-apple",
            "apple OR pear",
            "apple AND",
            "NOT",
            "{title} : apple",
            "a:*",
            "apple:A",
            "a|b",
        ),
        *("apple & !tree", "<->", "\\", "%", "%s", ";--", "“”", "“ apple", "😀", "\x01", "\u0308"),
        *("हिन्दी", "日本語", "ﬁne", "\u200d", "x" * 200),
    ],
)
def test_what_looks_like_a_query_is_only_words(
    api: Any, alice: User, card: Card, text: str
) -> None:
    assert set(_titles(api(alice), text)) <= {card.title}


@pytest.mark.parametrize(
    "text", ["apple OR pear", "apple NOT tree", "NEAR(apple tree)", "apple|pear"]
)
def test_no_operator_is_one(api: Any, alice: User, card: Card, text: str) -> None:
    assert _titles(api(alice), text) == []
    other = factories.make_card(card.project, title=f"{text} pear")
    assert _titles(api(alice), text) == [other.title]


def test_an_empty_query_finds_nothing_and_a_long_one_is_refused(
    api: Any, alice: User, card: Card
) -> None:
    client = api(alice)
    for path in ("/api/search", "/api/search?q=", "/api/search?q=%20", "/api/search?q=.%2C"):
        assert client.get(path) == []
    assert "200 characters" in client.get(f"/api/search?q={'x' * 201}", 400)["message"]
    assert "q" in client.get("/api/search?Q=apple", 400)["message"]
    assert "projectId" in client.get("/api/search?q=a&projectId=garden", 400)["message"]


def test_an_answer_says_where_the_card_stands_and_why_it_was_found(
    api: Any, alice: User, bob: User, project: Project
) -> None:
    long = f"{'Before all that. ' * 20}Here the beehive stands.{' And after it.' * 40}"
    card = factories.make_card(project, title="Honey", prompt=long, labels=["bees", "beehives"])
    (found,) = api(bob).get("/api/search?q=beeh")
    listed = api(bob).get(f"/api/projects/{project.pk}/cards")[0]
    assert listed.items() <= found.items()
    assert found["projectName"] == project.name
    assert found["columnName"] == card.column.name
    assert found["matchedIn"] == ["labels", "prompt"]
    assert "Here the beehive stands." in found["snippet"]
    assert found["snippet"].startswith("…")
    assert found["snippet"].endswith("…")
    assert len(found["snippet"]) < 210
    (found,) = api(bob).get("/api/search?q=honey")
    assert found["matchedIn"] == ["title"]
    assert found["snippet"].startswith("Before all that.")


def test_titles_come_first_and_then_the_newest(api: Any, alice: User, project: Project) -> None:
    for title, prompt in (
        ("Roses, the first", ""),
        ("One", "roses"),
        ("Roses, the second", ""),
        ("Two", "Roses!"),
    ):
        factories.make_card(project, title=title, prompt=prompt)
    expected = ["Roses, the second", "Roses, the first", "Two", "One"]
    assert _titles(api(alice), "roses") == expected


def test_at_most_fifty_are_found(api: Any, alice: User, project: Project) -> None:
    for number in range(60):
        factories.make_card(
            project, title=f"{number}" if number % 2 else f"Weed {number}", prompt="weed"
        )
    found = _titles(api(alice), "weed")
    assert len(found) == len(set(found)) == 50
    assert found[0] == "Weed 58"
    assert found[29:31] == ["Weed 0", "59"]


# What is found follows every change, in the same moment


def test_the_index_follows_every_change(api: Any, alice: User, project: Project) -> None:
    client = api(alice)
    path = f"/api/projects/{project.pk}/cards"
    made = client.post(path, {"title": "Tulips", "prompt": "red", "labels": ["spring"]})
    assert _titles(client, "tulips red spring") == ["Tulips"]
    client.patch(f"{path}/{made['id']}", {"title": "Crocus", "prompt": "blue", "labels": ["early"]})
    for gone in ("tulips", "red", "spring"):
        assert _titles(client, gone) == []
    assert _titles(client, "crocus blue early") == ["Crocus"]
    body = {"cardIds": [made["id"]], "action": "label", "addLabels": ["bulbs"]}
    client.post(f"{path}/bulk", body, 200)
    assert _titles(client, "bulbs") == ["Crocus"]
    client.delete(f"{path}/{made['id']}")
    assert _titles(client, "crocus") == []


def test_the_cards_of_what_is_deleted_are_not_found(
    api: Any, root: User, alice: User, project: Project
) -> None:
    other = factories.make_project(alice, name="Other")
    board = api(alice).post(f"/api/projects/{other.pk}/boards", {"name": "Second"})
    for title, board_id in (("Elm one", None), ("Elm two", board["id"])):
        body = {"projectId": other.pk, "title": title, "boardId": board_id}
        api(alice).post("/api/cards", body)
    factories.make_card(project, title="Elm three")
    assert _titles(api(root), "elm") == ["Elm three", "Elm two", "Elm one"]
    api(alice).delete(f"/api/projects/{other.pk}/boards/{board['id']}")
    assert _titles(api(root), "elm") == ["Elm three", "Elm one"]
    projects.delete_project(other, by=alice.pk)
    assert _titles(api(root), "elm") == ["Elm three"]
    assert not Board.objects.filter(project=other.pk).exists()


def test_what_is_rolled_back_is_not_found(api: Any, alice: User, card: Card) -> None:
    class Undone(Exception):
        pass

    def change_much() -> None:
        services.update_card(card, by=alice.pk, title="Fell it", prompt="", labels=[])
        factories.make_card(card.project, title="Plant another")
        raise Undone

    with pytest.raises(Undone), transaction.atomic():
        change_much()
    client = api(alice)
    assert _titles(client, "fell") == _titles(client, "plant") == []
    assert _titles(client, "prune apple") == [card.title]


@pytest.mark.django_db(transaction=True)
def test_cards_from_before_the_index_and_a_table_made_anew_are_found(
    api: Any, alice: User, card: Card
) -> None:
    with connection.cursor() as cursor:
        if connection.vendor == "sqlite":
            for name in ("insert", "update", "delete"):
                cursor.execute(f"DROP TRIGGER cards_search_{name}")
        else:
            for name in ("put", "delete", "truncate"):
                cursor.execute(f"DROP TRIGGER cards_search_{name} ON cards_card")
    late = factories.make_card(card.project, title="Apple juice")
    assert _titles(api(alice), "apple") == [card.title]
    call_command("migrate", verbosity=0)
    assert _titles(api(alice), "apple") == [late.title, card.title]
    services.update_card(late, by=alice.pk, title="Pear juice")
    assert _titles(api(alice), "apple") == [card.title]
    search_index.make(connection)
    assert _titles(api(alice), "pear") == ["Pear juice"]


@pytest.mark.django_db(transaction=True)
def test_an_index_that_an_earlier_version_made_is_made_anew(
    api: Any, alice: User, card: Card
) -> None:
    """Its triggers are all there, and leave the prompt out."""
    with connection.cursor() as cursor:
        if connection.vendor == "sqlite":
            cursor.execute("DROP TRIGGER cards_search_insert")
            cursor.execute(
                "CREATE TRIGGER cards_search_insert AFTER INSERT ON cards_card BEGIN"
                " INSERT INTO cards_search (rowid, title) SELECT new.id, new.title; END"
            )
        else:
            cursor.execute("ALTER TABLE cards_search DROP COLUMN words")
            cursor.execute("ALTER TABLE cards_search ADD COLUMN words tsvector")
            cursor.execute("COMMENT ON TABLE cards_search IS 'older'")
    late = factories.make_card(card.project, title="Late", prompt="Rake the gravel")
    if connection.vendor == "sqlite":
        assert _titles(api(alice), "gravel") == []
    call_command("migrate", verbosity=0)
    assert _titles(api(alice), "gravel") == [late.title]
    assert _titles(api(alice), "apple") == [card.title]


@pytest.mark.django_db(transaction=True)
def test_an_index_that_is_right_is_left_alone(card: Card) -> None:
    search_index.make(connection)
    with CaptureQueriesContext(
        connection,
    ) as asked:
        call_command("migrate", verbosity=0)
    assert [each for each in asked if "DROP" in each["sql"]] == []


def test_the_index_waits_for_the_columns_that_it_is_made_of(card: Card) -> None:
    """Who migrates only half way has a table of cards that lacks what later versions search."""
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE cards_card RENAME COLUMN prompt TO task")
        cursor.execute(
            "DROP TRIGGER cards_search_insert"
            if connection.vendor == "sqlite"
            else "COMMENT ON TABLE cards_search IS 'older'"
        )
    search_index.restore(using="default")


# Nobody finds what they don't reach


def test_everybody_finds_only_what_they_reach(
    api: Any, alice: User, bob: User, charlie: User, root: User, card: Card
) -> None:
    olga, dora = factories.make_user("olga"), factories.make_user("dora")
    eve = factories.make_user("eve", role=Role.ADMIN)
    organization = factories.make_organization(
        (olga, OrganizationMember.Role.ADMIN), (dora, "member")
    )
    orchard = factories.make_project(charlie, name="Orchard", organization=organization)
    secret = factories.make_card(orchard, title="Apple secrets")
    for person, titles in (
        (alice, [card.title]),
        (bob, [card.title]),
        (charlie, [secret.title]),
        (olga, [secret.title]),
        (dora, [secret.title]),
        (eve, []),
        (root, [secret.title, card.title]),
    ):
        assert _titles(api(person), "apple") == titles, person
    assert _titles(api(root), "apple", projectId=orchard.pk) == [secret.title]
    assert _titles(api(charlie), "apple", projectId=f"proj_{orchard.pk:03d}") == [secret.title]
    for person in (alice, eve):
        error = api(person).get(f"/api/search?q=apple&projectId={orchard.pk}", 404)
        assert error == api(person).get("/api/search?q=apple&projectId=999999", 404)
    Api().get("/api/search?q=apple", 401)


def test_a_token_for_a_project_finds_what_is_in_that_project(
    api: Any, alice: User, card: Card
) -> None:
    other = factories.make_project(alice, name="Other")
    mine = factories.make_card(other, title="Apple cake")
    everywhere = Api(factories.make_token(alice, "read"))
    assert _titles(everywhere, "apple") == [mine.title, card.title]
    bound = Api(factories.make_token(alice, "read", project_id=other.pk))
    assert _titles(bound, "apple") == [mine.title]
    assert _titles(bound, "apple", projectId=other.pk) == [mine.title]
    bound.get(f"/api/search?q=apple&projectId={card.project_id}", 404)


def test_an_unchanged_answer_is_a_304(api: Any, alice: User, card: Card) -> None:
    client = api(alice)
    client.get("/api/search?q=apple")
    etag = client.response["ETag"]
    client.get("/api/search?q=apple", 304, If_None_Match=etag)
    factories.make_card(card.project, title="Apple pie")
    client.get("/api/search?q=apple", 200, If_None_Match=etag)
