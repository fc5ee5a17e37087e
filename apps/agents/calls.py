"""Tool calls in a transcript whose process is gone: nobody else says any more how they ended.

One that waits for a person's answer stays open as long as the answer can still set it going; an agent that is
started again with the answer makes the call anew.
"""

from __future__ import annotations

import orjson
from django.db.models import Q

from apps.agents import entries, requests
from apps.agents.models import AgentMessage, AgentSession
from apps.common.envelope import dumps

_ENDED = ("completed", "failed", "cancelled")


def interrupted(session: AgentSession) -> None:
    """Its worker died; the fence is new, so that worker changes none of them any more."""
    said = "Interrupted: the worker died meanwhile; how far this came is not known."
    _close(session, "failed", said, below=session.fence, but=requests.awaited_calls(session))


def made_anew(session: AgentSession) -> None:
    """An agent runs again that was not told of the earlier ones' calls."""
    said = "It waited when its agent was ended; the agent was started again, what it does follows below."
    _close(session, "cancelled", said, below=session.fence)


def given_up(session: AgentSession) -> None:
    """Its turn will not be taken up again."""
    _close(session, "cancelled", "Not done: its turn was ended.", below=session.fence + 1)


def _close(
    session: AgentSession, status: str, said: str, *, below: int, but: frozenset[str] = frozenset()
) -> None:
    rows = AgentMessage.objects.filter(session=session, fence__lt=below, type="tool_call")
    may_be_open = Q(tool_call__contains='"status":"pending"') | Q(
        tool_call__contains='"status":"in_progress"'
    )
    for row in rows.filter(may_be_open).order_by("index"):
        call = orjson.loads(row.tool_call or "{}")
        if call.get("status") in _ENDED or call.get("id") in but:
            continue
        call["status"] = status
        if call.get("output") is None:
            call["output"] = said
        row.tool_call = dumps(call).decode()
        _, row.rev = entries.number(session.pk, indexes=0, revs=1)
        row.save(update_fields=["tool_call", "rev"])
        entries.tell_after_commit(row)
