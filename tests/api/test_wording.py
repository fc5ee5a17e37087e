"""What a refusal says, to people who don't know what the server is written in."""

from __future__ import annotations

from typing import Any

import pytest

from apps.accounts.models import User
from apps.projects.models import Project

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize(
    ("method", "path", "body", "message"),
    [
        (
            "PUT",
            "/api/user/settings",
            {"theme": "blue"},
            "theme: “blue” is not one of: light, dark, system",
        ),
        (
            "PUT",
            "/api/user/settings",
            {"theme": {"a": 1}},
            "theme: must be one of: light, dark, system",
        ),
        ("PUT", "/api/user/settings", {"hiddenToolTypes": "x"}, "hiddenToolTypes: must be a list"),
        (
            "POST",
            "/api/user/tokens",
            {"name": "ci", "scopes": ["admin"]},
            "scopes: 0: “admin” is not one of: read, write",
        ),
        (
            "POST",
            "/api/projects/{project}/cards",
            {"title": "x", "permissionMode": "never"},
            "permissionMode: “never” is not one of: unattended, ask, plan",
        ),
        (
            "POST",
            "/api/board-templates",
            {"name": "x", "columns": ["y"]},
            "columns: 0: must be an object",
        ),
        (
            "POST",
            "/api/projects/{project}/cards/bulk",
            {"cardIds": 1, "action": "move"},
            "cardIds: must be a list",
        ),
    ],
)
def test_a_wrong_kind_of_value_is_told_what_would_do(
    api: Any, project: Project, alice: User, method: str, path: str, body: Any, message: str
) -> None:
    error = api(alice).request(method, path.format(project=project.pk), body, 400)
    assert error["message"] == message
