"""Names that are nearly right: what a client hears of them, and what it doesn't."""

from __future__ import annotations

from typing import Any

import pytest

from apps.accounts.models import User
from apps.projects.models import Project
from tests import factories

pytestmark = pytest.mark.django_db


def test_a_missing_field_is_found_under_its_misspelt_name(
    api: Any, project: Project, bob: User
) -> None:
    body = {"project_id": project.pk, "titel": "Fix"}
    error = api(bob).post("/api/cards", body, 400)
    assert "did you mean title?" in error["details"]["title"][0]
    assert "“project_id”; did you mean projectId?" in error["details"]["projectId"][0]
    error = api(bob).post("/api/cards", {"projectId": project.pk, "colour": "red"}, 400)
    assert error["details"] == {"title": ["This field is required."]}


def test_unknown_fields_beside_all_that_is_needed_are_ignored(
    api: Any, project: Project, bob: User
) -> None:
    body = {"projectId": project.pk, "title": "Fix", "promt": "x", "colour": "red"}
    assert api(bob).post("/api/cards", body)["prompt"] == ""


@pytest.mark.parametrize(
    ("path", "meant"),
    [
        ("/api/projects?organisationId=org_001", "organizationId"),
        ("/api/projects/{project}/cards?board_id=1", "boardId"),
        ("/api/projects/{project}/columns?boardid=1", "boardId"),
        ("/api/projects/{project}/cards/{card}/agent/messages?session_id=1", "sessionId"),
        ("/api/projects/{project}/cards/{card}/agent/requests?State=open", "state"),
        ("/api/cards/{card}/status?Wait=1", "wait"),
    ],
)
def test_a_filter_that_would_not_filter_is_refused(
    api: Any, project: Project, bob: User, path: str, meant: str
) -> None:
    card = factories.make_card(project)
    url = path.format(project=project.pk, card=card.pk)
    error = api(bob).get(url, 400)
    assert (error["code"], error["message"].endswith(f"did you mean {meant}?")) == ("invalid", True)
    plain = url.partition("?")[0]
    api(bob).get(f"{plain}?_=1764230400&utm_source=mail")
