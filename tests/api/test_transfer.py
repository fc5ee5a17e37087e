from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.utils import timezone

from apps.accounts.models import User
from apps.agents.models import AgentSession
from apps.boards.models import Board, Column
from apps.cards import attachments, services
from apps.cards.models import Attachment, Card
from apps.events.models import EventStream
from apps.host.disk import host_id
from apps.projects.models import Project
from tests import factories
from tests.client import Form

pytestmark = [pytest.mark.django_db, pytest.mark.both_databases]

IMPORT = "/api/projects/import"


@pytest.fixture(autouse=True)
def _its_own_data(settings: Any, tmp_path: Path) -> None:
    settings.DATA_DIR = tmp_path / "data"


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    folder = tmp_path / "plain"
    folder.mkdir()
    return folder


@pytest.fixture
def full(api: Any, project: Project, alice: User) -> Project:
    """One with something of everything."""
    client = api(alice)
    url = f"/api/projects/{project.pk}"
    chosen = {
        "model": "large",
        "permissionMode": "ask",
        "baseBranch": "main",
        "maxParallelAgents": 2,
        "branchTemplate": "x/{cardId}",
        "setupScript": " make\n",
        "copyFiles": [".env"],
    }
    client.patch(url, chosen)
    board = client.post(f"{url}/boards", {"name": "Second"})
    columns = [
        client.post(
            f"{url}/columns",
            {"name": name, "columnType": kind, "boardId": board["id"], "prompt": "  Do it\n"},
        )["id"]
        for name, kind in (("Beds", "backlog"), ("Beds", "active"), ("Old", "archive"))
    ]
    made = [
        client.post(
            f"{url}/cards",
            {
                "title": f"Card {number}",
                "prompt": " Water it.\n",
                "labels": ["ünï", "b"],
                "columnId": columns[number % 3],
                "externalId": f"ext-{number}",
                "defer": True,
                "autoMode": number == 1,
            },
        )["id"]
        for number in range(7)
    ]
    client.patch(f"{url}/cards/{made[1]}", {"blockedBy": [made[0], made[3]]})
    client.patch(f"{url}/cards/{made[0]}/move", {"columnId": columns[0], "position": 2})
    steps = [{"columnId": columns[1], "prompt": "Mine"}, {"columnId": columns[0]}]
    client.put(f"{url}/cards/{made[0]}/pipeline", {"steps": steps})
    factories.make_script(project, "make test", name="B")
    factories.make_script(project, "make all", name="A")
    card = Card.objects.get(external_id="ext-2")
    for fields in (
        {"state": "failed", "error_code": "x", "error_message": "It broke."},
        {"state": "completed", "input_tokens": 7, "cost_usd": 0.25, "started_at": timezone.now()},
    ):
        factories.make_session(card, preset="builtin", model="m", column_name="Beds", **fields)
    Card.objects.filter(pk=card.pk).update(agent_status="completed", pending_approval=True)
    factories.make_attachment(card, b"12345", name="Plän.png", kind="image/png")
    return project


def exported(api: Any, who: User, project: Project | str) -> dict[str, Any]:
    pk = project.pk if isinstance(project, Project) else project
    return json.loads(api(who).get(f"/api/projects/{pk}/export"))


def imported(api: Any, who: User, document: Any, path: Path, status: int = 201, **more: str) -> Any:
    content = document if isinstance(document, bytes) else json.dumps(document)
    return api(who).post(IMPORT, Form.with_file(content, path=str(path), **more), status)


def without_ids_and_times(document: dict[str, Any]) -> Any:
    """Each id as the number of its first mention, times as whether there is one."""
    seen: dict[str, str] = {}
    wire_id = re.compile(r"\b(?:proj|board|col|card|sess|script|att)_\d+\b")

    def plain(value: Any, name: str = "") -> Any:
        if isinstance(value, dict):
            return {key: plain(each, key) for key, each in value.items()}
        if isinstance(value, list):
            return [plain(each) for each in value]
        if name.endswith("At"):
            return value is not None
        if isinstance(value, str):
            return wire_id.sub(lambda m: seen.setdefault(m[0], f"{m[0][:3]}#{len(seen)}"), value)
        return value

    return plain(document)


