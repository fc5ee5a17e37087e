"""Where the files of cards lie, and that those go whose card went or whose upload was cut off.

`<data>/attachments/<card>/<random>/<name>`: agents are told these paths, and a card's lie together.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple

from django.conf import settings
from django.utils import timezone

from apps.cards.models import Attachment
from apps.common.errors import NotFound, Unavailable
from apps.common.ids import public_id
from apps.common.uploads import name_on_disk
from apps.host import kept_files
from apps.host.disk import host_id
from apps.host.errors import HostError

logger = logging.getLogger(__name__)

LARGEST_FILE = 25_000_000
_CUT_OFF_AFTER = timedelta(hours=1)


class Listed(NamedTuple):
    """A file as an agent is told of it."""

    filename: str
    content_type: str
    size: int
    path: Path


def root() -> Path:
    return Path(settings.DATA_DIR) / "attachments"


def folder_of_card(card_id: int) -> Path:
    return root() / public_id("card", card_id)


def new_folder(card_id: int) -> str:
    return f"{public_id('card', card_id)}/{secrets.token_hex(8)}"


def place(folder: str, filename: str) -> Path:
    return root() / folder / name_on_disk(filename)


def listed(card_id: int) -> list[Listed]:
    """The card's files that are on this host, oldest first."""
    rows = Attachment.objects.filter(card_id=card_id, state=Attachment.State.READY)
    return [
        Listed(each.filename, each.content_type, each.size, place(each.folder, each.filename))
        for each in rows.order_by("pk")
        if _is_here(each)
    ]


def _is_here(attachment: Attachment) -> bool:
    return attachment.host_id == host_id(settings.DATA_DIR)


def content(attachment: Attachment) -> bytes:
    """Raises NotFound where the file isn't, and Unavailable where only another host has it."""
    if attachment.state == Attachment.State.ABSENT:
        raise NotFound(
            "The project was imported, which brings no files. Upload this one again.",
            code="file_not_imported",
        )
    if not _is_here(attachment):
        raise Unavailable(
            f"The file is on another host ({attachment.host_id}). Ask a web server that runs there.",
            code="host_unavailable",
        )
    try:
        return kept_files.read(
            place(attachment.folder, attachment.filename), limit=2 * LARGEST_FILE
        )
    except (OSError, ValueError, HostError) as problem:
        logger.error("attachment %s can't be read: %s", attachment.pk, problem)
        raise NotFound(
            "The file is not on the server's disk any more. Upload it again, or delete the attachment.",
            code="file_missing",
        ) from None


def remove_due(host: str) -> None:
    """Remove this host's files that belong to nothing any more; called every two seconds, repeatable."""
    # One that came without its file is of no host.
    rows = Attachment.objects.filter(host_id__in=(host, ""))
    _remove(rows.filter(card=None).exclude(state=Attachment.State.RECEIVING))
    _remove(
        rows.filter(
            state=Attachment.State.RECEIVING, created_at__lt=timezone.now() - _CUT_OFF_AFTER
        )
    )


def _remove(rows: Iterable[Attachment]) -> None:
    for row in rows:
        try:
            discard(row)
        except OSError as problem:
            logger.warning("the file of attachment %s stays for now: %s", row.pk, problem)


def discard(attachment: Attachment) -> None:
    """First the file, then the row, which says that there may be one."""
    if attachment.folder:
        kept_files.remove(root() / attachment.folder)
    Attachment.objects.filter(pk=attachment.pk).delete()
