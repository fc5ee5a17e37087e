"""What begins and ceases to wait for a person reaches their sockets, whatever they have subscribed to."""

from __future__ import annotations

from collections.abc import Callable

from apps.accounts.models import User
from apps.cards import services
from tests import factories
from tests.realtime.client import Client
from tests.realtime.conftest import World


def test_a_persons_own_sockets_hear_of_what_waits_in_their_projects(
    connect: Callable[[User], Client], world: World
) -> None:
    project = factories.make_project(world.alice, name="Orchard")
    factories.add_member(project, world.bob)
    alice, again, bob, charlie = (
        connect(person) for person in (world.alice, world.alice, world.bob, world.charlie)
    )
    for client in (alice, again, bob, charlie):
        # Answered: so it is there.
        client.say("subscribe", projectId=999_999)
        client.next()
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
