"""After a second death in a short time sessions go on one by one, wherever a worker died over it."""

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import pairwise

import pytest
from django.utils import timezone

from apps.agents.claims import AgentKind
from apps.agents.models import AgentSession, Turn
from apps.agents.recovery import APART
from apps.projects.models import Project
from apps.runs.kinds import Claim
from apps.runs.models import State
from tests import factories

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]

KIND = AgentKind()
HOST = "here"


def at_work(project: Project, worker: str, *, started_at: datetime) -> AgentSession:
    session = factories.make_session(
        factories.make_card(project),
        state=State.RUNNING,
        worker_id=worker,
        host_id=HOST,
        fence=1,
        started_at=started_at,
    )
    Turn.objects.create(session=session, text="Dig", state=Turn.State.SENT)
    return session


def adopt(dead: str, worker: str, at: datetime, *, dies_before_lining_up: bool = False) -> None:
    """As the loop does; a worker that goes on releases what it has taken over."""
    again = KIND.died_before(HOST, at)
    for run_id in KIND.owned(dead):
        assert KIND.take_over(run_id, dead=dead, worker_id=worker, at=at)
    if dies_before_lining_up:
        return
    if again:
        KIND.line_up(HOST, at)
    for run_id, (fence, _cancel) in KIND.owned(worker).items():
        KIND.release(Claim(KIND.name, run_id, fence, HOST, worker))


@pytest.fixture
def sessions(project: Project) -> list[AgentSession]:
    """Two of one project, one of another; the last was started last."""
    other = factories.make_project(project.owner, name="Fields")
    now = timezone.now()
    return [
        at_work(each, "w1", started_at=now - timedelta(seconds=60 - number))
        for number, each in enumerate((project, other, project))
    ]


def line() -> list[tuple[int, datetime | None, str | None]]:
    rows = AgentSession.objects.order_by("not_before", "pk")
    return list(rows.values_list("pk", "not_before", "queue_reason"))


def test_a_worker_that_dies_between_taking_over_and_lining_up_leaves_no_crowd(
    sessions: list[AgentSession],
) -> None:
    now = timezone.now()
    adopt("w1", "w2", now, dies_before_lining_up=True)
    again_at = now + timedelta(seconds=3)
    adopt("w2", "w3", again_at)
    found = line()
    times = [not_before for _, not_before, _ in found]
    assert times[0] == again_at
    assert [later - earlier for earlier, later in pairwise(times) if earlier and later] == [
        APART
    ] * 2
    # Who was started last before the death goes first: it may be the one that kills workers.
    assert [pk for pk, _, _ in found] == [session.pk for session in reversed(sessions)]
    assert [reason for _, _, reason in found] == [None, *["resuming_one_by_one"] * 2]


def test_those_still_in_line_stay_apart_whoever_holds_them_when_the_next_worker_dies(
    sessions: list[AgentSession],
) -> None:
    now = timezone.now()
    adopt("w1", "w2", now)
    first = AgentSession.objects.get(pk=sessions[0].pk)
    first.state, first.worker_id, first.fence = State.RUNNING, "w2", first.fence + 1
    first.save()
    # It killed the second worker, and the third died before it had lined anybody up.
    adopt("w2", "w3", now + timedelta(seconds=3), dies_before_lining_up=True)
    again_at = now + timedelta(seconds=6)
    adopt("w3", "w4", again_at)
    times = [not_before for _, not_before, _ in line()]
    assert times == [again_at + place * APART for place in range(3)]
