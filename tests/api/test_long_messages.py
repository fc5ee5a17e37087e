from __future__ import annotations

from typing import Any

import pytest
from django.db import connection

from apps.accounts.models import User
from apps.projects.models import Project
from tests import factories

pytestmark = [pytest.mark.django_db, pytest.mark.both_databases]


@pytest.mark.parametrize("bound", ["after", "beforeIndex"])
def test_a_page_of_long_messages_ends_before_it_has_too_many_bytes(
    api: Any, bob: User, project: Project, bound: str
) -> None:
    card = factories.make_card(project)
    session = factories.make_session(card, state="completed")
    for index in range(12):
        text = {"content": "ü" * 300_000} if index % 2 else {"tool_call": f'"{"x" * 600_000}"'}
        factories.make_message(session, index=index, queue=None, **text)
    client = api(bob)
    url = f"/api/projects/{project.pk}/cards/{card.pk}/agent/messages?limit=500"
    seen: list[int] = []
    mark, more = -1 if bound == "after" else 12, True
    while more:
        page = client.get(f"{url}&{bound}={mark}")
        assert len(client.response.content) < 2_500_000
        found = [each["index"] for each in page["messages"]]
        seen = [*seen, *found] if bound == "after" else [*found, *seen]
        mark, more = seen[-1] if bound == "after" else seen[0], page["hasMore"]
    assert seen == list(range(12))


def test_what_is_said_while_a_page_is_read_pushes_nothing_out_of_it(
    api: Any, bob: User, project: Project
) -> None:
    session = factories.make_session(factories.make_card(project), state="running")
    for index in range(5):
        factories.make_message(session, index=index, queue=None)
    said = []

    def say(execute: Any, sql: str, *rest: Any) -> Any:
        found = execute(sql, *rest)
        if "bytes" in sql and not said:
            said.append(factories.make_message(session, index=5, queue=None))
        return found

    client = api(bob)
    with connection.execute_wrapper(say):
        page = client.get(f"/api/projects/{project.pk}/cards/{session.card_id}/agent/messages")
    assert said
    seen = [each["index"] for each in page["messages"]]
    assert (seen[:5], page["hasMore"]) == (list(range(5)), False)
