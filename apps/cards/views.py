from __future__ import annotations

from typing import Any

from django.http import HttpResponse
from rest_framework.request import Request
from rest_framework.response import Response

from apps.accounts.models import User
from apps.accounts.reach import Tokens
from apps.boards.models import Column, ColumnType
from apps.boards.views import board_filter
from apps.cards import bodies, services, worktrees
from apps.cards.models import Card
from apps.cards.pipelines import steps_of
from apps.cards.rows import detail_row, detail_rows
from apps.cards.selectors import card_of, landing_column
from apps.cards.serializers import (
    AutoModeInput,
    BulkInput,
    CreateCardInput,
    MoveCardInput,
    PipelineInput,
    UpdateCardInput,
    card_detail,
    card_in_list,
    diff_shape,
    pipeline_shape,
)
from apps.common.envelope import dumps
from apps.common.errors import Invalid, NotFound
from apps.common.fetching import fetch
from apps.common.ids import public_id
from apps.common.kept import from_database
from apps.common.misspelt import query
from apps.common.serializers import checked
from apps.credentials.assigning import require_assignable
from apps.host.changes import Diff
from apps.projects import commits, conditional
from apps.projects.hosting import told
from apps.projects.models import Project
from apps.projects.scoping import ProjectScopedViewSet, Role, nothing_here
from apps.projects.serializers import CredentialInput

_MAY_START = ("move", "start", "complete")


def flag(request: Request, name: str) -> bool:
    """A flag in the query string: true, 1, false or 0."""
    given = query(request, name).get(name)
    if given in (None, "", "false", "0"):
        return False
    if given in ("true", "1"):
        return True
    raise Invalid(f"{name}: must be true or false")


def create_for(project: Project, user: User, body: dict[str, Any]) -> Response:
    """One way to make a card, for both addresses that make one."""
    external_id = body.get("external_id")
    known = external_id and Card.objects.filter(project=project, external_id=external_id).first()
    if known:
        card, created = known, False
    else:
        column = landing_column(
            project.pk,
            board_id=body.get("board_id"),
            column_id=body.get("column_id"),
            column_name=body.get("column_name"),
            start=body.get("start", False),
        )
        with commits.asked(project, starts=lambda: column.column_type == ColumnType.ACTIVE):
            card, created = services.create_or_find_card(
                project,
                by=user.pk,
                title=body["title"],
                prompt=body.get("prompt") or "",
                labels=body.get("labels", ()),
                column=column,
                external_id=external_id,
                auto_mode=body.get("auto_mode", False),
                defer=body.get("defer", False),
                permission_mode=body.get("permission_mode"),
                blocked_by=body.get("blocked_by", ()),
            )
    return Response(detail_of(card, user), status=201 if created else 200)


def detail_of(card: Card, user: User) -> dict[str, Any]:
    found = card.shown or detail_row(card.pk, project_id=card.project_id, user_id=user.pk)
    if found is None:
        raise NotFound("Somebody has just deleted this card.")
    return card_detail(found, user_id=user.pk)


