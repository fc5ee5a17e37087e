"""People change many cards while the sink stores what their agents say: everybody locks runs ascending.

SQLite lets one write at a time; what could go wrong here goes wrong on PostgreSQL.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection, transaction
from django.utils import timezone

from apps.accounts.models import User
from apps.agents.claims import AgentKind
from apps.agents.models import AgentSession
from apps.agents.runtime.lines import AgentLines
from apps.cards.models import Card
from apps.credentials.models import Credential
from apps.projects.models import Project
from apps.runs import storing
from apps.runs.sink import Table
from apps.scripts.lines import ScriptLines
from apps.scripts.models import ScriptRun
from tests import factories
from tests.client import Api

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]

Call = Callable[[Api], Any]


@pytest.fixture
def key(alice: User) -> Credential:
    return factories.make_credential(
        alice, provider="openai-compatible", base_url="http://127.0.0.1:9", model="m"
    )


@pytest.fixture
def talking(project: Project, key: Credential) -> list[AgentSession]:
    """Two that a worker runs, the younger one first on the disk."""
    cards = [factories.make_card(project, title=name) for name in "ab"]
    Card.objects.filter(pk__in=[card.pk for card in cards]).update(agent_status="running")
    sessions = [
        factories.make_session(card, state="running", worker_id="w", host_id="h", fence=1)
        for card in cards
    ]
    for session in reversed(sessions):
        AgentSession.objects.filter(pk=session.pk).update(credential=key)
    return sessions


def beside_the_sink(table: Table, runs: list[int], call: Callable[[], Any]) -> None:
    """The call comes between the sink's lock of the first run and that of the second; both must get on."""
    problems: list[BaseException] = []

    def person() -> None:
        try:
            call()
        except BaseException as error:  # noqa: BLE001 - shown below
            problems.append(error)
        finally:
            connection.close()

    thread = threading.Thread(target=person)
    with transaction.atomic(), connection.cursor() as sink:
        storing.lock(sink, table, runs[:1])
        thread.start()
        if connection.vendor == "postgresql":
            await_waiting(sink)
            sink.execute("SET LOCAL lock_timeout = '500ms'")
        storing.lock(sink, table, runs)
    thread.join()
    assert problems == []


def await_waiting(cursor: Any) -> None:
    """Until somebody waits for what this transaction has locked."""
    until = time.monotonic() + 10
    while time.monotonic() < until:
        cursor.execute(
            "SELECT EXISTS (SELECT 1 FROM pg_locks WHERE NOT granted"
            " AND pg_backend_pid() = ANY(pg_blocking_pids(pid)))"
        )
        if cursor.fetchone()[0]:
            return
        time.sleep(0.01)
    raise AssertionError("nobody came to wait for the sink")


@pytest.mark.parametrize("action", ["cancel", "move", "complete", "start", "autoMode"])
def test_a_bulk_action_on_talking_agents_waits_for_the_sink_and_never_the_other_way_round(
    project: Project,
    talking: list[AgentSession],
    bob: User,
    caplog: pytest.LogCaptureFixture,
    action: str,
) -> None:
    low, high = talking
    body: dict[str, Any] = {"action": action, "cardIds": [high.card_id, low.card_id]}
    if action == "move":
        body["columnId"] = factories.column(project, "done").pk
    if action == "autoMode":
        body["enabled"] = True
        # Somebody talks to it while its step waits for approval.
        Card.objects.filter(project=project).update(
            pending_approval=True, column=factories.column(project, "active")
        )
    with caplog.at_level(logging.WARNING, "apps.events.bus"):
        beside_the_sink(
            AgentLines(),
            [low.pk, high.pk],
            lambda: Api(bob).post(f"/api/projects/{project.pk}/cards/bulk", body, 200),
        )
    assert not [each for each in caplog.records if each.name == "apps.events.bus"]


@pytest.mark.parametrize("what", ["cards", "clean-all", "board", "project", "credential"])
def test_deleting_what_agents_talk_about_waits_for_the_sink_and_never_the_other_way_round(
    project: Project,
    talking: list[AgentSession],
    key: Credential,
    alice: User,
    caplog: pytest.LogCaptureFixture,
    what: str,
) -> None:
    low, high = talking
    place, board = f"/api/projects/{project.pk}", factories.first_board(project)
    cards = [high.card_id, low.card_id]
    calls: dict[str, Call] = {
        "cards": lambda api: api.post(
            f"{place}/cards/bulk", {"action": "delete", "cardIds": cards, "force": True}, 200
        ),
        "clean-all": lambda api: api.post(
            f"{place}/columns/{high.card.column_id}/clean-all", status=204
        ),
        "board": lambda api: api.request("DELETE", f"{place}/boards/{board.pk}", status=None),
        "project": lambda api: api.request("DELETE", place, status=None),
        "credential": lambda api: api.request("DELETE", f"/api/credentials/{key.pk}", status=None),
    }
    with caplog.at_level(logging.WARNING, "apps.events.bus"):
        beside_the_sink(AgentLines(), [low.pk, high.pk], lambda: calls[what](Api(alice)))
    assert not [each for each in caplog.records if each.name == "apps.events.bus"]


def test_lining_up_interrupted_work_waits_for_the_sink_of_who_had_it_and_never_the_other_way_round(
    talking: list[AgentSession], caplog: pytest.LogCaptureFixture
) -> None:
    """A worker that was taken for dead and lives on may have lines to store still."""
    low, high = talking
    now = timezone.now()
    AgentSession.objects.update(state="interrupted", started_at=now - timedelta(minutes=2))
    AgentSession.objects.filter(pk=high.pk).update(started_at=now - timedelta(minutes=1))
    with caplog.at_level(logging.WARNING, "apps.events.bus"):
        beside_the_sink(AgentLines(), [low.pk, high.pk], lambda: AgentKind().line_up("h", now))
    assert not [each for each in caplog.records if each.name == "apps.events.bus"]


def test_deleting_a_project_whose_scripts_print_waits_for_the_sink_and_never_the_other_way_round(
    project: Project, alice: User, caplog: pytest.LogCaptureFixture
) -> None:
    low, high = (
        ScriptRun.objects.create(
            project_id=project.pk,
            script=factories.make_script(project, name=name),
            command="true",
            state="running",
            worker_id="w",
            host_id="h",
            fence=1,
        ).pk
        for name in ("a", "b")
    )
    # So that it is the last on the disk.
    ScriptRun.objects.filter(pk=low).update(exit_code=0)
    with caplog.at_level(logging.WARNING, "apps.events.bus"):
        beside_the_sink(
            ScriptLines(),
            [low, high],
            lambda: Api(alice).request("DELETE", f"/api/projects/{project.pk}", status=None),
        )
    assert not [each for each in caplog.records if each.name == "apps.events.bus"]
