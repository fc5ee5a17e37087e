from __future__ import annotations

from django.urls import path

from apps.cards.attachment_views import AttachmentView, CardAttachmentsViewSet
from apps.cards.personal_views import PanelStateViewSet, ReadingViewSet
from apps.cards.search_views import SearchView
from apps.cards.views import CardViewSet, ColumnCardsViewSet

PROJECT = "projects/<project:project_id>"
PANELS = f"{PROJECT}/panel-states"
CARDS = f"{PROJECT}/cards"
CARD = f"{CARDS}/<card:card_id>"

urlpatterns = [
    path(CARDS, CardViewSet.as_view({"get": "list", "post": "create"})),
    path(f"{CARDS}/bulk", CardViewSet.as_view({"post": "bulk"})),
    path(
        CARD,
        CardViewSet.as_view({"get": "retrieve", "patch": "partial_update", "delete": "destroy"}),
    ),
    path(f"{CARD}/move", CardViewSet.as_view({"patch": "move"})),
    path(f"{CARD}/diff", CardViewSet.as_view({"get": "diff"})),
    path(f"{CARD}/view", CardViewSet.as_view({"post": "view"})),
    path(f"{CARD}/complete", CardViewSet.as_view({"post": "complete"})),
    path(f"{CARD}/activate", CardViewSet.as_view({"post": "activate"})),
    path(f"{CARD}/auto-mode", CardViewSet.as_view({"patch": "auto_mode"})),
    path(f"{CARD}/credential", CardViewSet.as_view({"put": "credential"})),
    path(f"{CARD}/approve-auto", CardViewSet.as_view({"post": "approve_auto"})),
    path(f"{CARD}/pipeline", CardViewSet.as_view({"get": "pipeline", "put": "set_pipeline"})),
    path(
        f"{PROJECT}/columns/<column:column_id>/clean-all",
        ColumnCardsViewSet.as_view({"post": "clean_all"}),
    ),
    path(f"{PROJECT}/mark-all-read", ReadingViewSet.as_view({"post": "mark_all_read"})),
    path("search", SearchView.as_view()),
    path(PANELS, PanelStateViewSet.as_view({"get": "list", "put": "update"})),
    path(f"{PANELS}/<card:card_id>", PanelStateViewSet.as_view({"delete": "destroy"})),
    path(f"{CARD}/attachments", CardAttachmentsViewSet.as_view({"get": "list", "post": "create"})),
    path("attachments/<attachment:attachment_id>", AttachmentView.as_view()),
]