class CardViewSet(ProjectScopedViewSet):
    roles = {
        "list": Role.MEMBER,
        "create": Role.MEMBER,
        "retrieve": Role.MEMBER,
        "partial_update": Role.MEMBER,
        "destroy": Role.MEMBER,
        "move": Role.MEMBER,
        "diff": Role.MEMBER,
        "view": Role.MEMBER,
        "complete": Role.MEMBER,
        "activate": Role.MEMBER,
        "auto_mode": Role.MEMBER,
        "credential": Role.MEMBER,
        "approve_auto": Role.MEMBER,
        "pipeline": Role.MEMBER,
        "set_pipeline": Role.MEMBER,
        "bulk": Role.MEMBER,
    }
    # Whoever chooses a card's key uses it: that is for people.
    tokens = dict.fromkeys(roles.keys() - {"credential"}, Tokens.ALL)

    def card(self) -> Card:
        found = card_of(self.project.pk, self.kwargs["card_id"])
        if found is None:
            raise nothing_here()
        found.project = self.project
        return found

    def _is_active(self, column_id: int) -> bool:
        column = fetch(Column, column_id, project_id=self.project.pk)
        return column is not None and column.column_type == ColumnType.ACTIVE

    @from_database
    def list(self, request: Request, **kwargs: Any) -> HttpResponse:
        board_id = board_filter(request)
        etag = conditional.etag_of(self.membership, self.user.pk, board_id)
        if conditional.is_current(request, etag):
            return conditional.not_modified(etag)
        body = bodies.card_list(self.membership, self.user.pk, board_id)
        return conditional.json_response(body, etag)

    def create(self, request: Request, **kwargs: Any) -> Response:
        return create_for(self.project, self.user, checked(CreateCardInput, request.data))

    @from_database
    def retrieve(self, request: Request, **kwargs: Any) -> HttpResponse:
        etag = conditional.etag_of(self.membership, self.user.pk, self.kwargs["card_id"])
        found = detail_row(self.kwargs["card_id"], project_id=self.project.pk, user_id=self.user.pk)
        if found is None:
            raise nothing_here()
        if conditional.is_current(request, etag):
            return conditional.not_modified(etag)
        body = dumps({"data": card_detail(found, user_id=self.user.pk)})
        return conditional.json_response(body, etag)

    def partial_update(self, request: Request, **kwargs: Any) -> Response:
        card = self.card()
        body = checked(UpdateCardInput, request.data)
        if "prompt" in body:
            body["prompt"] = body["prompt"] or ""
        card = services.update_card(card, **body, by=self.user.pk)
        return Response(detail_of(card, self.user))

    def destroy(self, request: Request, **kwargs: Any) -> Response:
        with told():
            services.delete_card(self.card(), force=flag(request, "force"), by=self.user.pk)
        return Response(status=204)

    def move(self, request: Request, **kwargs: Any) -> Response:
        body = checked(MoveCardInput, request.data)
        with commits.asked(self.project, starts=lambda: self._is_active(body["column_id"])):
            card = services.move(
                self.kwargs["card_id"],
                project_id=self.project.pk,
                column_id=body["column_id"],
                position=body.get("position"),
                by=self.user.pk,
                defer=body.get("defer", False),
            )
        return Response(detail_of(card, self.user))

    def diff(self, request: Request, **kwargs: Any) -> Response:
        with told():
            found = worktrees.card_diff(self.card()) or Diff()
        return Response(diff_shape(found))

    def view(self, request: Request, **kwargs: Any) -> Response:
        services.mark_viewed(self.card(), user_id=self.user.pk)
        return Response(status=204)

    def complete(self, request: Request, **kwargs: Any) -> Response:
        # It may be what others waited for.
        with commits.asked(self.project):
            services.complete_card(self.card(), by=self.user.pk)
        return Response(status=204)

    def activate(self, request: Request, **kwargs: Any) -> Response:
        with commits.asked(self.project):
            services.activate_card(self.card(), by=self.user.pk)
        return Response(status=204)

    def auto_mode(self, request: Request, **kwargs: Any) -> Response:
        card = self.card()
        body = checked(AutoModeInput, request.data)
        card = services.set_auto_mode(card, enabled=body["enabled"], by=self.user.pk)
        return Response(detail_of(card, self.user))

    def credential(self, request: Request, **kwargs: Any) -> Response:
        card = self.card()
        credential_id = checked(CredentialInput, request.data)["credential_id"]
        require_assignable(credential_id, self.user)
        card = services.set_credential(card, credential_id, by=self.user.pk)
        return Response(detail_of(card, self.user))

    def approve_auto(self, request: Request, **kwargs: Any) -> Response:
        services.approve_step(self.card(), by=self.user.pk)
        return Response(status=204)

    @from_database
    def pipeline(self, request: Request, **kwargs: Any) -> HttpResponse:
        card = self.card()
        etag = conditional.etag_of(self.membership, "pipeline", card.pk)
        if conditional.is_current(request, etag):
            return conditional.not_modified(etag)
        body = dumps({"data": pipeline_shape(steps_of(card))})
        return conditional.json_response(body, etag)

    def set_pipeline(self, request: Request, **kwargs: Any) -> Response:
        card = self.card()
        given = checked(PipelineInput, request.data)["steps"]
        steps = [
            (each["column_id"], None if each.get("inherited") else each.get("prompt") or None)
            for each in given
        ]
        card = services.set_pipeline(card, steps, by=self.user.pk)
        return Response(pipeline_shape(steps_of(card)))

    def bulk(self, request: Request, **kwargs: Any) -> Response:
        body = checked(BulkInput, request.data)
        card_ids = body.pop("card_ids")
        with commits.asked(self.project, starts=lambda: body["action"] in _MAY_START):
            services.change_cards(self.project.pk, card_ids, **body, by=self.user.pk)
        rows = detail_rows(card_ids, project_id=self.project.pk, user_id=self.user.pk)
        return Response(
            [
                {
                    "cardId": public_id("card", each),
                    "card": card_in_list(rows[each], self.user.pk) if each in rows else None,
                }
                for each in card_ids
            ]
        )


class ColumnCardsViewSet(ProjectScopedViewSet):
    """What is done to all cards of a column; the column itself is another app's."""

    tokens = Tokens.ALL

    roles = {"clean_all": Role.MEMBER}

    def clean_all(self, request: Request, **kwargs: Any) -> Response:
        column = fetch(Column, self.kwargs["column_id"], project_id=self.project.pk)
        if column is None:
            raise nothing_here()
        services.clean_column(column, by=self.user.pk)
        return Response(status=204)
