"""What a delete costs when agents have said much."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from apps.accounts.models import User
from apps.agents.models import AgentMessage, AgentSession, Turn
from apps.projects.models import Project
from tests import factories
from tests.client import Api

pytestmark = [pytest.mark.django_db, pytest.mark.both_databases]

WHAT = ["card", "column", "board", "project"]


def talk(project: Project, messages: int, **fields: Any) -> AgentSession:
    """A session of a new card with so many messages, the first of which was a person's."""
    session = factories.make_session(factories.make_card(project), **fields)
    AgentMessage.objects.bulk_create(
        AgentMessage(
            session=session, index=index, rev=index, role="user", created_at=timezone.now()
        )
        for index in range(messages)
    )
    first = AgentMessage.objects.get(session=session, index=0)
    Turn.objects.create(session=session, kind=Turn.Kind.FOLLOW_UP, text="Go on", message=first)
    return session


def delete(person: User, session: AgentSession, what: str) -> int:
    """How many statements that was."""
    column = session.card.column
    root = f"/api/projects/{session.project_id}"
    method, url = {
        "card": ("DELETE", f"{root}/cards/{session.card_id}?force=true"),
        "column": ("POST", f"{root}/columns/{column.pk}/clean-all"),
        "board": ("DELETE", f"{root}/boards/{column.board_id}"),
        "project": ("DELETE", root),
    }[what]
    with CaptureQueriesContext(connection) as captured:
        Api(person).request(method, url, None, 204)
    return len(captured)


@pytest.mark.parametrize("what", WHAT)
def test_ten_times_the_messages_go_in_as_many_statements(alice: User, what: str) -> None:
    few = talk(factories.make_project(alice), 30)
    many = talk(factories.make_project(alice, path="/srv/park"), 300)
    assert delete(alice, few, what) == delete(alice, many, what)
    assert not AgentMessage.objects.exists()
    assert not Turn.objects.exists()


def test_of_no_message_that_goes_the_database_asks_who_refers_to_it() -> None:
    with connection.cursor() as cursor:
        tables = connection.introspection.table_names(cursor)
        referring = {
            (table, column)
            for table in tables
            for column, (_, other) in connection.introspection.get_relations(cursor, table).items()
            if other == AgentMessage._meta.db_table
        }
    assert referring == set()
