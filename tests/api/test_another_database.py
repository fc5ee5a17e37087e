"""The database was emptied or replaced while the server ran on it."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connection

from apps.accounts.models import User

pytestmark = [pytest.mark.django_db, pytest.mark.both_databases]


def test_a_database_without_tables_is_an_outage_and_says_what_to_do(api: Any, alice: User) -> None:
    client = api(alice)
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE organizations_organization RENAME TO elsewhere")
    error = client.get("/api/organizations", 503)
    assert error["code"] == "unavailable"
    assert "lacks tables" in error["message"]
    assert "restart the server" in error["message"]
