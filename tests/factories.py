"""Things to test with, made the way the product makes them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

from django.utils import timezone

from apps.accounts import services as accounts
from apps.accounts.models import Role, User
from apps.agents.models import AgentMessage, AgentRequest, AgentSession
from apps.boards.models import Board, Column, ColumnType
from apps.cards import services as cards
from apps.cards.models import Attachment, Card
from apps.common.uploads import Upload
from apps.credentials.models import Credential, Provider
from apps.events import bus
from apps.host import git
from apps.organizations.models import Organization, OrganizationMember
from apps.projects import lifecycle
from apps.projects.models import Invitation, Project, ProjectMember
from apps.scripts import services as scripts
from apps.scripts.models import Script

PASSWORD = "correct horse"


def make_user(name: str, *, role: str = Role.USER, **fields: Any) -> User:
    fields.setdefault("display_name", name.capitalize())
    return User.objects.create_user(f"{name}@example.org", PASSWORD, role=role, **fields)


@bus.atomically
def make_project(
    owner: User, *, path: Path | str = "/srv/garden", name: str = "Garden", **fields: Any
) -> Project:
    """With its first board; the path is not checked."""
    fields.setdefault("is_git", Path(path).is_dir() and git.inspect(Path(path)).is_git)
    project = Project.objects.create(name=name, path=str(path), owner=owner, **fields)
    bus.create_stream(project.pk)
    lifecycle.created(project)
    return project


def add_member(project: Project, user: User, role: str = ProjectMember.Role.MEMBER) -> None:
    ProjectMember.objects.create(project=project, user=user, role=role)


def invite(project: Project, email: str) -> Invitation:
    """Somebody without an account; no code fits."""
    return Invitation.objects.create(project=project, email=email, code_hash="0" * 64)


def make_organization(*members: tuple[User, str], name: str = "Gardeners") -> Organization:
    organization = Organization.objects.create(name=name)
    for user, role in members:
        OrganizationMember.objects.create(organization=organization, user=user, role=role)
    return organization


def first_board(project: Project) -> Board:
    return Board.objects.filter(project=project).order_by("position")[0]


def column(project: Project, column_type: str = ColumnType.BACKLOG) -> Column:
    """The first of that type on the first board."""
    return Column.objects.filter(
        project=project, board=first_board(project), column_type=column_type
    ).order_by("position")[0]


def make_card(project: Project, *, title: str = "Water the roses", **fields: Any) -> Card:
    fields.setdefault("by", project.owner_id)
    return cards.create_card(project, title=title, **fields)


def make_credential(owner: User, **fields: Any) -> Credential:
    """Ready by its row; there is no key in it."""
    fields.setdefault("name", "key")
    fields.setdefault("provider", Provider.ANTHROPIC)
    fields.setdefault("status", Credential.Status.READY)
    return Credential.objects.create(owner=owner, **fields)


def make_token(user: User, *scopes: str, **fields: Any) -> str:
    """A personal token that may write unless told otherwise."""
    _, token = accounts.make_token(
        user, name="bot", scopes=list(scopes or ("read", "write")), **fields
    )
    return token


def make_session(card: Card, **fields: Any) -> AgentSession:
    """One that a person's agent could have; nobody works on it."""
    fields.setdefault("state", "completed")
    return AgentSession.objects.create(project_id=card.project_id, card=card, **fields)


def make_message(session: AgentSession, **fields: Any) -> AgentMessage:
    """A person's message that waits for its turn."""
    defaults = {"role": "user", "type": "text", "queue": "queued", "created_at": timezone.now()}
    return AgentMessage.objects.create(session=session, **{**defaults, **fields})


def make_request(session: AgentSession, **fields: Any) -> AgentRequest:
    options = [{"optionId": "yes", "name": "Allow", "kind": "allow_once"}]
    return AgentRequest.objects.create(
        session=session, **{"kind": "permission", "options": options, **fields}
    )


def make_attachment(
    card: Card,
    content: bytes = b"Roses, then tulips.",
    *,
    name: str = "notes.txt",
    kind: str = "text/plain",
) -> Attachment:
    def read(open_file: Callable[[str], BinaryIO]) -> Upload:
        open_file(name).write(content)
        return Upload(name, kind, len(content), {})

    return cards.attach(card, read, by=card.created_by_id or 0)


def make_script(project: Project, command: str = "true", *, name: str = "Test") -> Script:
    return scripts.create_script(project.pk, name=name, command=command, by=project.owner_id or 0)
