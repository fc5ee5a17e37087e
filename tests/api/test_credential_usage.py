from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from apps.accounts.models import User
from apps.projects.models import Project
from tests import factories

pytestmark = [pytest.mark.django_db, pytest.mark.both_databases]


def test_usage_is_what_the_sessions_with_this_key_have_taken(
    api: Any, alice: User, bob: User, project: Project
) -> None:
    key, other = factories.make_credential(alice), factories.make_credential(alice)
    path = f"/api/credentials/{key.pk}/usage"
    nothing = {
        "sessions": 0,
        "inputTokens": 0,
        "outputTokens": 0,
        "costUsd": None,
        "lastUsedAt": None,
    }
    assert api(alice).get(path) == nothing
    card = factories.make_card(project)
    first, second = datetime(2030, 5, 1, 12, tzinfo=UTC), datetime(2030, 5, 2, 12, tzinfo=UTC)
    spent: dict[str, Any] = {"input_tokens": 700, "output_tokens": 30}
    factories.make_session(card, credential=key)
    factories.make_session(card, credential=other, started_at=second, cost_usd=5.0, **spent)
    factories.make_session(card, credential=key, started_at=first, ended_at=second, **spent)
    assert api(alice).get(path)["costUsd"] is None
    factories.make_session(card, credential=key, started_at=first, cost_usd=0.25, **spent)
    assert api(alice).get(path) == {
        "sessions": 2,
        "inputTokens": 1_400,
        "outputTokens": 60,
        "costUsd": 0.25,
        "lastUsedAt": "2030-05-02T12:00:00.000000Z",
    }
    api(bob).get(path, 404)


def test_what_has_not_changed_is_not_sent_again(api: Any, alice: User) -> None:
    key = factories.make_credential(alice)
    client = api(alice)
    for path in ("", f"/{key.pk}", f"/{key.pk}/usage"):
        client.get(f"/api/credentials{path}")
        etag = client.response["ETag"]
        client.get(f"/api/credentials{path}", 304, If_None_Match=etag)
