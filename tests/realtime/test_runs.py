"""Watching what scripts print: by the same way as transcripts, whose tests are next door."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.utils import timezone

from apps.common.ids import public_id
from apps.events import telling
from apps.projects.models import ProjectMember
from apps.scripts import runs
from apps.scripts.lines import Outputs
from apps.scripts.models import ScriptOutput, ScriptRun
from tests import factories
from tests.realtime.client import Client
from tests.realtime.conftest import World

pytestmark = pytest.mark.process

Connect = Callable[[object], Client]


@pytest.fixture
def run(world: World) -> ScriptRun:
    return runs.start(factories.make_script(world.project), by=world.alice.pk)


def prints(run: ScriptRun, text: str, *, tell: bool = True) -> None:
    """As the sink does it."""
    run.refresh_from_db()
    index, rev = run.next_index, run.next_rev
    ScriptOutput.objects.create(
        run=run,
        index=index,
        rev=rev,
        content=text,
        fence=1,
        ordinal=rev,
        created_at=timezone.now(),
    )
    ScriptRun.objects.filter(pk=run.pk).update(next_index=index + 1, next_rev=rev + 1)
    if tell:
        frames = [frame for _, frame in Outputs().after_rev(run.pk, rev - 1, limit=1)[0]]
        telling.tell_lines(telling.RUN_CHANNEL, [(run.pk, rev, rev, frames)])


def heard(client: Client, count: int) -> list[tuple[int, str]]:
    frames = client.take(count)
    assert {frame["type"] for frame in frames} == {"script.output"}
    return [(frame["data"]["index"], frame["data"]["content"]) for frame in frames]


def test_a_watcher_gets_what_is_kept_then_what_comes(
    connect: Connect, world: World, run: ScriptRun
) -> None:
    prints(run, "zero")
    prints(run, "one")
    client = connect(world.bob)
    answer = client.subscribe(runId=public_id("run", run.pk), after=0)
    assert answer == {"runId": public_id("run", run.pk), "index": 1, "rev": 2}
    assert heard(client, 1) == [(1, "one")]
    prints(run, "two")
    prints(run, "three", tell=False)
    assert heard(client, 2) == [(2, "two"), (3, "three")]
    # Its beginning goes as more comes.
    ScriptOutput.objects.filter(run=run, index__lt=3).delete()
    late = connect(world.alice)
    late.subscribe(runId=run.pk, after=-1)
    assert heard(late, 1) == [(3, "three")]


def test_a_run_and_a_session_of_the_same_number_are_told_apart(
    connect: Connect, world: World, run: ScriptRun
) -> None:
    elsewhere = factories.make_project(world.alice)
    session = factories.make_session(factories.make_card(elsewhere), pk=run.pk)
    client = connect(world.alice)
    client.subscribe(sessionId=session.pk)
    prints(run, "zero")
    assert client.is_silent(1.0)
    client.subscribe(runId=run.pk, after=-1)
    assert heard(client, 1) == [(0, "zero")]


def test_an_outsider_hears_nothing_and_who_is_removed_no_more(
    connect: Connect, world: World, run: ScriptRun
) -> None:
    outsider, member = connect(world.charlie), connect(world.bob)
    outsider.say("subscribe", runId=run.pk)
    assert outsider.next()["data"]["code"] == "not_found"
    member.subscribe(runId=run.pk)
    ProjectMember.objects.all().delete()
    lost = member.next()["data"]
    assert (lost["code"], lost["runId"]) == ("not_found", public_id("run", run.pk))
    prints(run, "secret")
    assert member.is_silent(1.0)
    assert outsider.is_silent(0.05)
