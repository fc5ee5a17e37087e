"""git in a worker that was frozen and goes on: another one has the session by now."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from django.db import connection
from django.db.models import F

from apps.accounts.models import User
from apps.agents.claims import AgentKind
from apps.agents.models import AgentSession
from apps.agents.runtime import setting, workplace
from apps.projects.models import Project
from apps.runs.kinds import Handle
from apps.runs.masking import Secrets
from tests import factories
from tests.process.repository import git

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]


@pytest.fixture
def handle(project: Project, alice: User) -> Handle:
    """Of a claimed session whose work is to be committed."""
    project.credential = factories.make_credential(
        alice, provider="openai-compatible", base_url="http://127.0.0.1:9", model="m"
    )
    project.auto_commit = True
    project.save(update_fields=["credential", "auto_commit"])
    factories.make_card(project, column=factories.column(project, "active"))
    claim = AgentKind().claim("w", "host", closing=False)
    assert claim is not None
    return Handle(claim)


async def in_a_thread(function: Callable[[], Any]) -> Any:
    def run() -> Any:
        try:
            return function()
        finally:
            connection.close()

    return await asyncio.to_thread(run)


async def appears(file: Path) -> None:
    async with asyncio.timeout(20):
        while not file.exists():
            await asyncio.sleep(0.02)


def test_between_add_and_commit_it_notices_that_another_worker_has_taken_over(
    handle: Handle, tmp_path: Path
) -> None:
    claim = handle.claim
    adds, goes_on = tmp_path / "adds", tmp_path / "goes-on"

    def taken_over() -> None:
        AgentSession.objects.filter(pk=claim.run_id).update(fence=F("fence") + 1)

    async def act() -> Path:
        around: Any = SimpleNamespace(database=in_a_thread, disk=in_a_thread)
        known = await around.database(lambda: setting.read(claim))
        place = (await workplace.prepared(handle, around, known.session)).path
        git(
            place,
            "config",
            "filter.slow.clean",
            f"touch {adds}; until test -e {goes_on}; do sleep 0.05; done; cat",
        )
        (place / ".gitattributes").write_text("*.txt filter=slow\n")
        (place / "new.txt").write_text("x")
        nobody: Any = SimpleNamespace(
            say=lambda *_: None,
            secrets=Secrets([]),
            feed=SimpleNamespace(flushed=lambda: asyncio.sleep(0)),
        )
        commit = asyncio.ensure_future(
            workplace.commit(handle, around, known, nobody, place, turn_id=1)
        )
        await appears(adds)
        # As in the first moments of a worker that was frozen: its loop has not looked yet.
        await around.database(taken_over)
        goes_on.touch()
        await commit
        return place

    place = asyncio.run(act())
    assert git(place, "rev-list", "--count", "HEAD").strip() == "1"
    assert "new.txt" in git(place, "status", "--porcelain")
