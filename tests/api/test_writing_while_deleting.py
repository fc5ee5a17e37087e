"""What people keep of cards and projects is written without the stream, also while somebody deletes them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.db import connection

from apps.accounts.models import User
from apps.projects.models import Project
from tests import factories
from tests.client import Api

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]


@contextmanager
def just_before(statement: str, write: Callable[[], Any]) -> Iterator[list[Any]]:
    """Somebody else writes when this thread is about to send it; after half a second it goes on anyway."""
    found: list[Any] = []

    def other() -> None:
        try:
            found.append(write())
        finally:
            connection.close()

    thread = threading.Thread(target=other)

    def look(execute: Any, sql: str, *rest: Any) -> Any:
        if sql.startswith(statement) and thread.ident is None:
            thread.start()
            thread.join(0.5)
        return execute(sql, *rest)

    with connection.execute_wrapper(look):
        yield found
    thread.join()


def status(user: User, method: str, path: str, body: Any = None) -> int:
    client = Api(user)
    client.request(method, path, body, status=None)
    return int(client.response.status_code)


@pytest.mark.parametrize("what", ["card", "board", "project"])
@pytest.mark.parametrize("kept", ["panels", "read"])
def test_a_card_goes_though_somebody_keeps_something_of_it(
    alice: User, bob: User, project: Project, what: str, kept: str
) -> None:
    card = factories.make_card(project)
    url = f"/api/projects/{project.pk}"
    write = {
        "panels": ("PUT", f"{url}/panel-states", {str(card.pk): {"a": 1}}),
        "read": ("POST", f"{url}/cards/{card.pk}/view"),
    }[kept]
    gone = {
        "card": f"{url}/cards/{card.pk}",
        "board": f"{url}/boards/{card.column.board_id}",
        "project": url,
    }[what]
    with just_before('DELETE FROM "cards_card"', lambda: status(bob, *write)) as found:
        assert status(alice, "DELETE", gone) == 204
    assert found[0] < 500


def test_a_project_goes_though_somebody_puts_it_into_an_order(
    alice: User, bob: User, project: Project
) -> None:
    order = {"ids": [project.pk]}
    statement = 'DELETE FROM "projects_project" '
    with just_before(
        statement, lambda: status(bob, "PATCH", "/api/projects/reorder", order)
    ) as found:
        assert status(alice, "DELETE", f"/api/projects/{project.pk}") == 204
    assert found[0] in (200, 400)
