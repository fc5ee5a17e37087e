from __future__ import annotations

from typing import Any

import pytest

from apps.accounts import authentication
from apps.accounts.models import Preferences, User
from apps.configuration.store import AUTH_ENABLED
from tests import factories
from tests.client import Api
from tests.together import at_once

pytestmark = pytest.mark.django_db

SETTINGS = "/api/user/settings"
NOTIFICATIONS = "/api/settings/notifications"
SHORTCUTS = "/api/settings/keyboard-shortcuts"
ACCOUNTS = "/api/settings/auth"
RELAY = "/api/settings/context-relay"
SEARCH = "/api/users/search"

DEFAULTS = {
    SETTINGS: {
        "theme": "dark",
        "highContrast": False,
        "sidebarExpanded": True,
        "agentReasoning": True,
        "statusLine": True,
        "hiddenToolTypes": [],
    },
    NOTIFICATIONS: {
        "enabled": True,
        "sound": False,
        "agentCompleted": True,
        "agentFailed": True,
        "agentWaiting": True,
    },
    SHORTCUTS: {},
    RELAY: {"mode": "manual"},
    ACCOUNTS: {"enabled": True},
}


@pytest.fixture(autouse=True)
def _on_loopback(settings: Any) -> None:
    settings.LOOPBACK = True


@pytest.mark.parametrize("path", DEFAULTS)
def test_everybody_begins_with_the_defaults(api: Any, bob: User, path: str) -> None:
    assert api(bob).get(path) == DEFAULTS[path]
    api(None).get(path, 401)
    api(None).put(path, {}, 401)
    assert not Preferences.objects.exists()


@pytest.mark.parametrize("path", [SETTINGS, NOTIFICATIONS, SHORTCUTS, RELAY])
def test_what_has_not_changed_is_not_sent_again(api: Any, bob: User, path: str) -> None:
    client = api(bob)
    client.get(path)
    assert client.get(path, 304, If_None_Match=client.response["ETag"]) is None


@pytest.mark.both_databases
def test_settings_are_merged_and_each_person_has_their_own(
    api: Any, alice: User, bob: User
) -> None:
    changed = api(bob).put(SETTINGS, {"theme": "light", "unheard": "of"})
    assert changed == {**DEFAULTS[SETTINGS], "theme": "light"}
    tools = ["Bash", "web_fetch"]
    changed = api(bob).put(SETTINGS, {"hiddenToolTypes": tools, "statusLine": False})
    assert changed == {
        **DEFAULTS[SETTINGS],
        "theme": "light",
        "hiddenToolTypes": tools,
        "statusLine": False,
    }
    assert api(bob).get(SETTINGS) == api(bob).put(SETTINGS, {}) == changed
    assert api(alice).get(SETTINGS) == DEFAULTS[SETTINGS]
    assert api(bob).put(NOTIFICATIONS, {"sound": True})["sound"] is True
    assert api(bob).get(NOTIFICATIONS) == {**DEFAULTS[NOTIFICATIONS], "sound": True}
    assert api(bob).get(SETTINGS) == changed


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (SETTINGS, {"theme": "pink"}),
        (SETTINGS, {"theme": None}),
        (SETTINGS, {"highContrast": "yes"}),
        (SETTINGS, {"sidebarExpanded": 1}),
        (SETTINGS, {"statusLine": None}),
        (SETTINGS, {"hiddenToolTypes": "Bash"}),
        (SETTINGS, {"hiddenToolTypes": {"Bash": True}}),
        (SETTINGS, {"hiddenToolTypes": [5]}),
        (SETTINGS, {"hiddenToolTypes": ["a\0b"]}),
        (SETTINGS, {"hiddenToolTypes": ["x"] * 501}),
        (NOTIFICATIONS, {"enabled": "on"}),
        (NOTIFICATIONS, {"sound": None}),
        (SHORTCUTS, {"card.new": 5}),
        (SHORTCUTS, {"card.new": None}),
        (SHORTCUTS, {"card.new": ["mod+k"]}),
        (SHORTCUTS, {"card.new": "a\0b"}),
        (SHORTCUTS, {"a\0b": "mod+k"}),
        (SHORTCUTS, {"x" * 201: "mod+k"}),
        (SHORTCUTS, {str(number): "k" for number in range(501)}),
        (ACCOUNTS, {}),
        (ACCOUNTS, {"enabled": "no"}),
        (ACCOUNTS, {"enabled": None}),
        (RELAY, {}),
        (RELAY, {"mode": "sometimes"}),
        (RELAY, {"mode": None}),
        (RELAY, {"mode": True}),
    ],
)
def test_wrong_types_are_a_400_and_change_nothing(
    api: Any, root: User, path: str, body: Any
) -> None:
    assert api(root).put(path, body, 400)["code"] == "invalid"
    assert api(root).get(path) == DEFAULTS[path]


