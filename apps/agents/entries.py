"""Entries of a transcript that the server itself writes or changes: their numbers, and the news of them."""

from __future__ import annotations

from typing import Any

from django.db import connection, transaction
from django.utils import timezone

from apps.accounts.models import User
from apps.agents.models import AgentMessage, AgentSession
from apps.agents.serializers import message_frame
from apps.events import telling


def number(session_id: int, *, indexes: int, revs: int) -> tuple[int, int]:
    """Take that many numbers; returns the first index and the first rev. In the insert's transaction."""
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE agents_agentsession SET next_index = next_index + %s, next_rev = next_rev + %s"
            " WHERE id = %s RETURNING next_index, next_rev",
            [indexes, revs, session_id],
        )
        next_index, next_rev = cursor.fetchone()
    return next_index - indexes, next_rev - revs


def tell_after_commit(message: AgentMessage) -> None:
    frame = message_frame(message)

    def tell() -> None:
        telling.tell_session(message.session_id, f"m:{message.rev}:{message.rev}", frame)

    transaction.on_commit(tell, robust=True)


def add(session: AgentSession, role: str, kind: str, content: str, **fields: Any) -> AgentMessage:
    """A numbered message written by the server itself, told to watchers after the commit."""
    index, rev = number(session.pk, indexes=1, revs=1)
    message = AgentMessage.objects.create(
        session=session,
        index=index,
        rev=rev,
        role=role,
        type=kind,
        content=content,
        created_at=timezone.now(),
        **fields,
    )
    tell_after_commit(message)
    return message


def add_done(session: AgentSession, by: int | None, did: str) -> None:
    """Say who broke into the work, so that a reader understands why it ends; `by` None is the server."""
    who = "The server"
    if by is not None:
        names = User.objects.filter(pk=by).values_list("display_name", flat=True)
        who = names.first() or "Somebody"
    add(session, AgentMessage.Role.SYSTEM, "status", f"{who} {did}", author_id=by)
