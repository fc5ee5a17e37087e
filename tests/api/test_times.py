"""Times that people send: whatever their zone makes of them, they count or are refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from apps.accounts.models import User
from apps.projects.models import Project
from tests import factories
from tests.client import Form

pytestmark = [pytest.mark.django_db, pytest.mark.both_databases]

NO_TIME_ANYWHERE = [
    "0001-01-01T00:00:00+14:00",
    "9999-12-31T23:59:59-14:00",
    "2026-02-30T00:00:00Z",
    "2026-01-01T25:00:00Z",
    "yesterday",
]
EDGES = ["0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z", "0001-01-01T14:00:00+14:00"]


@pytest.mark.parametrize("name", ["since", "before"])
def test_messages_are_asked_for_by_any_time_that_there_is(
    api: Any, project: Project, bob: User, name: str
) -> None:
    card = factories.make_card(project)
    factories.make_message(factories.make_session(card))
    url = f"/api/projects/{project.pk}/cards/{card.pk}/agent/messages?{name}="
    for time in [*NO_TIME_ANYWHERE, "2026-01-01T00:00:00"]:
        assert name in api(bob).get(url + quote(time), 400)["message"]
    for time in EDGES:
        api(bob).get(url + quote(time))
    # A + that wasn't encoded.
    api(bob).get(url + "2026-01-01T00:00:00+01:00")


def test_an_import_takes_any_time_that_there_is_and_gives_it_back(
    api: Any, project: Project, bob: User, tmp_path: Path
) -> None:
    factories.make_card(project)
    document = json.loads(api(bob).get(f"/api/projects/{project.pk}/export"))
    folder = tmp_path.resolve() / "plain"
    folder.mkdir()

    def sent(time: str, status: int) -> Any:
        document["cards"][0]["completedAt"] = time
        form = Form.with_file(json.dumps(document), path=str(folder))
        return api(bob).post("/api/projects/import", form, status)

    for time in NO_TIME_ANYWHERE:
        assert "completedAt" in sent(time, 400)["message"]
    for time, shown in zip(EDGES, [EDGES[0], EDGES[1], EDGES[0]], strict=True):
        made = sent(time, 201)
        (card,) = api(bob).get(f"/api/projects/{made['id']}/cards")
        assert card["completedAt"].replace(".000000Z", "Z") == shown
        again = json.loads(api(bob).get(f"/api/projects/{made['id']}/export"))
        assert again["cards"][0]["completedAt"] == card["completedAt"]


def test_a_token_ends_at_any_time_to_come(api: Any, alice: User) -> None:
    def sent(time: str, status: int) -> Any:
        body = {"name": "ci", "scopes": ["read"], "expiresAt": time}
        return api(alice).post("/api/user/tokens", body, status)

    for time in NO_TIME_ANYWHERE:
        assert "expiresAt" in sent(time, 400)["message"]
    assert sent(EDGES[1], 201)["expiresAt"] == EDGES[1]
    assert sent("2999-01-01T01:00:00+01:00", 201)["expiresAt"] == "2999-01-01T00:00:00.000000Z"
    assert sent("2999-01-01T00:00:00", 201)["expiresAt"] == "2999-01-01T00:00:00.000000Z"
