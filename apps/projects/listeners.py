from __future__ import annotations

from django.db.models import Q

from apps.accounts import joining
from apps.accounts.models import User
from apps.accounts.personal_tokens import project_check
from apps.accounts.services import end_tokens_of_project
from apps.credentials import holders
from apps.credentials.models import Credential
from apps.credentials.services import before_delete
from apps.organizations.models import Organization
from apps.projects import invitations, lifecycle, services
from apps.projects.memberships import membership
from apps.projects.models import Project


@holders.finder
def projects_with(credential_id: int) -> list[int]:
    """Those that have it from their organization too; its row comes before their streams."""
    lenders = Organization.objects.select_for_update(no_key=True).order_by("pk")
    lent = Q(organization__in=list(lenders.filter(default_credential=credential_id)))
    found = Project.objects.filter(Q(credential=credential_id) | lent)
    return list(found.values_list("pk", flat=True))


@before_delete
def release_projects(credential: Credential) -> None:
    services.release_credential(credential)


@project_check
def is_reached(user: User, project_id: int) -> bool:
    return membership(user, project_id) is not None


@lifecycle.on_delete
def end_its_tokens(project: Project) -> list[str]:
    end_tokens_of_project(project.pk)
    return []


@joining.invitation_check
def is_invited(email: str, code: str) -> bool:
    return invitations.is_invited(email, code)


@joining.on_join
def accept_invitations(user: User) -> None:
    invitations.accept_all(user)
