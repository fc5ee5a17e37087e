"""The pieces of a script's output as rows: each that the worker has named is there once."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from django.core.management import call_command
from django.db import IntegrityError, connection, transaction

from apps.projects.models import Project
from apps.runs.models import State
from apps.scripts.models import ScriptOutput, ScriptRun
from tests import factories

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]


@pytest.fixture
def run() -> ScriptRun:
    project: Project = factories.make_project(factories.make_user("alice"))
    return ScriptRun.objects.create(
        project_id=project.pk, command="make", state=State.COMPLETED, fence=2
    )


@pytest.fixture
def before_the_rule() -> Iterator[None]:
    call_command("migrate", "scripts", "0002", verbosity=0)
    yield
    call_command("migrate", "scripts", verbosity=0)


def store(run: ScriptRun, index: int, content: str, *, fence: int = 2, ordinal: int) -> None:
    ScriptOutput.objects.create(
        run=run,
        index=index,
        rev=index,
        content=content,
        fence=fence,
        ordinal=ordinal,
        created_at=datetime.now(UTC),
    )


def test_a_piece_cannot_be_stored_twice(run: ScriptRun) -> None:
    store(run, 0, "one", ordinal=1)
    store(run, 1, "one of another attempt", fence=3, ordinal=1)
    with pytest.raises(IntegrityError), transaction.atomic():
        store(run, 2, "one again", ordinal=1)


def test_of_pieces_that_were_stored_twice_before_the_first_is_kept(
    run: ScriptRun, before_the_rule: None
) -> None:
    other = ScriptRun.objects.create(project_id=run.project_id, command="make", fence=2)
    for index, (content, ordinal) in enumerate([("one", 1), ("two", 2), ("two", 2), ("two", 2)]):
        store(run, index, content, ordinal=ordinal)
    store(run, 4, "two of another attempt", fence=3, ordinal=2)
    store(other, 0, "two of another run", ordinal=2)
    call_command("migrate", "scripts", verbosity=0)
    rows = ScriptOutput.objects.order_by("pk").values_list("run_id", "index", "content")
    assert list(rows) == [
        (run.pk, 0, "one"),
        (run.pk, 1, "two"),
        (run.pk, 4, "two of another attempt"),
        (other.pk, 0, "two of another run"),
    ]
    with connection.cursor() as cursor:
        constraints = connection.introspection.get_constraints(cursor, "scripts_scriptoutput")
    assert constraints["one_output_per_line"]["unique"]
