from __future__ import annotations

from django.urls import path, register_converter

from apps.projects.event_views import EventsViewSet
from apps.projects.filesystem_views import BrowseView, ReadView
from apps.projects.member_views import InvitationViewSet, MemberViewSet
from apps.projects.views import ProjectsOrderView, ProjectsView, ProjectViewSet


class EmailConverter:
    """An email in a path, URL-encoded by whoever asks; as it is stored inside."""

    # A slash is rare in one, but allowed.
    regex = r"[^@]+@[^@/]+"

    def to_python(self, value: str) -> str:
        return value.strip().lower()

    def to_url(self, value: str) -> str:
        return value


register_converter(EmailConverter, "email")

PROJECT = "projects/<project:project_id>"

urlpatterns = [
    path("projects", ProjectsView.as_view()),
    path("projects/reorder", ProjectsOrderView.as_view()),
    path(
        PROJECT,
        ProjectViewSet.as_view({"get": "retrieve", "patch": "partial_update", "delete": "destroy"}),
    ),
    path(f"{PROJECT}/last-opened", ProjectViewSet.as_view({"patch": "last_opened"})),
    path(f"{PROJECT}/files", ProjectViewSet.as_view({"get": "files"})),
    path(f"{PROJECT}/settings", ProjectViewSet.as_view({"get": "settings_by_origin"})),
    path(f"{PROJECT}/settings/accept", ProjectViewSet.as_view({"post": "accept_settings"})),
    path(f"{PROJECT}/credential", ProjectViewSet.as_view({"put": "credential"})),
    path(f"{PROJECT}/events", EventsViewSet.as_view({"get": "list"})),
    path(f"{PROJECT}/members", MemberViewSet.as_view({"get": "list", "post": "create"})),
    path(
        f"{PROJECT}/members/<user:user_id>",
        MemberViewSet.as_view({"patch": "partial_update", "delete": "destroy"}),
    ),
    path(f"{PROJECT}/invitations/<email:email>", InvitationViewSet.as_view({"delete": "destroy"})),
    path("filesystem/browse", BrowseView.as_view()),
    path("filesystem/read", ReadView.as_view()),
]
