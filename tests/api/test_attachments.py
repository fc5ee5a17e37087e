from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.db import OperationalError
from django.utils import timezone

from apps.accounts.models import User
from apps.agents.turns import first_prompt
from apps.cards import attachments, services
from apps.cards.models import Attachment, Card
from apps.common.errors import NotFound, Unavailable
from apps.common.uploads import Upload
from apps.events.models import StoredEvent
from apps.host import kept_files
from apps.host.disk import host_id
from apps.projects.models import Project
from tests import factories
from tests.client import Form

pytestmark = [pytest.mark.django_db, pytest.mark.both_databases]

PICTURE = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 40


@pytest.fixture
def card(project: Project) -> Card:
    return factories.make_card(project)


@pytest.fixture
def url(card: Card) -> str:
    return f"/api/projects/{card.project_id}/cards/{card.pk}/attachments"


def on_disk() -> set[Path]:
    return {path for path in attachments.root().rglob("*") if path.is_file()}


@pytest.fixture(autouse=True)
def _its_own_data(settings: Any, tmp_path: Path) -> None:
    settings.DATA_DIR = tmp_path / "data"


def test_a_file_comes_back_as_it_was_sent(api: Any, url: str, bob: User, card: Card) -> None:
    client = api(bob)
    made = client.post(url, Form.with_file(PICTURE, "screenshot.png", "image/png"))
    assert made == {
        "id": made["id"],
        "filename": "screenshot.png",
        "contentType": "image/png",
        "size": len(PICTURE),
        "url": f"/api/attachments/{made['id']}",
        "available": True,
        "createdBy": f"user_{bob.pk:03d}",
        "createdAt": made["createdAt"],
    }
    assert client.get(url) == [made]
    assert client.get(made["url"]) == PICTURE
    assert client.response["Content-Type"] == "image/png"
    assert client.response["Content-Disposition"] == 'inline; filename="screenshot.png"'
    (path,) = on_disk()
    assert path.name == "screenshot.png"
    assert path.stat().st_mode & 0o077 == 0


def test_watchers_hear_of_it_and_an_unchanged_list_is_not_sent_again(
    api: Any, url: str, bob: User, card: Card
) -> None:
    client = api(bob)
    client.get(url)
    etag = client.response["ETag"]
    client.get(url, 304, If_None_Match=etag)
    made = client.post(url, Form.with_file("x"))
    event = StoredEvent.objects.latest("seq")
    assert (event.type, json.loads(event.data)["id"]) == ("card.updated", f"card_{card.pk:03d}")
    assert event.actor_id == bob.pk
    client.get(url, 200, If_None_Match=etag)
    client.get(made["url"])
    client.get(made["url"], 304, If_None_Match=client.response["ETag"])
    client.delete(made["url"])
    assert StoredEvent.objects.latest("seq").seq == event.seq + 1


def test_an_attachment_can_be_taken_off_once(api: Any, url: str, bob: User) -> None:
    client = api(bob)
    kept = client.post(url, Form.with_file("keep"))
    made = client.post(url, Form.with_file("go"))
    client.delete(made["url"])
    client.delete(made["url"], 404)
    client.get(made["url"], 404)
    assert client.get(url) == [kept]
    assert [path.read_text() for path in on_disk()] == ["keep"]


@pytest.mark.parametrize(
    "name", ["leer.txt", ".env", "a b;c.tar.gz", "Übersicht «neu».pdf", "計画.md"]
)
def test_any_name_of_a_file_is_kept(api: Any, url: str, bob: User, name: str) -> None:
    made = api(bob).post(url, Form.with_file("x", name))
    assert made["filename"] == name
    assert {path.name for path in on_disk()} == {name}


def test_a_name_of_255_characters_is_kept_though_no_disk_takes_it(
    api: Any, url: str, bob: User
) -> None:
    name = "é" * 251 + ".png"
    made = api(bob).post(url, Form.with_file(PICTURE, name, "image/png"))
    assert made["filename"] == name
    assert api(bob).get(made["url"]) == PICTURE
    error = api(bob).post(url, Form.with_file("x", "é" + name), 400)
    assert error["message"] == "file: the name of a file may have 255 characters at most."


def test_an_empty_file_is_a_file_and_a_file_without_a_type_is_bytes(
    api: Any, url: str, bob: User
) -> None:
    part = ('Content-Disposition: form-data; name="file"; filename="empty"', b"")
    made = api(bob).post(url, Form.of(part))
    assert (made["size"], made["contentType"]) == (0, "application/octet-stream")
    assert api(bob).get(made["url"]) is None


def test_a_form_without_exactly_one_file_leaves_nothing_behind(
    api: Any, url: str, bob: User
) -> None:
    def part(field: str, name: str | None) -> tuple[str, str]:
        named = "" if name is None else f'; filename="{name}"'
        return f'Content-Disposition: form-data; name="{field}"{named}', "x"

    for parts in (
        [],
        [part("file", None)],
        [part("file", "")],
        [part("picture", "a.txt")],
        [part("file", "a.txt"), part("file", "b.txt")],
        [part("file", "a.txt"), part("other", "b.txt")],
    ):
        error = api(bob).post(url, Form.of(*parts), 400)
        assert "exactly one file" in error["message"]
    assert not Attachment.objects.exists()
    assert on_disk() == set()


