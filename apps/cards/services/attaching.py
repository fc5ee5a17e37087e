from __future__ import annotations

import contextlib
import errno
from collections.abc import Callable
from typing import BinaryIO

from django.conf import settings
from django.db import DatabaseError, InterfaceError

from apps.cards import attachments
from apps.cards.events import CardUpdated
from apps.cards.models import Attachment, Card
from apps.cards.services.standing import fresh, gone
from apps.common.errors import NotFound, Unavailable
from apps.common.fetching import insert
from apps.common.uploads import Upload
from apps.events import bus
from apps.events.commits import Unanswered
from apps.host import kept_files
from apps.host.disk import host_id

Reader = Callable[[Callable[[str], BinaryIO]], Upload]


def attach(card: Card, read: Reader, *, by: int) -> Attachment:
    """`read` writes the file into what it is given for its name. It counts once it is safe on the disk.

    The disk is written outside of transactions; cut off at any point, nothing stays that no row knows of.
    """
    attachment = _expect(card, host=host_id(settings.DATA_DIR), by=by)
    try:
        upload = _receive(attachment, read)
        return _arrived(attachment, upload, by=by)
    except Unanswered:
        # It may be on the card by now; if it isn't, the worker's loop removes it in an hour.
        raise
    except BaseException:
        with contextlib.suppress(OSError, DatabaseError, InterfaceError):
            attachments.discard(attachment)
        raise


@bus.atomically
def _expect(card: Card, *, host: str, by: int) -> Attachment:
    bus.lock(card.project_id)
    card = fresh(card)
    return insert(
        Attachment(
            card=card,
            folder=attachments.new_folder(card.pk),
            host_id=host,
            created_by_id=by,
        )
    )


def _receive(attachment: Attachment, read: Reader) -> Upload:
    try:
        with contextlib.ExitStack() as opened:

            def open_file(name: str) -> BinaryIO:
                path = attachments.place(attachment.folder, name)
                return opened.enter_context(kept_files.create(path, below=attachments.root()))

            return read(open_file)
    except OSError as problem:
        if problem.errno in (errno.ENOSPC, errno.EDQUOT):
            raise Unavailable(
                "The server's disk is full. Make room there, then upload the file again.",
                code="disk_full",
            ) from problem
        raise Unavailable(
            f"The server could not write the file ({problem.strerror or problem}). Look at"
            f" {attachments.root()} there, then upload it again.",
            code="file_not_stored",
        ) from problem


@bus.atomically
def _arrived(attachment: Attachment, upload: Upload, *, by: int) -> Attachment:
    card = attachment.card
    assert card is not None
    bus.lock(card.project_id)
    there = Attachment.objects.filter(pk=attachment.pk, card__isnull=False)
    attachment.filename = upload.filename
    attachment.content_type = upload.content_type
    attachment.size = upload.size
    attachment.state = Attachment.State.READY
    if not there.update(
        filename=attachment.filename,
        content_type=attachment.content_type,
        size=attachment.size,
        state=attachment.state,
    ):
        raise gone()
    bus.publish(CardUpdated(project_id=card.project_id, card_id=card.pk), by=by)
    return attachment


def delete_attachment(attachment: Attachment, *, project_id: int, by: int) -> None:
    """It is off the card at once; should the file not go now, the worker's loop removes it."""
    _take_off(attachment, project_id=project_id, by=by)
    with contextlib.suppress(OSError):
        attachments.discard(attachment)


@bus.atomically
def _take_off(attachment: Attachment, *, project_id: int, by: int) -> None:
    bus.lock(project_id)
    card_id = attachment.card_id
    if card_id is None or not Attachment.objects.filter(pk=attachment.pk, card=card_id).update(
        card=None
    ):
        raise NotFound("Somebody has just deleted this attachment.")
    bus.publish(CardUpdated(project_id=project_id, card_id=card_id), by=by)