@pytest.mark.both_databases
def test_shortcuts_are_replaced(api: Any, alice: User, bob: User) -> None:
    first = {"card.new": "mod+k", "søk": ""}
    assert api(bob).put(SHORTCUTS, first) == first
    assert api(bob).get(SHORTCUTS) == first
    assert api(bob).put(SHORTCUTS, {"board.next": "j"}) == {"board.next": "j"}
    assert api(alice).get(SHORTCUTS) == {}
    assert api(bob).put(SHORTCUTS, {}) == {}


@pytest.mark.both_databases
@pytest.mark.django_db(transaction=True)
def test_of_settings_that_are_changed_at_once_none_is_lost(bob: User) -> None:
    flags = ("highContrast", "sidebarExpanded", "agentReasoning", "statusLine")
    wanted = {name: not DEFAULTS[SETTINGS][name] for name in flags}
    at_once([lambda n=n: Api(bob).put(SETTINGS, {n: wanted[n]}) for n in flags])
    assert Api(bob).get(SETTINGS) == {**DEFAULTS[SETTINGS], **wanted}


def test_only_a_super_admin_switches_accounts_off_and_on(api: Any, bob: User, root: User) -> None:
    eve = factories.make_user("eve", role="admin")
    for person in (bob, eve):
        api(person).put(ACCOUNTS, {"enabled": False}, 403)
    assert api(root).put(ACCOUNTS, {"enabled": False}) == {"enabled": False}
    # Everybody acts as the super admin now, whoever they say they are.
    assert api(None).get("/api/auth/me")["id"] == api(bob).get("/api/auth/me")["id"]
    assert api(None).get(ACCOUNTS) == {"enabled": False}
    assert api(None).get("/api/settings/auth-status")["authEnabled"] is False
    assert api(None).put(ACCOUNTS, {"enabled": True}) == {"enabled": True}
    api(None).get(ACCOUNTS, 401)


def test_accounts_are_switched_on_before_there_are_any(api: Any, db: None) -> None:
    AUTH_ENABLED.set(False)
    authentication.forget_all()
    assert api(None).put(ACCOUNTS, {"enabled": True}) == {"enabled": True}
    status = api(None).get("/api/settings/auth-status")
    assert (status["authEnabled"], status["hasUsers"]) == (True, False)
    api(None).post("/api/auth/setup", {"email": "root@example.org", "password": factories.PASSWORD})


def test_beyond_loopback_accounts_stay_on(api: Any, root: User, settings: Any) -> None:
    settings.LOOPBACK = False
    error = api(root).put(ACCOUNTS, {"enabled": False}, 409)
    assert "loopback" in error["message"]
    assert api(root).put(ACCOUNTS, {"enabled": True}) == {"enabled": True}
    assert AUTH_ENABLED.get() is True


def test_what_the_environment_has_decided_is_a_409(api: Any, db: None, settings: Any) -> None:
    settings.AUTH_FIXED_OFF = True
    assert api(None).get(ACCOUNTS) == {"enabled": False}
    for enabled in (True, False):
        assert api(None).put(ACCOUNTS, {"enabled": enabled}, 409)["code"] == "auth_fixed"


@pytest.mark.both_databases
def test_an_admin_sets_how_contexts_are_relayed_for_all(api: Any, bob: User, root: User) -> None:
    eve = factories.make_user("eve", role="admin")
    api(bob).put(RELAY, {"mode": "auto"}, 403)
    for person, mode in ((root, "off"), (eve, "auto")):
        assert api(person).put(RELAY, {"mode": mode}) == {"mode": mode}
        assert api(bob).get(RELAY) == {"mode": mode}


@pytest.mark.both_databases
def test_people_are_found_by_part_of_their_name_or_email(api: Any, alice: User, bob: User) -> None:
    factories.make_user("zoe", display_name="Zoë Ågren (she)")
    factories.make_user("gone", display_name="Alina", is_active=False)
    factories.make_user("stand-in", display_name="Alina", is_local=True)
    found = api(bob).get(f"{SEARCH}?q=LIC")
    assert [{key: each[key] for key in ("id", "email", "displayName")} for each in found] == [
        {"id": f"user_{alice.pk:03d}", "email": "alice@example.org", "displayName": "Alice"}
    ]

    def names(query: str) -> list[str]:
        return [each["displayName"] for each in api(bob).get(f"{SEARCH}?q={query}")]

    assert names("BOB%40example") == ["Bob"]
    assert names("zoË%20å") == names("(She)") == names("%20Ågren%20") == ["Zoë Ågren (she)"]
    assert names("ali") == ["Alice"]
    for nobody in (".*", "%25", "_", "%5C", "a%00b", "***:.", "[", "(?i)a", "%00"):
        assert names(nobody) == [], nobody


def test_a_search_for_nothing_finds_nothing_and_one_for_all_stops_at_twenty(
    api: Any, bob: User
) -> None:
    for number in range(25):
        factories.make_user(f"someone{number:02d}")
    for query in ("", "?q=", "?q=%20"):
        assert api(bob).get(f"{SEARCH}{query}") == []
    assert len(api(bob).get(f"{SEARCH}?q=example.org")) == 20
    api(None).get(f"{SEARCH}?q=a", 401)