def test_an_export_imported_and_exported_again_is_the_same_but_for_ids_and_times(
    api: Any, full: Project, alice: User, bob: User, plain: Path
) -> None:
    first = exported(api, bob, full)
    assert {name: len(each) for name, each in first.items() if isinstance(each, list)} == {
        "boards": 2,
        "columns": 9,
        "cards": 7,
        "pipelines": 1,
        "sessions": 2,
        "scripts": 2,
        "attachments": 1,
    }
    made = imported(api, bob, first, plain)
    assert (made["name"], made["path"], made["role"]) == ("Garden", str(plain), "admin")
    assert made["ownerId"] == f"user_{bob.pk:03d}"
    assert (made["permissionMode"], made["setupScript"], made["worktree"]) == (
        "ask",
        " make\n",
        True,
    )
    second = exported(api, bob, made["id"])
    assert second != first
    assert without_ids_and_times(second) == without_ids_and_times(first)
    # Who saw nothing of the first one's ids sees what is shown as well.
    for kind in ("cards", "columns", "boards"):
        was, now = (api(bob).get(f"/api/projects/{pk}/{kind}") for pk in (full.pk, made["id"]))
        names = "title" if kind == "cards" else "name"
        assert [(each[names], each["position"]) for each in was] == [
            (each[names], each["position"]) for each in now
        ]


def test_it_comes_as_a_file_without_an_envelope_and_without_secrets(
    api: Any, full: Project, alice: User, bob: User
) -> None:
    credential = factories.make_credential(alice, hint="…wxyz")
    Project.objects.filter(pk=full.pk).update(credential=credential, name='Gar/den "Ü"')
    client = api(bob)
    text = client.get(f"/api/projects/{full.pk}/export").decode()
    document = json.loads(text)
    assert document["formatVersion"] == 1
    assert document["exportedAt"].endswith("Z")
    for secret in ("wxyz", "cred_", "example.org", full.path, str(settings.DATA_DIR)):
        assert secret not in text
    header = client.response["Content-Disposition"]
    assert header == "attachment; filename*=utf-8''Gar-den%20%22%C3%9C%22-export.json"
    Project.objects.filter(pk=full.pk).update(name="Garden")
    client.get(f"/api/projects/{full.pk}/export")
    assert client.response["Content-Disposition"] == 'attachment; filename="Garden-export.json"'


def test_what_runs_is_left_out_and_what_is_imported_starts_nothing(
    api: Any, full: Project, bob: User, plain: Path
) -> None:
    card = Card.objects.get(external_id="ext-4")
    factories.make_session(card, state="running")
    Card.objects.filter(pk=card.pk).update(agent_status="running")
    document = exported(api, bob, full)
    assert len(document["sessions"]) == 2
    made = imported(api, bob, document, plain)
    project = Project.objects.get(pk=int(made["id"].removeprefix("proj_")))
    sessions = AgentSession.objects.filter(project_id=project.pk)
    assert sorted(sessions.values_list("state", flat=True)) == ["completed", "failed"]
    assert made["activeAgentCount"] == 0
    assert EventStream.objects.get(pk=project.pk).version == 0
    shown = {each["externalId"]: each for each in api(bob).get(f"/api/projects/{project.pk}/cards")}
    assert shown["ext-4"]["agentStatus"] is None
    assert shown["ext-2"]["agentStatus"] == "completed"


