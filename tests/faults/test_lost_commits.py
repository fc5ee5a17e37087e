"""What became of a transaction that a PostgreSQL which crashed may have forgotten."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import DataError, OperationalError, connections

from apps.common.postgresql import base
from apps.common.postgresql.base import DatabaseWrapper
from apps.events import commits
from apps.events.commits import Number
from tests.faults.postgres import PostgreSQL
from tests.process.server import until


@pytest.fixture
def wrapper(
    db: None, postgres: PostgreSQL, monkeypatch: pytest.MonkeyPatch
) -> Iterator[DatabaseWrapper]:
    """Django's way to the test's own server, where `commits` looks too."""
    settings = {
        **connections.settings["default"],
        **{"ENGINE": "apps.common.postgresql", "NAME": postgres.create_database()},
        **{"HOST": "127.0.0.1", "PORT": str(postgres.port), "USER": "postgres", "PASSWORD": ""},
        "OPTIONS": {},
    }
    postgres.ask(settings["NAME"], "CREATE TABLE changes (number int)")
    found = DatabaseWrapper(settings, "lost")
    monkeypatch.setattr(commits, "connection", found)
    yield found
    found.close()


def ask(wrapper: DatabaseWrapper, sql: str) -> Any:
    with wrapper.cursor() as cursor:
        cursor.execute(sql)
        return cursor.fetchone()[0]


def test_a_connection_that_could_not_be_prepared_is_not_taken_for_one_that_is_ready(
    wrapper: DatabaseWrapper, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as broken:
        broken.setattr(base, "LIFE", "1 / 0")
        with pytest.raises(DataError):
            ask(wrapper, "SELECT 1")
        assert wrapper.connection is None
    assert wrapper.life is None
    assert ask(wrapper, "SELECT 1") == 1
    assert wrapper.life is not None


# Nothing of it is written down before the COMMIT.
NO_CHANGE = "SELECT pg_current_xact_id()::text"


def open_transaction(wrapper: DatabaseWrapper, does: str = NO_CHANGE) -> Number:
    commits.begin()
    wrapper.set_autocommit(False)
    ask(wrapper, does)
    number = commits.number()
    assert number is not None
    return number


def crash(postgres: PostgreSQL, wrapper: DatabaseWrapper, how: str) -> None:
    if how == "server":
        postgres.restart(signal.SIGQUIT)
    else:
        before = wrapper.life
        # One backend that dies takes the memory of all with it: the server recovers as after a crash.
        os.kill(ask(wrapper, "SELECT pg_backend_pid()"), signal.SIGKILL)
        # It answers until it has noticed.
        until(lambda: lives_anew(wrapper, before), what="PostgreSQL")
    wrapper.close()
    wrapper.connect()


def lives_anew(wrapper: DatabaseWrapper, before: str | None) -> bool:
    wrapper.close()
    try:
        wrapper.ensure_connection()
    except OperationalError:
        return False
    return wrapper.life != before


@pytest.mark.parametrize("how", ["server", "backend"])
def test_a_number_that_a_crashed_server_gave_out_twice_is_not_taken_for_the_first(
    postgres: PostgreSQL, wrapper: DatabaseWrapper, how: str
) -> None:
    kept = open_transaction(wrapper, "INSERT INTO changes VALUES (1) RETURNING 1")
    wrapper.commit()
    lost = open_transaction(wrapper)
    crash(postgres, wrapper, how)
    assert commits.stored(kept)
    assert not commits.stored(lost)
    while int(ask(wrapper, NO_CHANGE)) < int(lost.xid):
        pass
    assert ask(wrapper, f"SELECT pg_xact_status('{lost.xid}'::xid8)") == "committed"
    assert not commits.stored(lost)
    assert commits.stored(kept)


def test_an_orderly_restart_forgets_nothing(postgres: PostgreSQL, wrapper: DatabaseWrapper) -> None:
    kept = open_transaction(wrapper, "INSERT INTO changes VALUES (1) RETURNING 1")
    wrapper.commit()
    given_up = open_transaction(wrapper)
    postgres.restart()
    wrapper.close()
    wrapper.connect()
    assert commits.stored(kept)
    assert not commits.stored(given_up)


def test_where_recovery_can_not_be_asked_for_its_numbers_a_commit_counts(
    postgres: PostgreSQL, wrapper: DatabaseWrapper
) -> None:
    kept = open_transaction(wrapper, "INSERT INTO changes VALUES (1) RETURNING 1")
    wrapper.commit()
    postgres.restart()
    wrapper.close()
    wrapper.connect()
    with wrapper.cursor() as cursor:
        cursor.execute("CREATE ROLE tenant")
        cursor.execute("REVOKE EXECUTE ON FUNCTION pg_control_checkpoint() FROM PUBLIC")
        cursor.execute("SET ROLE tenant")
    assert commits.stored(kept)
