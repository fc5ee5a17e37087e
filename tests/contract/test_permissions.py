"""Who may call what: every route of the table, called by everybody there is."""

from __future__ import annotations

from typing import Any

import pytest
from rest_framework.authentication import BaseAuthentication

from apps.accounts.authentication import BearerAuthentication, OpenAuthentication
from apps.accounts.reach import Tokens, taken_by
from apps.projects.scoping import ProjectScopedViewSet, Role
from tests.contract.endpoints import Endpoint, Route, endpoints, routed, routes
from tests.contract.world import World

# The world's own fixture opens the database, but for a marked test only is there one.
pytestmark = [pytest.mark.django_db, pytest.mark.both_databases]

SIGNED_IN = ("charlie", "bob", "alice", "dora", "olga", "eve", "root")
TOKENS = ("read-only token", "project token", "token elsewhere", "revoked token")

# Who succeeds, by the table's `who`; then what the others get. Bob is a member of the project and alice its
# admin, dora and olga member and admin of its organization, eve an admin of the server, charlie a stranger.
OPEN = set(SIGNED_IN)
AUDIENCES: dict[str, tuple[set[str], dict[str, int]]] = {
    "open": (OPEN, {}),
    "person": (OPEN, {}),
    "project member": ({"bob", "alice", "dora", "olga", "root"}, {"charlie": 404, "eve": 404}),
    "project admin": (
        {"alice", "olga", "root"},
        {"charlie": 404, "eve": 404, "bob": 403, "dora": 403},
    ),
    "organization member": (
        {"dora", "olga", "root"},
        {"charlie": 404, "eve": 404, "bob": 404, "alice": 404},
    ),
    "organization admin": (
        {"olga", "root"},
        {"charlie": 404, "eve": 404, "bob": 404, "alice": 404, "dora": 403},
    ),
    "admin": ({"eve", "root"}, dict.fromkeys(("charlie", "bob", "alice", "dora", "olga"), 403)),
    "super admin": (
        {"root"},
        dict.fromkeys(("charlie", "bob", "alice", "dora", "olga", "eve"), 403),
    ),
    "owner": (
        {"alice", "root"},
        dict.fromkeys(("charlie", "bob", "dora", "olga", "eve"), 404),
    ),
    "owner alone": (
        {"alice"},
        dict.fromkeys(("charlie", "bob", "dora", "olga", "eve", "root"), 404),
    ),
    "author": (
        {"alice", "eve", "root"},
        dict.fromkeys(("charlie", "bob", "dora", "olga"), 403),
    ),
}
# Let in, though the thing's state or the empty body may not allow it.
LET_IN = {200, 201, 202, 204, 302, 400, 409, 413, 415, 429, 502, 503}


def _expected(endpoint: Endpoint, person: str) -> int | None:
    """The status that refuses; None for whoever is let in."""
    if endpoint.who == "open":
        return None
    if person in ("nobody", "revoked token"):
        return 401
    if person not in TOKENS:
        return AUDIENCES[endpoint.who][1].get(person)
    if endpoint.reached_by == "none":
        return 403
    if endpoint.reached_by == "unbound" and person != "read-only token":
        return 403
    if person == "read-only token" and endpoint.method != "GET":
        return 403
    # The tokens are root's.
    if person == "token elsewhere" and (endpoint.who != "person" or endpoint.method != "GET"):
        return 404
    return AUDIENCES[endpoint.who][1].get("root")


def test_every_route_is_in_the_table() -> None:
    known = {each.key for each in endpoints()}
    assert [route for route in routes() if route.key not in known] == []


@pytest.mark.django_db
@pytest.mark.parametrize("endpoint", routed(), ids=lambda each: each.id)
def test_everybody_gets_what_the_table_says(world: World, endpoint: Endpoint) -> None:
    wrong = []
    for person in ("nobody", *SIGNED_IN, *TOKENS):
        response = world.ask(person, endpoint)
        expected = _expected(endpoint, person)
        status = response.status_code
        if status != expected if expected is not None else status not in LET_IN:
            wrong.append((person, status, expected, response.content[:200]))
    assert wrong == []


@pytest.mark.parametrize(
    "endpoint",
    [
        each
        for each in routed()
        if "{projectId}/" in each.path
        and each.path.count("{") > 1
        # A preference that isn't there is gone already (C26).
        and each.id != "panel-states.delete"
    ],
    ids=lambda each: each.id,
)
def test_a_thing_of_one_project_is_a_404_in_another(world: World, endpoint: Endpoint) -> None:
    response = world.ask("alice", endpoint, projectId=world.elsewhere.pk)
    assert response.status_code == 404, response.content


def _reads_tokens(route: Route) -> bool:
    classes: list[type[BaseAuthentication]] = getattr(route.view, "authentication_classes", [])
    return any(
        issubclass(each, BearerAuthentication) and not issubclass(each, OpenAuthentication)
        for each in classes
    )


@pytest.mark.parametrize("view", sorted({r.view for r in routes() if _reads_tokens(r)}, key=str))
def test_every_view_says_which_tokens_it_takes(view: Any) -> None:
    said = [each for each in view.__mro__ if "tokens" in vars(each) and not _is_scope(each)]
    assert said, f"{view.__name__}: say in `tokens` which personal tokens it takes"
    declared = view.tokens
    if isinstance(declared, dict):
        known = {route.action or route.method.lower() for route in routes() if route.view is view}
        assert declared.keys() <= known
        assert all(isinstance(each, Tokens) for each in declared.values())


def _is_scope(view: Any) -> bool:
    return view.__name__.endswith("ScopedViewSet")


def test_a_view_that_says_nothing_takes_no_token() -> None:
    assert taken_by(object(), "GET") is Tokens.NONE


def test_nothing_that_concerns_a_credential_is_for_tokens() -> None:
    concerned = [
        each
        for each in endpoints()
        if "credential" in each.path or any("credential" in name for name in each.body)
    ]
    assert {each.reached_by for each in concerned} <= {"none"}


SCOPED = [
    (route.path, route.view, route.method, str(route.action))
    for route in routes()
    if isinstance(route.view, type) and issubclass(route.view, ProjectScopedViewSet)
]


def test_everything_below_a_project_is_scoped() -> None:
    scoped = {path for path, *_ in SCOPED}
    loose = {r.path for r in routes() if "<project:project_id>" in r.path} - scoped
    assert loose == set()
    assert len(SCOPED) > 25


@pytest.mark.parametrize(
    ("viewset", "action"),
    sorted({(viewset, action) for _, viewset, _, action in SCOPED}, key=str),
    ids=lambda value: value if isinstance(value, str) else value.__name__,
)
def test_every_action_has_a_role(viewset: type[ProjectScopedViewSet], action: str) -> None:
    assert isinstance(viewset.roles.get(action), Role)


@pytest.mark.parametrize("viewset", sorted({entry[1] for entry in SCOPED}, key=str))
def test_no_role_is_for_an_action_that_is_not_routed(viewset: type[ProjectScopedViewSet]) -> None:
    routed = {action for _, each, _, action in SCOPED if each is viewset}
    assert viewset.roles.keys() == routed
