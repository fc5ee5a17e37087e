"""What happened in a project, who did it and when: the stored events, of which sockets get the frames."""

from __future__ import annotations

from typing import Any

import orjson
from django.http import HttpResponse
from rest_framework.request import Request

from apps.accounts.authentication import is_program
from apps.accounts.models import User
from apps.accounts.reach import Tokens
from apps.common.errors import Conflict, Invalid
from apps.common.ids import public_id
from apps.common.kept import from_database
from apps.common.misspelt import query
from apps.common.paging import limit_of
from apps.common.times import iso
from apps.events.bus import Position, since
from apps.events.models import StoredEvent
from apps.events.replay import stored
from apps.projects import conditional
from apps.projects.discretion import data_for_programs
from apps.projects.scoping import ProjectScopedViewSet, Role

DEFAULT_EVENTS = 100
MOST_EVENTS = 1_000


class EventsViewSet(ProjectScopedViewSet):
    roles = {"list": Role.MEMBER}
    tokens = Tokens.ALL

    @from_database
    def list(self, request: Request, **kwargs: Any) -> HttpResponse:
        """With `since` what came after it, without it the latest; oldest first either way."""
        given = query(request, "since", "limit")
        limit = limit_of(given, default=DEFAULT_EVENTS, most=MOST_EVENTS)
        after = _after(given["since"], self.membership.at) if given.get("since") else None
        events = stored(self.project.pk, after=after, limit=limit)
        names = _names({each.actor_id for each in events if each.actor_id is not None})
        epoch = self.membership.at.epoch
        if is_program(request):
            for each in events:
                each.data = data_for_programs(each.type, each.data)
        return conditional.by_content(request, [_shape(each, epoch, names) for each in events])


def _after(text: str, now: Position) -> int:
    """The seq that is meant; Conflict where the stream was renewed since, so that it means nothing here."""
    try:
        given = since(text.strip())
    except ValueError as error:
        raise Invalid(str(error)) from None
    seq = given if isinstance(given, int) else given.seq
    if seq > now.seq or (isinstance(given, Position) and given.epoch != now.epoch):
        raise Conflict(
            "The project's history was renewed since then (the server was restored, perhaps). Read the"
            " project anew and go on from where it stands.",
            code="resync",
            details={"epoch": now.epoch, "seq": now.seq},
        )
    return seq


def _names(user_ids: set[int]) -> dict[int, str]:
    return dict(User.objects.filter(pk__in=user_ids).values_list("pk", "display_name"))


def _shape(event: StoredEvent, epoch: str, names: dict[int, str]) -> dict[str, Any]:
    """`actor` is null for the server itself, and has no name any more when the person was removed."""
    actor = event.actor_id
    return {
        "id": public_id("event", event.pk),
        "seq": event.seq,
        "epoch": epoch,
        "type": event.type,
        "actor": actor and {"id": public_id("user", actor), "displayName": names.get(actor)},
        "createdAt": iso(event.created_at),
        "data": orjson.Fragment(event.data),
    }
