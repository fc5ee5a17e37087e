"""The follow-ups of a session: what people wrote that waits to be sent, and its order.

Every function here runs inside a transaction that has locked the session, or the stream where it has ended.
"""

from __future__ import annotations

from django.db import connection
from django.utils import timezone

from apps.agents import entries
from apps.agents.models import AgentMessage, AgentSession

Queue = AgentMessage.Queue

# Most cards have none; to ask so costs a tenth of building the query for the rows.
_ANY_QUEUED = """
    SELECT EXISTS (SELECT 1 FROM agents_agentmessage m JOIN agents_agentsession s ON s.id = m.session_id
                   WHERE s.card_id = %s AND m.queue IN ('queued', 'next'))
"""


def of_card(card_id: int) -> list[AgentMessage]:
    """Of the card's sessions, the live one locked: an ended one's queue changes only under the stream."""
    with connection.cursor() as cursor:
        cursor.execute(_ANY_QUEUED, [card_id])
        if not cursor.fetchone()[0]:
            return []
    waiting = AgentMessage.objects.filter(
        session__card_id=card_id, queue__in=[Queue.QUEUED, Queue.NEXT]
    )
    return list(waiting.order_by("pk"))


def drop_of_card(card_id: int) -> None:
    """Kept readable, never sent."""
    for message in of_card(card_id):
        queued_as(message, Queue.DROPPED)


def put_next(session: AgentSession, content: str, *, by: int | None) -> None:
    """What the agent gets as its next turn, before everything that is queued."""
    make_next(enqueue(session, content, by=by))


def enqueue(session: AgentSession, content: str, *, by: int | None) -> AgentMessage:
    message = AgentMessage.objects.create(
        session=session,
        role=AgentMessage.Role.USER,
        type="text",
        content=content,
        queue=Queue.QUEUED,
        author_id=by,
        created_at=timezone.now(),
    )
    queued_as(message, Queue.QUEUED)
    return message


def make_next(message: AgentMessage) -> None:
    """One alone is the next: the one that was asked for last."""
    for former in AgentMessage.objects.filter(session_id=message.session_id, queue=Queue.NEXT):
        queued_as(former, Queue.QUEUED)
    queued_as(message, Queue.NEXT)


def queued_as(message: AgentMessage, queue: str | None) -> None:
    """Change its place in the queue and tell whoever watches the session."""
    _index, message.rev = entries.number(message.session_id, indexes=0, revs=1)
    message.queue = queue
    message.save(update_fields=["queue", "rev", "session"])
    entries.tell_after_commit(message)
