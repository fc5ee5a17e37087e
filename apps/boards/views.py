from __future__ import annotations

from typing import Any

from django.http import HttpResponse
from rest_framework.request import Request
from rest_framework.response import Response

from apps.accounts.reach import Tokens
from apps.boards import ordering, services
from apps.boards.models import Board, BoardTemplate, Column
from apps.boards.serializers import (
    CreateBoardInput,
    CreateColumnInput,
    ReorderBoardsInput,
    ReorderColumnsInput,
    UpdateBoardInput,
    UpdateColumnInput,
    board_shape,
    column_shape,
)
from apps.common.envelope import dumps
from apps.common.errors import Invalid, NotFound
from apps.common.fetching import fetch
from apps.common.ids import BadId, parse_id
from apps.common.kept import from_database
from apps.common.misspelt import query
from apps.common.serializers import checked
from apps.projects import conditional
from apps.projects.scoping import ProjectScopedViewSet, Role, nothing_here


class BoardViewSet(ProjectScopedViewSet):
    roles = {
        "list": Role.MEMBER,
        "create": Role.MEMBER,
        "partial_update": Role.MEMBER,
        "destroy": Role.MEMBER,
        "reorder": Role.MEMBER,
    }
    tokens = Tokens.ALL

    def board(self) -> Board:
        found = fetch(Board, self.kwargs["board_id"], project_id=self.project.pk)
        if found is None:
            raise nothing_here()
        return found

    @from_database
    def list(self, request: Request, **kwargs: Any) -> HttpResponse:
        etag = conditional.etag_of(self.membership)
        if conditional.is_current(request, etag):
            return conditional.not_modified(etag)
        boards = Board.objects.filter(project=self.project).order_by("position", "pk")
        return conditional.json_response(dumps({"data": [board_shape(b) for b in boards]}), etag)

    def create(self, request: Request, **kwargs: Any) -> Response:
        body = checked(CreateBoardInput, request.data)
        template = None
        if body.get("template_id") is not None:
            template = fetch(BoardTemplate, body["template_id"])
            if template is None:
                raise NotFound("There is no such board template.")
        board = services.create_board(
            self.project.pk, name=body["name"], template=template, by=self.user.pk
        )
        return Response(board_shape(board), status=201)

    def partial_update(self, request: Request, **kwargs: Any) -> Response:
        board = self.board()
        body = checked(UpdateBoardInput, request.data)
        if "name" in body:
            board = services.rename_board(board, name=body["name"], by=self.user.pk)
        return Response(board_shape(board))

    def destroy(self, request: Request, **kwargs: Any) -> Response:
        services.delete_board(self.board(), by=self.user.pk)
        return Response(status=204)

    def reorder(self, request: Request, **kwargs: Any) -> Response:
        ids = checked(ReorderBoardsInput, request.data)["ids"]
        ordered = ordering.reorder_boards(self.project.pk, ids, by=self.user.pk)
        return Response([board_shape(each) for each in ordered])


def board_filter(request: Request) -> int | None:
    """`?boardId=`; a board of somebody else's simply matches nothing."""
    given = query(request, "boardId").get("boardId")
    if not given:
        return None
    try:
        return parse_id("board", given)
    except BadId as error:
        raise Invalid(f"boardId: {error}") from None


class ColumnViewSet(ProjectScopedViewSet):
    roles = {
        "list": Role.MEMBER,
        "create": Role.MEMBER,
        "partial_update": Role.MEMBER,
        "destroy": Role.MEMBER,
        "reorder": Role.MEMBER,
    }
    tokens = Tokens.ALL

    def column(self) -> Column:
        found = fetch(Column, self.kwargs["column_id"], project_id=self.project.pk)
        if found is None:
            raise nothing_here()
        return found

    @from_database
    def list(self, request: Request, **kwargs: Any) -> HttpResponse:
        board_id = board_filter(request)
        etag = conditional.etag_of(self.membership, board_id)
        if conditional.is_current(request, etag):
            return conditional.not_modified(etag)
        columns = Column.objects.filter(project=self.project)
        if board_id is not None:
            columns = columns.filter(board_id=board_id)
        ordered = columns.order_by("board__position", "board_id", "position", "pk")
        return conditional.json_response(
            dumps({"data": [column_shape(column) for column in ordered]}), etag
        )

    def create(self, request: Request, **kwargs: Any) -> Response:
        body = checked(CreateColumnInput, request.data)
        board = fetch(Board, body.pop("board_id"), project_id=self.project.pk)
        if board is None:
            raise NotFound("There is no such board in this project.")
        column = services.create_column(board, **body, by=self.user.pk)
        return Response(column_shape(column), status=201)

    def partial_update(self, request: Request, **kwargs: Any) -> Response:
        column = self.column()
        body = checked(UpdateColumnInput, request.data)
        column = services.update_column(column, **body, by=self.user.pk)
        return Response(column_shape(column))

    def destroy(self, request: Request, **kwargs: Any) -> Response:
        services.delete_column(self.column(), by=self.user.pk)
        return Response(status=204)

    def reorder(self, request: Request, **kwargs: Any) -> Response:
        ids = checked(ReorderColumnsInput, request.data)["ids"]
        ordered = ordering.reorder_columns(self.project.pk, ids, by=self.user.pk)
        return Response([column_shape(each) for each in ordered])
