from __future__ import annotations

from django.urls import path

from apps.projects.views import ProjectsView, ProjectViewSet

PROJECT = "projects/<project:project_id>"

urlpatterns = [
    path("projects", ProjectsView.as_view()),
    path(
        PROJECT,
        ProjectViewSet.as_view({"get": "retrieve", "patch": "partial_update", "delete": "destroy"}),
    ),
    path(f"{PROJECT}/files", ProjectViewSet.as_view({"get": "files"})),
    path(f"{PROJECT}/credential", ProjectViewSet.as_view({"put": "credential"})),
]
