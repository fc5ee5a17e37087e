"""One of everything, and everybody who may or may not reach it; made once a module, changed by nobody.

Whatever a request changes is rolled back after it (`World.ask`), so thousands can be asked within seconds.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.db import transaction

from apps.accounts import authentication
from apps.accounts.models import PersonalToken, Role, User
from apps.accounts.services import revoke_token
from apps.boards.models import BoardTemplate
from apps.cards import bodies
from apps.credentials.models import Provider
from apps.projects.models import Project
from tests import factories
from tests.client import Api
from tests.contract.document import undeclared
from tests.contract.endpoints import Endpoint

# Nothing listens there, and nobody outside this machine is asked.
NOWHERE = "http://127.0.0.1:9/v1"


@dataclass
class World:
    """`ids` is what stands for the names in braces in endpoints.yaml, of alice's project and organization.

    `elsewhere` is the project of which alice is the admin too, but in which none of those things are.
    """

    people: dict[str, Api]
    ids: dict[str, Any]
    elsewhere: Project

    def ask(self, person: str, endpoint: Endpoint, **ids: Any) -> Any:
        """The response, which is as the OpenAPI document says, after which everything is as before."""
        given = {**self.ids, **ids}
        response = self.send(
            person, endpoint.method, endpoint.address(given), endpoint.request(given)
        )
        assert undeclared(*endpoint.key, response) == []
        return response

    def send(
        self,
        person: str,
        method: str,
        path: str,
        body: Any,
        before: Callable[[], Any] = lambda: None,
    ) -> Any:
        """The same for any request; `before` is undone after it too."""
        client = self.people[person]
        authentication.forget_all()
        bodies.forget_all()
        with transaction.atomic():
            before()
            if method == "GET":
                client.request(method, path, status=None)
            else:
                client.request(method, path, body, None)
            transaction.set_rollback(True)
        return client.response


def make_world(folder: Path) -> World:
    garden, meadow = folder / "garden", folder / "meadow"
    garden.mkdir()
    meadow.mkdir()
    (meadow / "plan.txt").write_text("Sow in April.")
    users = {
        name: factories.make_user(name, role=role)
        for name, role in (
            ("alice", Role.USER),
            ("bob", Role.USER),
            ("charlie", Role.USER),
            ("dora", Role.USER),
            ("olga", Role.USER),
            ("eve", Role.ADMIN),
            ("root", Role.SUPER_ADMIN),
            ("fred", Role.USER),
        )
    }
    alice, bob, dora, olga, root, fred = (
        users[name] for name in ("alice", "bob", "dora", "olga", "root", "fred")
    )
    organization = factories.make_organization((dora, "member"), (olga, "admin"), (fred, "member"))
    project = factories.make_project(alice, path=garden, organization=organization)
    factories.add_member(project, bob)
    factories.add_member(project, fred)
    elsewhere = factories.make_project(alice, name="Other")
    people = {name: Api(user) for name, user in users.items()}
    people |= {
        "nobody": Api(),
        "read-only token": Api(factories.make_token(root, "read")),
        "project token": Api(factories.make_token(root, project_id=project.pk)),
        "token elsewhere": Api(factories.make_token(root, project_id=elsewhere.pk)),
        "revoked token": Api(_revoked(root)),
    }
    return World(people, _ids(project, alice, fred, meadow), elsewhere)


def _revoked(user: User) -> str:
    token = factories.make_token(user)
    row = PersonalToken.objects.latest("pk")
    revoke_token(row, by=row.user)
    return token


def _ids(project: Project, alice: User, fred: User, meadow: Path) -> dict[str, Any]:
    card = factories.make_card(project)
    session = factories.make_session(card)
    credential = factories.make_credential(
        alice, provider=Provider.OPENAI_COMPATIBLE, base_url=NOWHERE, model="none", hint="…wxyz"
    )
    template = BoardTemplate.objects.create(
        name="Beds", columns=[{"name": "To do", "columnType": "backlog"}], created_by=alice
    )
    factories.make_token(alice)
    return {
        "projectId": project.pk,
        "organizationId": project.organization_id,
        "boardId": factories.first_board(project).pk,
        "columnId": factories.column(project, "done").pk,
        "cardId": card.pk,
        "attachmentId": factories.make_attachment(card, name="page.html", kind="text/html").pk,
        "messageId": factories.make_message(session).pk,
        "requestId": factories.make_request(session).pk,
        "scriptId": factories.make_script(project).pk,
        "credentialId": credential.pk,
        "templateId": template.pk,
        "tokenId": PersonalToken.objects.latest("pk").pk,
        "userId": fred.pk,
        "email": factories.invite(project, "gone@example.org").email,
        "folder": str(meadow),
        "exported": '{"formatVersion": 1, "project": {"name": "Meadow"}}',
    }
