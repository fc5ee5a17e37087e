"""What a run of a project may not show."""

from __future__ import annotations

from apps.cards.models import Card
from apps.credentials import unshown
from apps.projects.models import Project


def values(project: Project) -> list[str]:
    """The server's own secrets, and the keys of the project, its organization and all its cards.

    A run gets one of them at most; but agents and people leave things where another finds them.
    """
    cards = Card.objects.filter(project=project, credential__isnull=False)
    organization = project.organization
    return unshown.values(
        [
            *cards.order_by().values_list("credential_id", flat=True).distinct(),
            project.credential_id,
            organization.default_credential_id if organization else None,
        ]
    )
