"""Projects as large as they get: what can be exported can be imported."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from django.db import connection, transaction

from apps.accounts.models import User
from apps.boards.models import Column
from apps.cards.models import Card
from apps.events import bus
from apps.operations.transfer import entries
from apps.projects.models import Project
from tests import factories
from tests.client import Form
from tests.together import at_once

pytestmark = [pytest.mark.django_db, pytest.mark.both_databases]

IMPORT = "/api/projects/import"


def _cards(project: Project, count: int, prompt: str) -> None:
    column = Column.objects.filter(project=project).order_by("position")[0]
    Card.objects.bulk_create(
        Card(project=project, column=column, position=place, title=str(place), prompt=prompt)
        for place in range(count)
    )


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    folder = tmp_path / "plain"
    folder.mkdir()
    return folder


def test_what_a_project_with_many_long_prompts_exports_can_be_imported(
    api: Any, project: Project, bob: User, plain: Path
) -> None:
    _cards(project, 300, "water " * 16_000)
    document = api(bob).get(f"/api/projects/{project.pk}/export")
    assert len(document) > 28_000_000
    made = api(bob).post(IMPORT, Form.with_file(document, path=str(plain)))
    cards = Card.objects.filter(project_id=int(made["id"].removeprefix("proj_")))
    assert [cards.count(), cards.filter(prompt="water " * 16_000).count()] == [300, 300]


def test_an_export_that_no_import_would_take_is_refused_with_a_sentence(
    api: Any, project: Project, bob: User, plain: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _cards(project, 20, "x" * 1_000)
    url = f"/api/projects/{project.pk}/export"
    whole = api(bob).get(url)
    monkeypatch.setattr(entries, "LARGEST_FILE", len(whole))
    document = api(bob).get(url)
    api(bob).post(IMPORT, Form.with_file(document, path=str(plain)))
    factories.make_card(project)
    error = api(bob).get(url, 409)
    assert error["code"] == "too_large_to_import"
    assert "Delete" in error["message"]
    error = api(bob).post(IMPORT, Form.with_file(document + b" " * 100, path=str(plain)), 413)
    assert error["code"] == "too_large"


def test_an_export_of_more_cards_than_an_import_takes_is_refused_with_a_sentence(
    api: Any, project: Project, bob: User, plain: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _cards(project, 4, "")
    url = f"/api/projects/{project.pk}/export"
    monkeypatch.setitem(entries.MOST, "cards", 4)
    api(bob).post(IMPORT, Form.with_file(api(bob).get(url), path=str(plain)))
    factories.make_card(project)
    error = api(bob).get(url, 409)
    assert error["code"] == "too_large_to_import"
    assert "4 cards" in error["message"]
    whole = json.dumps({"formatVersion": 1, "project": {"name": "x"}, "cards": [{}] * 5})
    assert "cards" in api(bob).post(IMPORT, Form.with_file(whole, path=str(plain)), 400)["message"]


@pytest.mark.django_db(transaction=True)
def test_an_export_waits_for_nobody_who_changes_the_project(
    api: Any, project: Project, bob: User
) -> None:
    """And so keeps nobody waiting either."""
    url = f"/api/projects/{project.pk}/export"
    factories.make_card(project, title="Before")
    with ThreadPoolExecutor(1) as elsewhere, transaction.atomic():
        bus.lock(project.pk)
        factories.make_card(project, title="Not yet there")

        def export() -> Any:
            try:
                return api(bob).get(url)
            finally:
                connection.close()

        found = json.loads(elsewhere.submit(export).result(timeout=15))
    assert [each["title"] for each in found["cards"]] == ["Before"]


@pytest.mark.django_db(transaction=True)
def test_an_export_shows_one_moment_whatever_changes_meanwhile(
    api: Any, project: Project, bob: User
) -> None:
    of_project = f"/api/projects/{project.pk}"
    columns = [factories.column(project).pk, factories.column(project, "done").pk]
    over = threading.Event()

    def changes() -> None:
        client = api(bob)
        while not over.is_set():
            first = client.post(f"{of_project}/cards", {"title": "First"})["id"]
            body = {"title": "Then", "blockedBy": [first], "columnId": columns[0]}
            then = client.post(f"{of_project}/cards", body)["id"]
            steps = [{"columnId": each} for each in columns]
            client.put(f"{of_project}/cards/{then}/pipeline", {"steps": steps})
            client.delete(f"{of_project}/cards/{first}")
            client.delete(f"{of_project}/cards/{then}")

    def exports() -> None:
        try:
            for _ in range(25):
                found = json.loads(api(bob).get(f"{of_project}/export"))
                cards = {each["id"]: each for each in found["cards"]}
                waiting = [each for each in cards.values() if each["blockedBy"]]
                assert {pk for each in waiting for pk in each["blockedBy"]} <= cards.keys()
                assert {each["cardId"] for each in found["pipelines"]} <= cards.keys()
        finally:
            over.set()

    at_once([changes, exports])
