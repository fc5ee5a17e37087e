from __future__ import annotations

from django.urls import path

from apps.scripts.views import ScriptViewSet

SCRIPTS = "projects/<project:project_id>/scripts"
SCRIPT = f"{SCRIPTS}/<script:script_id>"

urlpatterns = [
    path(SCRIPTS, ScriptViewSet.as_view({"get": "list", "post": "create"})),
    path(f"{SCRIPTS}/reorder", ScriptViewSet.as_view({"put": "reorder"})),
    path(f"{SCRIPTS}/status", ScriptViewSet.as_view({"get": "status"})),
    path(f"{SCRIPT}/run", ScriptViewSet.as_view({"post": "run"})),
    path(f"{SCRIPT}/cancel", ScriptViewSet.as_view({"post": "cancel"})),
    path(SCRIPT, ScriptViewSet.as_view({"put": "update", "delete": "destroy"})),
]