def test_other_fields_of_the_form_are_ignored(api: Any, url: str, bob: User) -> None:
    api(bob).post(url, Form.with_file("x", comment="See here"))


def test_a_file_of_25_mb_fits_and_one_byte_more_is_a_413(api: Any, url: str, bob: User) -> None:
    api(bob).post(url, Form.with_file(b"x" * attachments.LARGEST_FILE))
    kept_files.remove(attachments.root())
    error = api(bob).post(url, Form.with_file(b"x" * (attachments.LARGEST_FILE + 1)), 413)
    assert error == {"code": "too_large", "message": "A file may have 25 MB at most."}
    assert len(api(bob).get(url)) == 1
    assert on_disk() == set()


def test_the_files_of_deleted_cards_boards_and_projects_are_removed(
    api: Any, project: Project, alice: User, bob: User
) -> None:
    cards = [factories.make_card(project, title=str(number)) for number in range(4)]
    for number, card in enumerate(cards):
        factories.make_attachment(card, str(number).encode())
    host = host_id(settings.DATA_DIR)
    api(bob).delete(f"/api/projects/{project.pk}/cards/{cards[0].pk}")
    attachments.remove_due(host)
    assert {path.read_text() for path in on_disk()} == {"1", "2", "3"}
    assert not attachments.folder_of_card(cards[0].pk).exists()
    attachments.remove_due("another-host")
    api(alice).delete(f"/api/projects/{project.pk}")
    attachments.remove_due(host)
    assert on_disk() == set()
    assert not Attachment.objects.exists()


def test_what_an_upload_left_that_was_cut_off_goes_after_an_hour(
    api: Any, url: str, card: Card, bob: User
) -> None:
    kept = factories.make_attachment(card, b"kept")
    cut_off = factories.make_attachment(card, b"half of i")
    Attachment.objects.filter(pk=cut_off.pk).update(state="receiving")
    strange = attachments.root() / "card_999" / "of-another-database" / "notes.txt"
    strange.parent.mkdir(parents=True)
    strange.write_text("not ours")
    assert [each["size"] for each in api(bob).get(url)] == [4]
    api(bob).get(f"/api/attachments/{cut_off.pk}", 404)
    host = host_id(settings.DATA_DIR)
    attachments.remove_due(host)
    assert len(on_disk()) == 3
    Attachment.objects.update(created_at=timezone.now() - timedelta(hours=2))
    attachments.remove_due(host)
    assert {path.read_text() for path in on_disk()} == {"kept", "not ours"}
    assert list(Attachment.objects.values_list("pk", flat=True)) == [kept.pk]


def test_a_card_that_goes_during_the_upload_takes_the_file_with_it(
    project: Project, card: Card
) -> None:
    def read(open_file: Any) -> Any:
        open_file("late.txt").write(b"too late")
        Card.objects.filter(pk=card.pk).delete()
        return Upload("late.txt", "text/plain", 8, {})

    with pytest.raises(NotFound):
        services.attach(card, read, by=1)
    assert on_disk() == set()
    assert not Attachment.objects.exists()


def test_why_an_upload_failed_is_said_though_the_database_goes_away_as_well(
    card: Card, bob: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(open_file: Any) -> Any:
        open_file("half.txt").write(b"half of i")
        monkeypatch.setattr(attachments, "discard", gone)
        raise OSError(28, "No space left on device")

    def gone(attachment: Attachment) -> None:
        raise OperationalError("the connection is closed")

    with pytest.raises(Unavailable, match="disk is full"):
        services.attach(card, read, by=bob.pk)


def test_a_full_disk_is_said_and_leaves_no_row(
    api: Any, url: str, bob: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    host_id(settings.DATA_DIR)

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(kept_files.os, "fsync", full)
    error = api(bob).post(url, Form.with_file("x"), 503)
    assert error["code"] == "disk_full"
    monkeypatch.undo()
    assert not Attachment.objects.exists()
    assert on_disk() == set()


def test_a_file_that_is_gone_or_elsewhere_is_said(api: Any, card: Card, bob: User) -> None:
    made = factories.make_attachment(card)
    kept_files.remove(attachments.root() / made.folder)
    assert api(bob).get(f"/api/attachments/{made.pk}", 404)["code"] == "file_missing"
    Attachment.objects.update(host_id="elsewhere")
    assert api(bob).get(f"/api/attachments/{made.pk}", 503)["code"] == "host_unavailable"


def test_the_agents_task_ends_in_the_cards_files(card: Card) -> None:
    assert "Attached" not in first_prompt(card)
    made = factories.make_attachment(card, PICTURE, name="bed.png", kind="image/png")
    gone = factories.make_attachment(card, b"x")
    Attachment.objects.filter(pk=gone.pk).update(state="receiving")
    last = first_prompt(card).splitlines()[-1]
    path = attachments.place(made.folder, made.filename)
    assert last == f"- {path} (bed.png, image/png, {len(PICTURE):,} bytes)"
    assert path.read_bytes() == PICTURE
