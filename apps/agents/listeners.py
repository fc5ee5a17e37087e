"""What a card's life means for its agent. Called inside the transaction of the change."""

from __future__ import annotations

from apps.agents import announcing, gate, reconsidering, sessions
from apps.agents.events import RequestChanged
from apps.agents.models import AgentSession
from apps.cards import attention, deleting, starting
from apps.cards.events import CardCreated, CardMoved
from apps.cards.models import Card
from apps.credentials import holders
from apps.credentials.models import Credential
from apps.credentials.services import before_delete
from apps.events.bus import listen
from apps.organizations import services as organizations
from apps.organizations.models import Organization
from apps.projects import lifecycle
from apps.projects.models import Project


@listen(CardCreated)
def created(event: CardCreated) -> None:
    if event.starts:
        sessions.start_or_defer(event.card, by=event.by)


@listen(CardMoved)
def moved(event: CardMoved) -> None:
    if event.starts:
        sessions.card_entered_active(event.card, by=event.by, did=_moved(event.card))
    elif event.stops:
        sessions.stop(event.card.pk, by=event.by, did=_moved(event.card))


def _moved(card: Card) -> str:
    return f"moved the card to “{card.column.name}”, which ends this work."


@starting.on_start
def start(card: Card, by: int | None) -> None:
    """A deferred card that stands in an active column was activated, or its last blocker was completed."""
    sessions.card_entered_active(card, by=by, did="started the card anew, which ends this work.")


@starting.on_stop
def stop(card: Card, by: int | None, did: str) -> None:
    sessions.stop(card.pk, by=by, did=did)


@starting.on_hold
def hold(card_ids: list[int]) -> None:
    sessions.hold(AgentSession.objects.filter(card__in=card_ids))


@before_delete
def key_is_taken(credential: Credential) -> None:
    """The sessions that work with it lose it in one statement."""
    sessions.hold(AgentSession.objects.filter(credential=credential))


@starting.on_reconsider
def reconsider(card: Card) -> None:
    reconsidering.one(card)


@lifecycle.on_change
def project_changed(project: Project, names: frozenset[str], run: str | None) -> None:
    if "agent" in names:
        gate.require_known(project.agent)
    if "worktree" in names:
        sessions.require_nobody_at_work(project, besides=run)
    if names & {"agent", "credential_id", "model", "permission_mode"}:
        reconsidering.cards_of(project)


@organizations.on_default_credential
def other_key_lent(organization: Organization) -> None:
    projects = Project.objects.filter(organization=organization)
    reconsidering.cards_of_all(projects.values_list("pk", flat=True))


@holders.on_change
def key_changed(project_ids: list[int]) -> None:
    reconsidering.cards_of_all(project_ids)


@deleting.on_delete
def deleted(card_ids: list[int]) -> None:
    """The sessions go with their cards; a worker that runs one finds its row gone and ends the processes."""
    announcing.gone(card_ids)
    sessions.disown(card_ids)


@attention.on_change
def needs(card_id: int, before: str | None, now: str | None) -> None:
    announcing.card_changed(card_id, before, now)


@listen(RequestChanged)
def asked_or_answered(event: RequestChanged) -> None:
    announcing.request_changed(event.request)
