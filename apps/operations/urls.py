from __future__ import annotations

from django.urls import path

from apps.operations import schema_views, setting_views, views
from apps.operations.transfer_views import ExportViewSet, ImportView

urlpatterns = [
    path("health", views.HealthView.as_view()),
    path("settings/context-relay", setting_views.ContextRelayView.as_view()),
    path("schema", schema_views.SchemaView.as_view()),
    path("events/schema", schema_views.EventsSchemaView.as_view()),
    path("docs", schema_views.DocsView.as_view()),
    path("docs/page.js", schema_views.PageScriptView.as_view()),
    path("projects/import", ImportView.as_view()),
    path("projects/<project:project_id>/export", ExportViewSet.as_view({"get": "export"})),
]
