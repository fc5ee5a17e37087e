from __future__ import annotations

from django.urls import path

from apps.organizations.views import MemberViewSet, OrganizationsView, OrganizationViewSet

ORGANIZATION = "organizations/<organization:organization_id>"

urlpatterns = [
    path("organizations", OrganizationsView.as_view()),
    path(
        ORGANIZATION,
        OrganizationViewSet.as_view(
            {"get": "retrieve", "patch": "partial_update", "delete": "destroy"}
        ),
    ),
    path(
        f"{ORGANIZATION}/default-credential",
        OrganizationViewSet.as_view({"put": "default_credential"}),
    ),
    path(f"{ORGANIZATION}/members", MemberViewSet.as_view({"get": "list", "post": "create"})),
    path(
        f"{ORGANIZATION}/members/<user:user_id>",
        MemberViewSet.as_view({"patch": "partial_update", "delete": "destroy"}),
    ),
]