def test_what_is_imported_waits_for_a_person_as_it_did_before(
    api: Any, full: Project, bob: User, plain: Path
) -> None:
    """A failed card that was completed since waits for nobody."""
    client = api(bob)
    document = exported(api, bob, full)
    cards = {each["externalId"]: each for each in document["cards"]}
    for number, entry in enumerate(cards.values()):
        entry |= {"deferredReason": None, "pendingApproval": False, "completedAt": None}
        entry["title"] = f"Card {number}"
    first, second, third, fourth, *_ = cards.values()
    first["deferredReason"] = {"code": "no_credential", "message": "No key."}
    second["pendingApproval"] = True
    session = {"status": "failed", "error": {"code": "crash", "message": "It broke."}}
    document["sessions"] = [{**session, "cardId": each["id"]} for each in (third, fourth)]
    fourth["completedAt"] = "2026-01-01T00:00:00Z"
    made = imported(api, bob, document, plain)
    shown = [each for each in client.get("/api/attention") if each["projectId"] == made["id"]]
    assert sorted((each["cardTitle"], each["kind"]) for each in shown) == [
        (first["title"], "deferred"),
        (second["title"], "approval"),
        (third["title"], "failed"),
    ]
    assert all(each["createdAt"] >= document["exportedAt"] for each in shown)
    waiting = next(each for each in shown if each["kind"] == "approval")
    client.delete(f"/api/projects/{made['id']}/cards/{waiting['cardId']}")
    shown = [each for each in client.get("/api/attention") if each["projectId"] == made["id"]]
    assert len(shown) == 2


def test_an_imported_project_lives_on(api: Any, full: Project, bob: User, plain: Path) -> None:
    made = imported(api, bob, exported(api, bob, full), plain)
    url = f"/api/projects/{made['id']}"
    blocked = next(each for each in api(bob).get(f"{url}/cards") if each["blockedBy"])
    for blocker in blocked["blockedBy"]:
        api(bob).post(f"{url}/cards/{blocker}/complete", status=204)
    api(bob).post(f"{url}/cards", {"title": "New"})
    for card in api(bob).get(f"{url}/cards"):
        api(bob).delete(f"{url}/cards/{card['id']}?force=true")
    api(bob).delete(url)
    assert Project.objects.count() == 1


def test_an_attachment_without_its_file_says_so_and_takes_no_other_with_it(
    api: Any, full: Project, bob: User, plain: Path
) -> None:
    kept = Attachment.objects.get()
    made = imported(api, bob, exported(api, bob, full), plain)
    card = Card.objects.get(project__path=str(plain), external_id="ext-2")
    (shown,) = api(bob).get(f"/api/projects/{made['id']}/cards/{card.pk}/attachments")
    assert (shown["filename"], shown["size"], shown["available"]) == ("Plän.png", 5, False)
    assert api(bob).get(shown["url"], 404)["code"] == "file_not_imported"
    assert attachments.listed(card.pk) == []
    api(bob).delete(shown["url"])
    imported(api, bob, exported(api, bob, full), plain)
    Project.objects.filter(path=str(plain)).delete()
    attachments.remove_due(host_id(settings.DATA_DIR))
    assert list(Attachment.objects.all()) == [kept]
    assert attachments.content(kept) == b"12345"


def test_an_import_is_held_to_the_path_and_the_organization_like_a_new_project(
    api: Any, full: Project, charlie: User, alice: User, bob: User, plain: Path
) -> None:
    document = exported(api, bob, full)
    mine = factories.make_organization((charlie, "member"))
    theirs = factories.make_organization((alice, "admin"), name="Theirs")
    assert imported(api, charlie, document, Path(full.path), 403)["code"] == "path_taken"
    assert imported(api, charlie, document, Path("/etc"), 400)["code"] == "path_outside"
    assert imported(api, charlie, document, plain / "absent", 400)["code"] == "path_missing"
    imported(api, charlie, document, plain, 404, organizationId=str(theirs.pk))
    imported(api, charlie, document, plain, 400, organizationId="x")
    assert Project.objects.count() == 1
    made = imported(api, charlie, document, plain, organizationId=str(mine.pk))
    assert made["organizationId"] == f"org_{mine.pk:03d}"


