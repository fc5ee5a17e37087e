from __future__ import annotations

from typing import Literal, TypedDict

from apps.common.described import Operation, Operations
from apps.common.shapes import CredentialId, Moment, OrganizationId, UserId
from apps.organizations import serializers as ins
from apps.organizations.views import MemberViewSet, OrganizationsView, OrganizationViewSet

TAG = "Organizations"


class Organization(TypedDict):
    id: OrganizationId
    name: str
    role: Literal["admin", "member"]
    memberCount: int
    defaultCredentialId: CredentialId | None
    createdAt: Moment
    updatedAt: Moment


class OrganizationMember(TypedDict):
    userId: UserId
    email: str
    displayName: str
    role: Literal["admin", "member"]
    createdAt: Moment


OPERATIONS: Operations = {
    OrganizationsView: {
        "get": Operation("My organizations", [Organization], etag=True),
        "post": Operation(
            "Make an organization", Organization, ins.CreateOrganizationInput, status=201
        ),
    },
    OrganizationViewSet: {
        "retrieve": Operation("One organization", Organization, etag=True),
        "partial_update": Operation(
            "Rename an organization", Organization, ins.UpdateOrganizationInput
        ),
        "destroy": Operation("Delete an organization", conflicts=("organization_has_projects",)),
        "default_credential": Operation(
            "Choose the credential of projects that have none of their own",
            Organization,
            ins.DefaultCredentialInput,
        ),
    },
    MemberViewSet: {
        "list": Operation("Its members", [OrganizationMember], etag=True),
        "create": Operation(
            "Add a member",
            OrganizationMember,
            ins.AddMemberInput,
            status=201,
            conflicts=("already_member",),
        ),
        "partial_update": Operation(
            "Change a member's role",
            OrganizationMember,
            ins.UpdateMemberInput,
            conflicts=("last_admin",),
        ),
        "destroy": Operation("Remove a member, or leave", conflicts=("last_admin",)),
    },
}
