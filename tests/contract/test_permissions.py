"""Every route below a project has a role for every action, and keeps it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.urls import URLPattern, URLResolver, get_resolver

from apps.accounts.models import User
from apps.projects.models import Project
from apps.projects.scoping import ProjectScopedViewSet, Role
from tests import factories

PEOPLE = ("nobody", "charlie", "bob", "alice", "root")


def _patterns(prefix: str, entries: list[Any]) -> Iterator[tuple[str, URLPattern]]:
    for entry in entries:
        route = prefix + str(entry.pattern)
        if isinstance(entry, URLResolver):
            yield from _patterns(route, entry.url_patterns)
        else:
            yield route, entry


def _scoped() -> Iterator[tuple[str, type[ProjectScopedViewSet], str, str]]:
    """(route, viewset, method, action) of everything below a project."""
    for route, pattern in _patterns("", get_resolver().url_patterns):
        viewset = getattr(pattern.callback, "cls", None)
        if isinstance(viewset, type) and issubclass(viewset, ProjectScopedViewSet):
            for method, action in pattern.callback.actions.items():  # type: ignore[attr-defined]
                if method != "head":
                    yield route, viewset, method.upper(), action


SCOPED = list(_scoped())


def test_everything_below_a_project_is_scoped() -> None:
    loose = [
        route
        for route, pattern in _patterns("", get_resolver().url_patterns)
        if "<project:project_id>" in route
        and not issubclass(getattr(pattern.callback, "cls", object), ProjectScopedViewSet)
    ]
    assert loose == []
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


@pytest.fixture
def ids(project: Project, bob: User) -> dict[str, int | str]:
    card = factories.make_card(project)
    session = factories.make_session(card)
    return {
        "project_id": project.pk,
        "board_id": card.column.board_id,
        "column_id": factories.column(project, "done").pk,
        "card_id": card.pk,
        "message_id": factories.make_message(session).pk,
        "request_id": factories.make_request(session).pk,
        # Bob may take himself off the list, though nobody else.
        "user_id": bob.pk,
        "email": factories.invite(project, "dora@example.org").email,
        "script_id": factories.make_script(project).pk,
    }


def _address(route: str, ids: dict[str, int | str]) -> str:
    path = "/" + route
    for name, value in ids.items():
        path = path.replace(f"<{name.removesuffix('_id')}:{name}>", str(value))
    assert "<" not in path, f"{route}: say in `ids` what stands there"
    return path


@pytest.mark.django_db
@pytest.mark.parametrize("person", PEOPLE)
@pytest.mark.parametrize(
    ("route", "viewset", "method", "action"),
    SCOPED,
    ids=[f"{method} {route}" for route, _, method, _ in SCOPED],
)
def test_the_weak_get_a_403_and_strangers_a_404(
    api: Any,
    request: pytest.FixtureRequest,
    ids: dict[str, int | str],
    route: str,
    viewset: type[ProjectScopedViewSet],
    method: str,
    action: str,
    person: str,
) -> None:
    user: User | None = None if person == "nobody" else request.getfixturevalue(person)
    client = api(user)
    client.request(method, _address(route, ids), {}, status=None)
    status = client.response.status_code
    held = {"bob": Role.MEMBER, "alice": Role.ADMIN, "root": Role.ADMIN}.get(person)
    if person == "nobody":
        assert status == 401
    elif held is None:
        assert status == 404
    elif not held.allows(viewset.roles[action]):
        assert status == 403
    else:
        # 400 for the empty body, 409 for a card that has had no agent, and the like.
        assert status in (200, 201, 204, 400, 409), client.response.content


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("route", "method"),
    [(route, method) for route, _, method, _ in SCOPED if route.count("<") > 1],
    ids=[f"{method} {route}" for route, _, method, _ in SCOPED if route.count("<") > 1],
)
def test_a_thing_of_one_project_is_a_404_in_another(
    api: Any, alice: User, ids: dict[str, int | str], route: str, method: str
) -> None:
    other = factories.make_project(alice, name="Other")
    body = {
        "columnId": factories.column(other).pk,
        "enabled": True,
        "credentialId": None,
        "content": "hello",
        "role": "member",
    }
    api(alice).request(method, _address(route, {**ids, "project_id": other.pk}), body, 404)


@pytest.mark.django_db
def test_an_organizations_admin_may_do_what_the_projects_admin_may(
    api: Any, project: Project, charlie: User
) -> None:
    organization = factories.make_organization((charlie, "member"))
    Project.objects.filter(pk=project.pk).update(organization=organization)
    url = f"/api/projects/{project.pk}"
    assert api(charlie).get(url)["role"] == "member"
    api(charlie).patch(url, {"name": "x"}, 403)
    organization.memberships.update(role="admin")
    assert api(charlie).patch(url, {"name": "x"})["role"] == "admin"
    api(charlie).delete(url)


@pytest.mark.django_db
def test_the_stronger_of_two_roles_counts(
    api: Any, project: Project, bob: User, charlie: User
) -> None:
    organization = factories.make_organization((bob, "admin"), (charlie, "member"))
    Project.objects.filter(pk=project.pk).update(organization=organization)
    factories.add_member(project, charlie, "admin")
    url = f"/api/projects/{project.pk}"
    assert api(bob).get(url)["role"] == "admin"
    assert api(charlie).get(url)["role"] == "admin"
    assert len(api(bob).get("/api/projects")) == 1


@pytest.mark.django_db
def test_a_global_admin_reaches_no_project(api: Any, project: Project) -> None:
    eve = factories.make_user("eve", role="admin")
    api(eve).get(f"/api/projects/{project.pk}", 404)
    assert api(eve).get("/api/projects") == []