Change = Callable[[dict[str, Any]], Any]


def _set(*path: Any, to: Any) -> Change:
    def change(document: dict[str, Any]) -> None:
        here: Any = document
        for each in path[:-1]:
            here = here[each]
        here[path[-1]] = to

    return change


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_set("formatVersion", to=2), "formatVersion 2"),
        (_set("formatVersion", to=True), "formatVersion"),
        (_set("formatVersion", to={"a": "x" * 9_000}), "formatVersion"),
        (_set("project", to=None), "project: must be an object"),
        (_set("project", "name", to=" "), "project.name"),
        (_set("project", "agent", to="no-such-agent"), "no-such-agent"),
        (_set("project", "baseBranch", to="--upload-pack=x"), "project.baseBranch"),
        (_set("project", "permissionMode", to="god"), "project.permissionMode"),
        (_set("boards", to={}), "boards: must be a list"),
        (_set("boards", 0, to=5), "boards[0]: must be an object"),
        (_set("boards", 0, "name", to=5), "boards[0].name: must be text"),
        (_set("boards", 0, "name", to="a\0b"), "boards[0].name"),
        (_set("boards", to=[{"id": "board_001", "name": "x"}] * 2), "stands in the file twice"),
        (_set("boards", to=[{"id": 1, "name": "x"}] * 1_001), "1,000 at most"),
        (_set("columns", 0, "boardId", to="board_999"), "no board board_999 in this file"),
        (_set("columns", 0, "columnType", to="magic"), "columns[0].columnType"),
        (_set("columns", 0, "wipLimit", to=3), "columns[0].wipLimit"),
        (_set("columns", 0, "wipLimit", to=1 << 70), "columns[0].wipLimit"),
        (_set("cards", 0, "id", to="../../x"), "cards[0].id"),
        (_set("cards", 0, "columnId", to="col_999999999999999999"), "cards[0].columnId"),
        (_set("cards", 0, "title", to="x" * 501), "cards[0].title"),
        (_set("cards", 0, "prompt", to=["x"]), "cards[0].prompt"),
        (_set("cards", 0, "labels", to="x"), "cards[0].labels"),
        (_set("cards", 0, "completedAt", to="0001-01-01T00:00:00+23:59"), "cards[0].completedAt"),
        (_set("cards", 0, "deferredReason", to={"code": "x" * 50}), "cards[0].deferredReason"),
        (_set("cards", 0, "blockedBy", to=["card_987654"]), "cards[0].blockedBy"),
        (
            lambda document: document["cards"].append(document["cards"][0] | {"id": 99}),
            "externalId",
        ),
        (_set("pipelines", 0, "steps", to=[]), "pipelines[0].steps"),
        (_set("pipelines", 0, "cardId", to="card_987654"), "pipelines[0].cardId"),
        (_set("sessions", 0, "status", to="running"), "sessions[0].status"),
        (_set("sessions", 0, "inputTokens", to=1 << 60), "sessions[0].inputTokens"),
        (_set("sessions", 0, "costUsd", to=-1), "sessions[0].costUsd"),
        (_set("sessions", 0, "cardId", to=None), "sessions[0].cardId"),
        (_set("scripts", 0, "command", to=""), "scripts[0].command"),
        (_set("attachments", 0, "filename", to="../../etc/passwd"), "attachments[0].filename"),
        (_set("attachments", 0, "filename", to=".."), "attachments[0].filename"),
        (_set("attachments", 0, "filename", to="a\\b"), "attachments[0].filename"),
        (_set("attachments", 0, "contentType", to="text/html\r\nX: y"), "attachments[0]"),
    ],
)
def test_a_file_that_is_wrong_makes_nothing_and_says_where(
    api: Any, full: Project, bob: User, plain: Path, change: Change, said: str
) -> None:
    document = exported(api, bob, full)
    change(document)
    error = imported(api, bob, document, plain, 400)
    assert said in error["message"]
    assert Project.objects.count() == 1
    assert (Board.objects.count(), Column.objects.count(), Card.objects.count()) == (2, 9, 7)


