"""Counting an attempt to sign in is all or nothing, whatever happens in the middle of it."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from typing import Any

import pytest
from django.db import OperationalError, connection
from django.db.backends.utils import CursorWrapper
from rest_framework.test import APIClient

from apps.accounts import adapter
from apps.accounts.models import User
from tests.api.accounts.people import PASSWORD, error, post

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]

COUNTED = 6  # writes; as many take it back after the right password
ON_POSTGRESQL = pytest.mark.skipif(connection.vendor == "sqlite", reason="its writers wait in line")


def sign_in(client: APIClient) -> Any:
    return post(client, "auth/login", email="root@example.org", password=PASSWORD)


def rows() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM rate_limit_cache")
        return int(cursor.fetchone()[0])


@pytest.fixture
def at_write(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Have something happen instead of a write to the limits, or before it: what is called may raise."""

    def when(written: int, happens: Callable[[], None]) -> None:
        left, execute = written, CursorWrapper._execute

        def watched(self: CursorWrapper, sql: str, *rest: Any) -> Any:
            nonlocal left
            if "rate_limit_cache" in sql and not sql.startswith("SELECT"):
                left -= 1
                if left < 0:
                    happens()
            return execute(self, sql, *rest)

        monkeypatch.setattr(CursorWrapper, "_execute", watched)

    return when


def full() -> None:
    raise OperationalError("database or disk is full")


def lost() -> None:
    """As SQLite does where the disk itself fails: the whole transaction is undone."""
    if not connection.needs_rollback:
        assert connection.connection is not None
        connection.connection.execute("ROLLBACK")
        raise OperationalError("disk I/O error")


@pytest.mark.parametrize("written", range(2 * COUNTED))
def test_an_attempt_that_the_disk_had_no_room_for_stands_in_nobodys_way(
    client: APIClient, root: User, monkeypatch: pytest.MonkeyPatch, at_write: Any, written: int
) -> None:
    at_write(written, full)
    assert error(sign_in(client), 503) == "unavailable"
    monkeypatch.undo()
    if written < COUNTED:
        assert rows() == 0
    assert sign_in(client).status_code == 200


@pytest.mark.parametrize("written", range(COUNTED))
def test_an_attempt_that_the_database_lost_is_no_fault_of_the_server(
    client: APIClient, root: User, monkeypatch: pytest.MonkeyPatch, at_write: Any, written: int
) -> None:
    at_write(written, lost)
    assert error(sign_in(client), 503) == "unavailable"
    monkeypatch.undo()
    assert rows() == 0
    assert sign_in(client).status_code == 200


@ON_POSTGRESQL
def test_who_can_not_be_counted_is_told_so_soon(client: APIClient, root: User) -> None:
    other = connection.copy()
    with contextlib.closing(other):
        other.set_autocommit(False)
        with other.cursor() as cursor:
            cursor.execute("LOCK TABLE rate_limit_cache IN EXCLUSIVE MODE")
        began = time.monotonic()
        assert error(sign_in(client), 503) == "unavailable"
        assert time.monotonic() - began < 5
        other.rollback()
    assert sign_in(client).status_code == 200


@ON_POSTGRESQL
def test_who_stands_still_while_being_counted_holds_nobody_up(
    client: APIClient, root: User, monkeypatch: pytest.MonkeyPatch, at_write: Any
) -> None:
    monkeypatch.setattr(adapter, "_STANDSTILL_S", 1)
    at_write(1, lambda: time.sleep(2))
    assert error(sign_in(client), 503) == "unavailable"
    monkeypatch.undo()
    assert rows() == 0
    assert sign_in(client).status_code == 200
