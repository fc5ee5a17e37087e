"""Credentials of people who set out to sign in at a provider and never came back."""

from __future__ import annotations

from datetime import timedelta

from django.db.models import Exists, OuterRef, QuerySet
from django.utils import timezone

from apps.cards.models import Card
from apps.common.errors import NotFound
from apps.credentials.assigning import hold_credential
from apps.credentials.models import Credential
from apps.credentials.services import delete_credential
from apps.events import bus
from apps.organizations.models import Organization
from apps.projects.models import Project

KEPT = timedelta(days=1)


def remove_old(_host_id: str) -> None:
    for pk in _abandoned().values_list("pk", flat=True):
        _remove(pk)


def _abandoned() -> QuerySet[Credential]:
    """What somebody has assigned stays: the cards that wait for it say so."""
    here = OuterRef("pk")
    return Credential.objects.filter(
        ~Exists(Card.objects.filter(credential=here)),
        ~Exists(Project.objects.filter(credential=here)),
        ~Exists(Organization.objects.filter(default_credential=here)),
        status=Credential.Status.PENDING,
        oauth__expires_at__lt=timezone.now() - KEPT,
    )


@bus.atomically
def _remove(pk: int) -> None:
    try:
        hold_credential(pk)
    except NotFound:
        return
    for credential in _abandoned().filter(pk=pk):
        delete_credential(credential)
