"""What people keep of cards and projects is written without the stream, also while somebody deletes them."""

from __future__ import annotations

import logging
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


@pytest.fixture(autouse=True)
def _without_deadlock(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    with caplog.at_level(logging.WARNING, "apps.events.bus"):
        yield
    records = caplog.get_records("call")
    assert not [each for each in records if each.name == "apps.events.bus"]


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
@pytest.mark.parametrize("when", ["first", "last"])
def test_a_card_goes_though_somebody_keeps_something_of_it(
    alice: User, bob: User, project: Project, what: str, kept: str, when: str
) -> None:
    earlier, card = factories.make_card(project), factories.make_card(project)
    url = f"/api/projects/{project.pk}"
    # What is there already is deleted, and written again, before the card's own row.
    assert status(bob, "PATCH", f"{url}/last-opened") == 204
    panels = {str(earlier.pk): {"a": 1}}
    assert status(bob, "PUT", f"{url}/panel-states", panels) == 200
    write = {
        "panels": ("PUT", f"{url}/panel-states", {**panels, str(card.pk): {"a": 1}}),
        "read": ("POST", f"{url}/cards/{card.pk}/view"),
    }[kept]
    gone = {
        "card": f"{url}/cards/{card.pk}",
        "board": f"{url}/boards/{card.column.board_id}",
        "project": url,
    }[what]
    statement = {"first": 'DELETE FROM "cards_dependency"', "last": 'DELETE FROM "cards_card"'}[
        when
    ]
    with just_before(statement, lambda: status(bob, *write)) as found:
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
