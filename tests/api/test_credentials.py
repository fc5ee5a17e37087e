from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest
from rest_framework.test import APIClient

from apps.accounts import authentication, tokens
from apps.accounts.models import Role, User
from apps.credentials import services
from apps.credentials.models import Credential
from apps.credentials.resolution import OPENROUTER_URL, Usable, environment, resolve
from apps.credentials.sealing import CannotUnseal, seal, unseal
from tests import factories

KEY = "sk-ant-api03-abcdefghijklmnop"

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _fresh(settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    settings.SHARE_SERVER_KEYS = False
    for provider in ("ANTHROPIC", "OPENAI", "GEMINI", "OPENROUTER"):
        monkeypatch.delenv(f"{provider}_API_KEY", raising=False)
        monkeypatch.delenv(f"{provider}_BASE_URL", raising=False)
    monkeypatch.delenv("GOOGLE_GEMINI_BASE_URL", raising=False)
    authentication.forget_all()
    yield
    authentication.forget_all()


def make(name: str, role: str = Role.USER) -> User:
    return User.objects.create(
        email=f"{name}@example.org", display_name=name, role=role, password="!"
    )


@pytest.fixture
def alice() -> User:
    return make("alice")


@pytest.fixture
def bob() -> User:
    return make("bob")


@pytest.fixture
def root() -> User:
    return make("root", Role.SUPER_ADMIN)


def api(user: User) -> APIClient:
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {tokens.issue(user)}")
    return client


def create(user: User, **body: Any) -> Any:
    body = {"name": "Mine", "provider": "anthropic", "apiKey": KEY} | body
    response = api(user).post("/api/credentials", body, format="json")
    assert response.status_code == 201, response.content
    return response.json()["data"]


def error(response: Any, status: int) -> str:
    assert response.status_code == status, response.content
    assert set(response.json()) == {"error"}
    return str(response.json()["error"]["code"])


def test_a_key_is_stored_sealed_and_only_its_mask_is_shown(
    alice: User, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    made = create(alice)
    assert (made["apiKey"], made["status"], made["authType"]) == (
        "sk-ant-...****",
        "ready",
        "api_key",
    )
    client = api(alice)
    assert client.get(f"/api/credentials/{made['id']}").json()["data"] == made
    assert client.get("/api/credentials").json()["data"] == [made]
    row = Credential.objects.get()
    assert row.sealed is not None
    assert KEY.encode() not in bytes(row.sealed)
    assert KEY not in caplog.text
    usable = resolve([row.pk])
    assert usable is not None
    assert usable.secret == KEY
    assert KEY not in repr(usable)


def test_a_short_key_shows_nothing_of_itself(alice: User) -> None:
    assert create(alice, apiKey="sk-12345678")["apiKey"] == "****"


def test_a_credential_belongs_to_who_made_it_and_super_admins_see_all(
    alice: User, bob: User, root: User
) -> None:
    path = f"/api/credentials/{create(alice)['id']}"
    admin = make("admin", Role.ADMIN)
    for stranger in (bob, admin):
        client = api(stranger)
        assert client.get("/api/credentials").json()["data"] == []
        assert error(client.get(path), 404) == "not_found"
        assert error(client.patch(path, {"name": "x"}, format="json"), 404) == "not_found"
        assert error(client.delete(path), 404) == "not_found"
    assert len(api(root).get("/api/credentials").json()["data"]) == 1
    assert api(root).patch(path, {"name": "Root was here"}, format="json").status_code == 200
    assert api(root).delete(path).status_code == 204
    for method in ("get", "patch", "delete"):
        assert error(getattr(APIClient(), method)(path), 401) == "unauthenticated"
    assert error(APIClient().get("/api/credentials"), 401) == "unauthenticated"
    assert error(APIClient().post("/api/credentials"), 401) == "unauthenticated"


def test_without_a_key_it_is_pending_and_unusable(alice: User) -> None:
    made = create(alice, apiKey=None)
    assert (made["status"], made["apiKey"]) == ("pending", None)
    row = Credential.objects.get()
    assert resolve([row.pk]) is None
    path = f"/api/credentials/{made['id']}"
    patched = api(alice).patch(path, {"apiKey": KEY}, format="json").json()["data"]
    assert (patched["status"], patched["apiKey"]) == ("ready", "sk-ant-...****")
    cleared = api(alice).patch(path, {"apiKey": None}, format="json").json()["data"]
    assert (cleared["status"], cleared["apiKey"]) == ("pending", None)


def test_a_patch_changes_what_it_names_and_never_the_provider(alice: User) -> None:
    made = create(alice, model="claude-x", baseUrl="https://gate.example.org")
    client = api(alice)
    path = f"/api/credentials/{made['id']}"
    response = client.patch(path, {"name": " Renamed ", "provider": "openai"}, format="json")
    changed = response.json()["data"]
    assert changed.pop("updatedAt") > made.pop("updatedAt")
    assert changed == made | {"name": "Renamed"}
    assert client.patch(path, {}, format="json").json()["data"]["name"] == "Renamed"
    cleared = client.patch(path, {"model": None, "baseUrl": None}, format="json").json()["data"]
    assert (cleared["model"], cleared["baseUrl"]) == (None, None)
    assert resolve([Credential.objects.get().pk]) is not None


def test_an_openai_compatible_server_needs_an_address_but_no_key(alice: User) -> None:
    client = api(alice)
    body = {"name": "Local", "provider": "openai-compatible"}
    assert error(client.post("/api/credentials", body, format="json"), 400) == "invalid"
    made = create(
        alice, provider="openai-compatible", apiKey=None, baseUrl="http://ollama:11434/v1"
    )
    assert made["status"] == "ready"
    usable = resolve([Credential.objects.get().pk])
    assert usable is not None
    assert environment(usable) == {
        "OPENAI_API_KEY": "unused",
        "OPENAI_BASE_URL": "http://ollama:11434/v1",
    }
    response = client.patch(f"/api/credentials/{made['id']}", {"baseUrl": None}, format="json")
    assert error(response, 400) == "invalid"


def test_a_login_waits_for_somebody_to_sign_in(alice: User) -> None:
    made = create(alice, provider="claude-login", apiKey=None)
    assert (made["status"], made["authType"], made["apiKey"]) == ("pending", "oauth", None)
    body = {"name": "x", "provider": "codex-login", "apiKey": KEY}
    assert error(api(alice).post("/api/credentials", body, format="json"), 400) == "invalid"


def test_a_credential_can_be_deleted_once(alice: User, monkeypatch: pytest.MonkeyPatch) -> None:
    path = f"/api/credentials/{create(alice)['id']}"
    told: list[int] = []
    monkeypatch.setattr(services, "_before_delete", [lambda row: told.append(row.pk)])
    response = api(alice).delete(path)
    assert (response.status_code, response.content) == (204, b"")
    assert len(told) == 1
    assert error(api(alice).delete(path), 404) == "not_found"


BAD = [
    {},
    {"name": ""},
    {"name": "  "},
    {"name": 5},
    {"name": None},
    {"name": "n" * 201},
    {"name": "a\0b"},
    {"provider": "nobody"},
    {"provider": 5},
    {"provider": None},
    {"provider": ["anthropic"]},
    {"apiKey": 5},
    {"apiKey": "a b"},
    {"apiKey": "line\nbreak"},
    {"apiKey": "nul\0"},
    {"apiKey": "k" * 10_001},
    {"apiKey": "schlüssel"},
    {"baseUrl": "ftp://x"},
    {"baseUrl": "http://"},
    {"baseUrl": "http://user:pw@host"},
    {"baseUrl": "http://host:99999"},
    {"baseUrl": "http://[::1"},
    {"baseUrl": "http://a b"},
    {"baseUrl": "http://" + "h" * 500},
    {"baseUrl": 5},
    {"model": 5},
    {"model": "m" * 201},
]


@pytest.mark.parametrize("change", BAD, ids=range(len(BAD)))
def test_rubbish_is_refused(alice: User, change: dict[str, Any]) -> None:
    body = {"name": "Mine", "provider": "anthropic"} | change if change else {}
    response = api(alice).post("/api/credentials", body, format="json")
    assert error(response, 400) == "invalid"
    assert not Credential.objects.exists()


def test_an_unknown_provider_is_told_the_known_ones(alice: User) -> None:
    body = {"name": "Mine", "provider": "nobody"}
    response = api(alice).post("/api/credentials", body, format="json")
    assert "anthropic, openai, openai-compatible" in response.json()["error"]["message"]


@pytest.mark.parametrize("bad", ["12345678901234567890", "cred_", "card_001", "-1", "1e3", "é"])
def test_what_is_no_id_is_a_404(alice: User, bad: str) -> None:
    assert api(alice).get(f"/api/credentials/{bad}").status_code == 404


@pytest.mark.parametrize("form", ["{}", "cred_{}", "cred_{:03d}"])
def test_ids_may_be_written_as_people_do(alice: User, form: str) -> None:
    create(alice)
    pk = Credential.objects.get().pk
    assert api(alice).get(f"/api/credentials/{form.format(pk)}").status_code == 200


def test_only_its_owner_or_a_super_admin_may_lend_a_key(alice: User, bob: User, root: User) -> None:
    key = create(alice)["id"]
    project = factories.make_project(bob)
    factories.add_member(project, alice, "admin")
    url = f"/api/projects/{project.pk}/credential"
    for person, status in ((bob, 404), (alice, 200), (root, 200)):
        answer = api(person).put(url, {"credentialId": key}, format="json")
        assert answer.status_code == status, person


def test_a_sealed_key_opens_only_in_its_own_row(alice: User, settings: Any) -> None:
    sealed = seal(KEY, credential_id=1, owner_id=2)
    assert unseal(sealed, credential_id=1, owner_id=2) == KEY
    assert seal(KEY, credential_id=1, owner_id=2) != sealed
    broken = sealed[:-1] + bytes([sealed[-1] ^ 1])
    for blob, credential, owner in (
        (sealed, 2, 2),
        (sealed, 1, 1),
        (broken, 1, 2),
        (sealed[:5], 1, 2),
        (b"", 1, 2),
        (b"\x02" + sealed[1:], 1, 2),
    ):
        with pytest.raises(CannotUnseal, match="secret key"):
            unseal(blob, credential_id=credential, owner_id=owner)
    settings.SERVER_SECRET = "another secret of this server, long enough"
    with pytest.raises(CannotUnseal):
        unseal(sealed, credential_id=1, owner_id=2)


def test_the_nearest_usable_key_wins(
    alice: User, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    create(alice, name="pending", apiKey=None)
    create(alice, name="project")
    create(alice, name="organization")
    pending, project, organization = Credential.objects.order_by("pk").values_list("pk", flat=True)
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-server-key")

    def chosen(*candidates: int | None) -> tuple[int | None, str] | None:
        usable = resolve(candidates)
        return None if usable is None else (usable.credential_id, usable.source)

    assert chosen(project, organization, None) == (project, "card")
    assert chosen(None, project, organization) == (project, "project")
    assert chosen(pending, None, organization) == (organization, "organization")
    assert chosen(999_999, None, None) is None
    assert chosen(None, None, None) is None
    settings.SHARE_SERVER_KEYS = True
    assert chosen(pending, None, None) == (None, "server")


@pytest.mark.parametrize(
    ("variables", "provider"),
    [
        ({"ANTHROPIC_API_KEY": "k", "ANTHROPIC_BASE_URL": "http://gate"}, "anthropic"),
        ({"OPENAI_API_KEY": "k"}, "openai"),
        ({"OPENAI_API_KEY": "k", "OPENAI_BASE_URL": "http://gate"}, "openai-compatible"),
        ({"GEMINI_API_KEY": "k", "GOOGLE_GEMINI_BASE_URL": "http://gate"}, "google"),
    ],
)
def test_the_servers_own_keys_reach_the_agent_as_they_are(
    settings: Any, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], provider: str
) -> None:
    settings.SHARE_SERVER_KEYS = True
    monkeypatch.setenv("GEMINI_API_KEY", "  ")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    usable = resolve([])
    assert usable is not None
    assert (usable.provider, usable.source) == (provider, "server")
    assert environment(usable) == variables


def test_openrouter_serves_agents_that_know_only_openai() -> None:
    usable = Usable(1, "openrouter", "k", None, None, "card")
    assert environment(usable) == {
        "OPENROUTER_API_KEY": "k",
        "OPENAI_API_KEY": "k",
        "OPENAI_BASE_URL": OPENROUTER_URL,
    }
    assert environment(Usable(1, "claude-login", "", None, None, "card")) == {}
