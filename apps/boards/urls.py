from __future__ import annotations

from django.urls import path

from apps.boards.template_views import TemplatesView, TemplateView
from apps.boards.views import BoardViewSet, ColumnViewSet

BOARDS = "projects/<project:project_id>/boards"
COLUMNS = "projects/<project:project_id>/columns"

urlpatterns = [
    path(BOARDS, BoardViewSet.as_view({"get": "list", "post": "create"})),
    path(f"{BOARDS}/reorder", BoardViewSet.as_view({"patch": "reorder"})),
    path(
        f"{BOARDS}/<board:board_id>",
        BoardViewSet.as_view({"patch": "partial_update", "delete": "destroy"}),
    ),
    path(COLUMNS, ColumnViewSet.as_view({"get": "list", "post": "create"})),
    path(f"{COLUMNS}/reorder", ColumnViewSet.as_view({"patch": "reorder"})),
    path(
        f"{COLUMNS}/<column:column_id>",
        ColumnViewSet.as_view({"patch": "partial_update", "delete": "destroy"}),
    ),
    path("board-templates", TemplatesView.as_view()),
    path("board-templates/<template:template_id>", TemplateView.as_view()),
]
