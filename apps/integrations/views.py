"""Cards without a project in the address, for programs: create, look, wait."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.http import HttpResponse
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from apps.accounts.authentication import caller
from apps.accounts.models import User
from apps.accounts.reach import Tokens
from apps.agents import selectors as agents
from apps.agents.shown import session_shapes
from apps.cards.rows import CardDetailRow, detail_row
from apps.cards.serializers import card_detail, deferred_reason, is_live
from apps.cards.views import create_for
from apps.common.envelope import dumps
from apps.common.errors import NotFound
from apps.common.ids import public_id
from apps.common.kept import from_database, passes
from apps.common.misspelt import query
from apps.common.origin import public_origin
from apps.common.serializers import checked
from apps.common.times import iso
from apps.integrations.serializers import CreateFlatCardInput, StatusQuery
from apps.projects import conditional
from apps.projects.memberships import Membership, membership, membership_by_card
from apps.projects.scoping import nothing_here


class CardsView(APIView):
    tokens = Tokens.ALL

    def post(self, request: Request) -> Response:
        body = checked(CreateFlatCardInput, request.data)
        user = caller(request)
        found = membership(user, body.pop("project_id"))
        if found is None:
            raise NotFound("projectId: there is no such project that you may see.")
        return create_for(found.project, user, body)


def _reach(user: User, card_id: int) -> tuple[Membership, CardDetailRow]:
    found = membership_by_card(user, card_id)
    if found is None:
        raise nothing_here()
    detail = detail_row(card_id, project_id=found.project.pk, user_id=user.pk)
    if detail is None:
        raise nothing_here()
    return found, detail


class CardView(APIView):
    tokens = Tokens.ALL

    @from_database
    def get(self, request: Request, card_id: int) -> HttpResponse:
        user = caller(request)
        found, detail = _reach(user, card_id)

        def shape() -> dict[str, Any]:
            return {
                **card_detail(detail, user_id=user.pk),
                "columnName": detail.column_name,
                "sessions": session_shapes(agents.sessions_of(card_id)),
            }

        return _answer(request, detail, conditional.etag_of(found, user.pk, card_id, "flat"), shape)


class CardStatusView(APIView):
    tokens = Tokens.ALL

    @from_database
    def get(self, request: Request, card_id: int) -> HttpResponse:
        """The status as it stands; `waiting` asks for it until it differs, or until the time is over."""
        checked(StatusQuery, dict(query(request, "wait", "known").items()))
        found, detail = _reach(caller(request), card_id)
        etag = conditional.etag_of(found, card_id, "status")
        return _answer(request, detail, etag, lambda: _status(request, detail))


def _answer(
    request: Request, detail: CardDetailRow, etag: str, shape: Callable[[], dict[str, Any]]
) -> HttpResponse:
    """What a live session waits for may change without a row: that there is no worker, or a silent one."""
    if is_live(detail.row.agent_status):
        passes(request)
        return conditional.by_content(request, shape())
    if conditional.is_current(request, etag):
        return conditional.not_modified(etag)
    return conditional.json_response(dumps({"data": shape()}), etag)


def _status(request: Request, detail: CardDetailRow) -> dict[str, Any]:
    row = detail.row
    card_id = public_id("card", row.id)
    project_id = public_id("project", row.project_id)
    newest = agents.current_session(row.id) if row.agent_status is not None else None
    session = session_shapes([newest])[0] if newest else None
    return {
        "id": card_id,
        "title": row.title,
        "columnName": detail.column_name,
        "hasActiveAgent": is_live(row.agent_status),
        "agentStatus": row.agent_status,
        "waitingFor": session and session["waitingFor"],
        "queueReason": session and session["queueReason"],
        "statusText": session and session["statusText"],
        "deferredReason": deferred_reason(row),
        "completedAt": iso(row.completed_at),
        "url": f"{public_origin(request)}/projects/{project_id}/cards/{card_id}",
    }
