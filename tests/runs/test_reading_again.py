"""Lines that change while those who watch catch up."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connection
from django.db.models import F

from apps.accounts.models import User
from apps.agents.models import AgentMessage
from apps.agents.transcripts import Transcripts
from apps.projects.models import Project
from tests import factories

pytestmark = [pytest.mark.django_db, pytest.mark.both_databases]


def test_a_line_that_changes_between_measuring_and_reading_hides_none_behind_it(
    alice: User, project: Project
) -> None:
    session = factories.make_session(factories.make_card(project), state="running")
    for index in range(6):
        factories.make_message(
            session, index=index, rev=index + 1, queue=None, content="x" * 900_000
        )
    changed = []

    def change(execute: Any, sql: str, *rest: Any) -> Any:
        found = execute(sql, *rest)
        if "bytes" in sql and not changed:
            changed.append(
                AgentMessage.objects.filter(session=session, index=0).update(rev=F("rev") + 6)
            )
        return found

    revs: list[int] = []
    more = True
    with connection.execute_wrapper(change):
        while more:
            rows, more = Transcripts().after_rev(session.pk, revs[-1] if revs else 0, limit=400)
            revs += [rev for rev, _ in rows]
    assert changed
    assert revs == [2, 3, 4, 5, 6, 7]
