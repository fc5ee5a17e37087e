from __future__ import annotations

from datetime import datetime
from typing import Any

from django.db.models import QuerySet
from django.http import HttpResponse
from django.shortcuts import get_object_or_404
from rest_framework.request import Request
from rest_framework.response import Response

from apps.accounts.models import User
from apps.accounts.reach import Tokens
from apps.agents import answering, messages, selectors, sessions
from apps.agents.models import AgentMessage, AgentRequest, AgentSession
from apps.agents.serializers import (
    AnswerInput,
    MessageInput,
    message_shape,
    request_shape,
)
from apps.agents.shown import session_shapes
from apps.cards.models import Card
from apps.common import conditional, times
from apps.common.errors import Invalid
from apps.common.ids import BadId, parse_id
from apps.common.kept import from_database
from apps.common.misspelt import query
from apps.common.paging import limit_of, page_of
from apps.common.serializers import checked
from apps.projects.scoping import ProjectScopedViewSet, Role

DEFAULT_MESSAGES = 100
MOST_MESSAGES = 500


class CardAgentViewSet(ProjectScopedViewSet):
    """The agent of one card."""

    roles = {
        "current": Role.MEMBER,
        "cancel": Role.MEMBER,
        "sessions": Role.MEMBER,
        "messages": Role.MEMBER,
        "message": Role.MEMBER,
        "send_now": Role.MEMBER,
        "drop": Role.MEMBER,
        "requests": Role.MEMBER,
        "answer": Role.MEMBER,
    }
    tokens = Tokens.ALL

    def card(self) -> Card:
        return get_object_or_404(
            Card.objects.select_related("column"),
            project_id=self.project.pk,
            pk=self.kwargs["card_id"],
        )

    def current(self, request: Request, **kwargs: Any) -> HttpResponse:
        session = selectors.current_session(self.card().pk)
        if session is None:
            return conditional.by_content(request, None)
        [shape] = session_shapes([session])
        position = selectors.queue_position(session)
        return conditional.by_content(request, {**shape, "queuePosition": position})

    def cancel(self, request: Request, **kwargs: Any) -> Response:
        sessions.cancel(self.card(), by=request.user.pk)
        return Response(status=204)

    def sessions(self, request: Request, **kwargs: Any) -> HttpResponse:
        shapes = session_shapes(selectors.sessions_of(self.card().pk))
        return conditional.by_content(request, shapes)

    def message(self, request: Request, **kwargs: Any) -> Response:
        body = checked(MessageInput, request.data)
        message = messages.post(self.card(), body["content"], by=request.user.pk)
        return Response(message_shape(message), status=201)

    def send_now(self, request: Request, **kwargs: Any) -> Response:
        message = messages.send_now(self.card(), kwargs["message_id"], by=request.user.pk)
        return Response(message_shape(message))

    def drop(self, request: Request, **kwargs: Any) -> Response:
        messages.drop(self.card(), kwargs["message_id"])
        return Response(status=204)

    @from_database
    def requests(self, request: Request, **kwargs: Any) -> HttpResponse:
        """`state`: only those in it."""
        rows = selectors.requests_of(self.card().pk)
        state = query(request, "state").get("state")
        if state is not None:
            if state not in AgentRequest.State.values:
                raise Invalid(f"state must be one of: {', '.join(AgentRequest.State.values)}.")
            rows = rows.filter(state=state)
        return conditional.by_content(request, [request_shape(row) for row in rows[:MOST_MESSAGES]])

    def answer(self, request: Request, **kwargs: Any) -> Response:
        body = checked(AnswerInput, request.data)
        assert isinstance(request.user, User)
        row = answering.answer(self.card(), kwargs["request_id"], body, by=request.user)
        return Response(request_shape(row))

    @from_database
    def messages(self, request: Request, **kwargs: Any) -> HttpResponse:
        query = MessagesQuery(request)
        rows, more = query.page(self._messages_of_card(query))
        shapes = [message_shape(row) for row in rows]
        return conditional.by_content(request, {"messages": shapes, "hasMore": more})

    def _messages_of_card(self, query: MessagesQuery) -> QuerySet[AgentMessage]:
        card = self.card()
        rows = AgentMessage.objects.filter(session__card=card)
        if query.session_id is None:
            return (
                rows
                if not query.by_index
                else rows.filter(session=selectors.current_session(card.pk))
            )
        get_object_or_404(AgentSession, card=card, pk=query.session_id)
        return rows.filter(session_id=query.session_id)


class ProjectAgentsViewSet(ProjectScopedViewSet):
    roles = {"active": Role.MEMBER}
    tokens = Tokens.ALL

    def active(self, request: Request, **kwargs: Any) -> HttpResponse:
        rows = list(selectors.active_agents(self.project.pk))
        shapes = zip(session_shapes(rows), rows, strict=True)
        active = [{**shape, "cardTitle": row.card.title} for shape, row in shapes]
        return conditional.by_content(request, active)


class MessagesQuery:
    """`since`/`before` by time, `after`/`beforeIndex` by index, all exclusive; oldest first in the answer.

    With a lower bound the page holds the earliest after it, else the latest before the upper bound.
    """

    PARAMETERS = ("sessionId", "since", "before", "after", "beforeIndex", "limit")

    def __init__(self, request: Request) -> None:
        given = query(request, *self.PARAMETERS)
        self.session_id: int | None = None
        if given.get("sessionId"):
            try:
                self.session_id = parse_id("session", given["sessionId"])
            except BadId as error:
                raise Invalid(f"sessionId {error}") from None
        self.since = _time(given.get("since"), "since")
        self.before = _time(given.get("before"), "before")
        self.after = _whole(given.get("after"), "after", least=-1)
        self.before_index = _whole(given.get("beforeIndex"), "beforeIndex")
        self.limit = limit_of(given, default=DEFAULT_MESSAGES, most=MOST_MESSAGES)

    @property
    def by_index(self) -> bool:
        """An index counts within a session; without one named, the newest is meant."""
        return self.after is not None or self.before_index is not None

    def page(self, rows: QuerySet[AgentMessage]) -> tuple[list[AgentMessage], bool]:
        """In the order they were said: at most `limit`, fewer where they are long; queued ones last."""
        filters = {
            "created_at__gt": self.since,
            "created_at__lt": self.before,
            "index__gt": self.after,
            "index__lt": self.before_index,
        }
        rows = rows.filter(**{name: value for name, value in filters.items() if value is not None})
        forward = self.since is not None or self.after is not None
        order = ["session_id", "index", "id"] if forward else ["-session_id", "-index", "-id"]
        queued = list(rows.filter(index__isnull=True).order_by("id")) if not forward else []
        said = rows.filter(index__isnull=False).order_by(*order)
        page, more = page_of(said, "content", "tool_call", limit=self.limit)
        if not forward:
            page.reverse()
        return [*page, *queued], more


def _time(value: str | None, name: str) -> datetime | None:
    if not value:
        return None
    try:
        # A + in a query string that wasn't encoded arrives as a space.
        return times.parsed(value.replace(" ", "+") if value.count(" ") == 1 else value)
    except ValueError:
        raise Invalid(f"{name} must be a time like {times.EXAMPLE}") from None


def _whole(value: str | None, name: str, *, least: int = 0) -> int | None:
    if value is None or value == "":
        return None
    try:
        number = int(value) if len(value) <= 18 else None
    except ValueError:
        number = None
    if number is None:
        raise Invalid(f"{name} must be a whole number")
    if number < least:
        raise Invalid(f"{name} must not be negative")
    return number