def test_cards_that_wait_for_each_other_are_refused(
    api: Any, full: Project, bob: User, plain: Path
) -> None:
    document = exported(api, bob, full)
    ids = [each["id"] for each in document["cards"]]
    for card, blocker in zip(document["cards"], ids[1:] + ids[:1], strict=True):
        card["blockedBy"] = [blocker]
    assert "circle" in imported(api, bob, document, plain, 400)["message"]
    document["cards"][0]["blockedBy"] = []
    imported(api, bob, document, plain)


def test_what_is_no_export_is_refused(api: Any, bob: User, plain: Path) -> None:
    for content in (b"", b"[]", b"{}", b"\xff", b'{"formatVersion": NaN}', b"[" * 200_000):
        error = imported(api, bob, content, plain, 400)
        assert error["code"] == "not_an_export"
    swarming = b'{"formatVersion": 1, "x": [' + b"{}," * 20_000_000 + b"{}]}"
    error = imported(api, bob, swarming, plain, 400)
    assert error == {"code": "not_an_export", "message": "file: has more entries than any project."}
    huge = b'{"formatVersion": 1}' + b" " * 200_000_000
    error = imported(api, bob, huge, plain, 413)
    assert error == {"code": "too_large", "message": "A file may have 200 MB at most."}
    api(bob).post(IMPORT, Form.with_file("{}"), 400)
    assert not Project.objects.exists()


def test_ids_of_other_projects_in_the_file_mean_nothing(
    api: Any, full: Project, charlie: User, bob: User, plain: Path
) -> None:
    secret = factories.make_credential(bob)
    document = exported(api, bob, full)
    document["project"] |= {
        "credentialId": secret.pk,
        "ownerId": bob.pk,
        "path": "/etc",
        "organizationId": 1,
    }
    for card in document["cards"]:
        card |= {"credentialId": secret.pk, "createdBy": bob.pk, "branch": "--force"}
    for each in document["attachments"]:
        each |= {"folder": "../..", "state": "ready", "hostId": "x"}
    made = imported(api, charlie, document, plain)
    assert (made["credentialId"], made["ownerId"], made["path"]) == (
        None,
        f"user_{charlie.pk:03d}",
        str(plain),
    )
    theirs = Card.objects.filter(project__path=str(plain))
    assert set(theirs.values_list("credential", "created_by", "branch")) == {
        (None, charlie.pk, None)
    }
    assert Attachment.objects.filter(folder="", state="absent").count() == 1
    assert Card.objects.filter(project=full).count() == 7


@pytest.mark.django_db(transaction=True)
def test_nothing_stays_when_the_database_stops_halfway(
    api: Any, full: Project, bob: User, plain: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from apps.operations.transfer import storing

    document = exported(api, bob, full)
    monkeypatch.setattr(storing, "Attachment", None)
    api(bob).request("POST", IMPORT, Form.with_file(json.dumps(document), path=str(plain)), 500)
    assert Project.objects.count() == 1
    assert EventStream.objects.count() == 1
    monkeypatch.undo()
    imported(api, bob, document, plain)


def test_a_project_of_two_thousand_cards_goes_through_in_few_queries(
    api: Any, project: Project, bob: User, plain: Path, django_assert_max_num_queries: Any
) -> None:
    first = factories.make_card(project)
    services.update_card(first, by=bob.pk, labels=["x"])
    document = exported(api, bob, project)
    card = document["cards"][0]
    document["cards"] = [{**card, "id": number, "title": str(number)} for number in range(1, 2_001)]
    with django_assert_max_num_queries(62):
        made = imported(api, bob, document, plain)
    with django_assert_max_num_queries(14):
        again = exported(api, bob, made["id"])
    assert [each["title"] for each in again["cards"]] == [str(n) for n in range(1, 2_001)]
