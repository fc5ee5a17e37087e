"""Strangers who make projects on and in each other's directories at the same moment."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.db import connection

from apps.accounts.models import User
from apps.projects.models import Project
from tests import factories
from tests.client import Api, Form
from tests.together import at_once

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]

ROUNDS = 5
Send = Callable[[], int]


def making(who: User, path: Path) -> Send:
    api = Api(who)

    def send() -> int:
        api.request("POST", "/api/projects", {"name": "Mine", "path": str(path)}, None)
        return int(api.response.status_code)

    return send


def importing(who: User, path: Path, document: bytes) -> Send:
    api = Api(who)

    def send() -> int:
        body = Form.with_file(document, "project.json", "application/json", path=str(path))
        api.request("POST", "/api/projects/import", body, None)
        return int(api.response.status_code)

    return send


def folders(tmp_path: Path, number: int) -> tuple[Path, Path]:
    inner = tmp_path.resolve() / f"outer-{number}" / "inner"
    inner.mkdir(parents=True)
    return inner.parent, inner


def test_of_two_strangers_projects_in_each_other_one_is_made(
    alice: User, bob: User, tmp_path: Path
) -> None:
    for number in range(ROUNDS):
        outer, inner = folders(tmp_path, number)
        assert sorted(at_once([making(alice, outer), making(bob, inner)])) == [201, 403]


def test_a_strangers_import_into_a_project_that_is_being_made_is_refused(
    alice: User, bob: User, tmp_path: Path
) -> None:
    seed = factories.make_project(alice, path=tmp_path.resolve())
    document = Api(alice).get(f"/api/projects/{seed.pk}/export")
    Project.objects.all().delete()
    for number in range(ROUNDS):
        outer, inner = folders(tmp_path, number)
        answers = at_once([making(alice, outer), importing(bob, inner, document)])
        assert sorted(answers) == [201, 403]


def test_two_projects_of_one_person_in_each_other_are_both_made(
    alice: User, tmp_path: Path
) -> None:
    outer, inner = folders(tmp_path, 0)
    assert at_once([making(alice, outer), making(alice, inner)]) == [201, 201]


def test_ones_own_project_that_comes_during_the_look_is_not_taken_for_somebody_elses(
    alice: User, tmp_path: Path
) -> None:
    outer, inner = folders(tmp_path, 0)
    made = False

    def meanwhile(execute: Callable[..., Any], sql: str, *rest: Any) -> Any:
        nonlocal made
        answer = execute(sql, *rest)
        if "projects_project" in sql and not made:
            made = True
            factories.make_project(alice, path=inner)
        return answer

    with connection.execute_wrapper(meanwhile):
        assert making(alice, outer)() == 201
    assert Project.objects.count() == 2
