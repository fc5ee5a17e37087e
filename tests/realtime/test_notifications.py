"""What begins and ceases to wait for a person reaches their sockets, whatever they have subscribed to."""

from __future__ import annotations

import time
from collections.abc import Callable

from apps.accounts.models import User
from apps.cards import services
from apps.events import telling
from tests import factories
from tests.realtime.client import Client
from tests.realtime.conftest import World


def _wait_until_told(client: Client, person: User) -> None:
    """Notifications are not stored, and after a failure of Redis nobody is told anything for a second."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        telling.tell_user(person.pk, '{"type":"notification","data":{}}')
        if not client.is_silent():
            return
    raise AssertionError("no news reached this person's socket")


def test_a_persons_own_sockets_hear_of_what_waits_in_their_projects(
    connect: Callable[[User], Client], world: World
) -> None:
    project = factories.make_project(world.alice, name="Orchard")
    factories.add_member(project, world.bob)
    alice, again, bob, charlie = (
        connect(person) for person in (world.alice, world.alice, world.bob, world.charlie)
    )
    for client, person in (
        (alice, world.alice),
        (again, world.alice),
        (bob, world.bob),
        (charlie, world.charlie),
    ):
        _wait_until_told(client, person)
    for client in (alice, again, bob, charlie):
        while not client.is_silent():
            pass
    active = factories.column(project, "active")
    card = factories.make_card(project, column=active, defer=True)
    for client in (alice, again, bob):
        message = client.next()
        assert message.keys() == {"type", "data"}
        assert message["type"] == "notification"
        (added,) = message["data"]["added"]
        assert added["cardId"] == f"card_{card.pk:03d}"
    services.complete_card(card, by=world.alice.pk)
    for client in (alice, again, bob):
        assert client.next()["data"]["removed"] == [added["id"]]
    assert charlie.is_silent()
