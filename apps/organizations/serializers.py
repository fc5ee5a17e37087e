from __future__ import annotations

from typing import Any

from apps.accounts.serializers import EmailField
from apps.common.fields import ChoiceField, PublicIdField, TextField
from apps.common.ids import optional_id, public_id
from apps.common.serializers import Serializer
from apps.common.times import iso
from apps.organizations.models import OrganizationMember
from apps.organizations.standings import Standing

NAME_LIMIT = 200


def organization_shape(standing: Standing) -> dict[str, Any]:
    organization = standing.organization
    return {
        "id": public_id("organization", organization.pk),
        "name": organization.name,
        "role": standing.role,
        "memberCount": standing.member_count,
        "defaultCredentialId": optional_id("credential", organization.default_credential_id),
        "createdAt": iso(organization.created_at),
        "updatedAt": iso(organization.updated_at),
    }


def member_shape(member: OrganizationMember) -> dict[str, Any]:
    return {
        "userId": public_id("user", member.user_id),
        "email": member.user.email,
        "displayName": member.user.display_name,
        "role": member.role,
        "createdAt": iso(member.created_at),
    }


class CreateOrganizationInput(Serializer):
    name = TextField(max_length=NAME_LIMIT)


class UpdateOrganizationInput(Serializer):
    name = TextField(max_length=NAME_LIMIT, required=False)


class AddMemberInput(Serializer):
    email = EmailField()
    role = ChoiceField(OrganizationMember.Role.choices, default=OrganizationMember.Role.MEMBER)


class UpdateMemberInput(Serializer):
    role = ChoiceField(OrganizationMember.Role.choices)


class DefaultCredentialInput(Serializer):
    """`null` takes the credential away."""

    credential_id = PublicIdField("credential", allow_null=True)
