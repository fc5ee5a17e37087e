"""What a file can try that somebody puts on a card: to lie elsewhere, to run in a browser, to be too much."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pytest

from apps.accounts import tokens
from apps.accounts.models import User
from apps.cards import attachments
from apps.cards.models import Attachment, Card
from apps.projects.models import Project
from tests import factories
from tests.asgi import call
from tests.client import Form

pytestmark = pytest.mark.django_db


@pytest.fixture
def card(project: Project) -> Card:
    return factories.make_card(project)


@pytest.fixture
def url(card: Card, settings: Any, tmp_path: Path) -> str:
    settings.DATA_DIR = tmp_path / "data"
    return f"/api/projects/{card.project_id}/cards/{card.pk}/attachments"


def stored() -> list[Path]:
    return [path for path in attachments.root().rglob("*") if not path.is_dir()]


def disposition(value: str) -> tuple[str, bytes]:
    return f'Content-Disposition: form-data; name="file"; {value}', b"x"


@pytest.mark.parametrize(
    ("value", "name"),
    [
        ('filename="notes.txt"', "notes.txt"),
        ('filename="../../../../etc/passwd"', "passwd"),
        ('filename="/etc/passwd"', "passwd"),
        ('filename="..\\\\..\\\\secret_key"', "secret_key"),
        ('filename="a/../../b.txt"', "b.txt"),
        ('filename="a\0b.txt"', "ab.txt"),
        ('filename="&#46;&#46;&#47;up.txt"', "up.txt"),
        ("filename*=utf-8''..%2F..%2Fup.txt", "up.txt"),
        ("filename*=utf-8''%00up%0D%0Atxt", "uptxt"),
        ("filename=\"plain.txt\"; filename*=utf-8''%E2%82%AC.txt", "€.txt"),
        ("filename*=utf-8''evil%E2%80%AEgnp.exe", "evilgnp.exe"),
    ],
)
def test_no_name_leads_out_of_the_files_own_directory(
    api: Any, url: str, bob: User, value: str, name: str
) -> None:
    made = api(bob).post(url, Form.of(disposition(value)))
    assert made["filename"] == name
    (path,) = stored()
    assert path.parent.parent == attachments.folder_of_card(Card.objects.get().pk)
    assert path.name == name


@pytest.mark.parametrize(
    "value",
    [
        'filename=".."',
        'filename="."',
        'filename="/"',
        'filename="a/.."',
        'filename="\0"',
        "filename*=utf-8''..",
        "filename*=no-such-charset''x",
        "filename*=idna''" + "x" * 4_000,
    ],
)
def test_a_name_that_is_none_is_refused(api: Any, url: str, bob: User, value: str) -> None:
    api(bob).post(url, Form.of(disposition(value)), 400)
    assert stored() == []
    api(bob).post(url, Form.with_file("x"))


@pytest.mark.parametrize(
    ("kind", "inline"),
    [
        ("image/png", True),
        ("application/pdf", True),
        ("text/plain", True),
        ("text/html", False),
        ("TEXT/HTML; charset=utf-7", False),
        ("image/svg+xml", False),
        ("application/xhtml+xml", False),
        ("text/xml", False),
        ("text/javascript", False),
        ("multipart/x-mixed-replace", False),
        ("text/plain, text/html", False),
        ("image/png\x0bx: y", False),
        ("nonsense", False),
    ],
)
def test_what_could_run_scripts_is_never_shown_in_a_browser(
    api: Any, url: str, bob: User, kind: str, inline: bool
) -> None:
    made = api(bob).post(url, Form.with_file("<script>alert(1)</script>", "page", kind))
    client = api(bob)
    client.get(made["url"])
    headers = client.response
    assert headers["Content-Disposition"].startswith("inline" if inline else "attachment")
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert re.fullmatch(r"[a-z]+/[a-z0-9.+-]+(; charset=utf-8)?", headers["Content-Type"])


def test_a_name_can_add_no_header(api: Any, url: str, bob: User) -> None:
    made = api(bob).post(url, Form.of(disposition("filename*=utf-8''a%22%3B%20x%3D%22%0d%0aX-A:1")))
    client = api(bob)
    client.get(made["url"])
    header = client.response["Content-Disposition"]
    assert "\r" not in header
    assert "\n" not in header
    assert not client.response.has_header("X-A")
    assert header == 'attachment; filename="a\\"; x=\\"X-A:1"'


def test_an_attachment_of_another_project_is_out_of_reach(
    api: Any, project: Project, alice: User, charlie: User, url: str
) -> None:
    made = api(alice).post(url, Form.with_file("secret"))
    theirs = factories.make_project(charlie, name="Theirs")
    path = f"/api/projects/{theirs.pk}/cards/{Card.objects.get().pk}/attachments"
    bound = factories.make_token(alice, project_id=factories.make_project(alice, name="x").pk)
    for who in (charlie, bound):
        api(who).get(made["url"], 404)
        api(who).delete(made["url"], 404)
        api(who).get(url, 404)
        api(who).post(url, Form.with_file("x"), 404)
    api(charlie).get(path, 404)
    api(charlie).post(path, Form.with_file("x"), 404)
    assert api(alice).get(made["url"]) == b"secret"


def test_a_link_in_the_place_of_the_file_is_not_followed_out(
    api: Any, url: str, bob: User, tmp_path: Path
) -> None:
    made = api(bob).post(url, Form.with_file("fine"))
    assert api(bob).get(made["url"]) == b"fine"
    secret = tmp_path / "secret"
    secret.write_text("secret")
    (path,) = stored()
    path.unlink()
    path.symlink_to(secret)
    assert api(bob).get(made["url"], 404)["code"] == "file_missing"
    path.unlink()
    os.mkfifo(path)
    assert api(bob).get(made["url"], 404)["code"] == "file_missing"


def test_a_thousand_parts_are_no_error_of_the_server(api: Any, url: str, bob: User) -> None:
    field = ('Content-Disposition: form-data; name="a"', "x")
    api(bob).post(url, Form.of(*[field] * 3_000), 400)
    api(bob).post(url, Form.of(('Content-Disposition: form-data; name="a"', "x" * 3_000_000)), 400)
    nameless = Form(b"--a-line-that-stands-in-no-file\r\nContent-Disposition: x\r\n\r\n")
    api(bob).post(url, nameless, 400)
    assert not Attachment.objects.exists()
    api(bob).post(url, Form.with_file("x"))


@pytest.mark.django_db(transaction=True)
async def test_more_than_may_come_is_refused_before_it_is_all_here(
    project: Project, bob: User
) -> None:
    from asgiref.sync import sync_to_async

    from kanban_agents.asgi import application

    card = await sync_to_async(factories.make_card)(project)
    path = f"/api/projects/{project.pk}/cards/{card.pk}/attachments"
    headers = {"authorization": f"Bearer {tokens.issue(bob)}", "content-type": Form.content_type}
    announced = await call(
        application, "POST", path, headers={**headers, "content-length": "60000000"}
    )
    assert (announced.status, announced.code) == (413, "too_large")
    chunked = await call(application, "POST", path, headers=headers, body=[b"x" * 1_000_000] * 60)
    assert (chunked.status, chunked.code) == (413, "too_large")
    form = Form.with_file(b"x" * 3_000_000)
    fine = await call(application, "POST", path, headers=headers, body=[form])
    assert fine.status == 201
