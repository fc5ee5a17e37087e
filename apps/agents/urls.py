from __future__ import annotations

from django.urls import path

from apps.agents.attention_views import AttentionView
from apps.agents.views import CardAgentViewSet, ProjectAgentsViewSet

PROJECT = "projects/<project:project_id>"
AGENT = f"{PROJECT}/cards/<card:card_id>/agent"

urlpatterns = [
    path("attention", AttentionView.as_view()),
    path(f"{PROJECT}/active-agents", ProjectAgentsViewSet.as_view({"get": "active"})),
    path(AGENT, CardAgentViewSet.as_view({"get": "current"})),
    path(f"{AGENT}/cancel", CardAgentViewSet.as_view({"post": "cancel"})),
    path(f"{AGENT}/sessions", CardAgentViewSet.as_view({"get": "sessions"})),
    path(f"{AGENT}/messages", CardAgentViewSet.as_view({"get": "messages"})),
    path(f"{AGENT}/messages/<message:message_id>", CardAgentViewSet.as_view({"delete": "drop"})),
    path(
        f"{AGENT}/messages/<message:message_id>/send-now",
        CardAgentViewSet.as_view({"post": "send_now"}),
    ),
    path(f"{AGENT}/requests", CardAgentViewSet.as_view({"get": "requests"})),
    path(
        f"{AGENT}/requests/<request:request_id>/answer",
        CardAgentViewSet.as_view({"post": "answer"}),
    ),
    path(f"{AGENT}/message", CardAgentViewSet.as_view({"post": "message"})),
]
