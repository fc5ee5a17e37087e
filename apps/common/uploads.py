"""One file in a multipart form, written where it shall lie while it is read: none of it stays in memory."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, BinaryIO

from django.core.exceptions import SuspiciousOperation
from django.core.files.uploadhandler import FileUploadHandler
from django.http.multipartparser import MultiPartParser, MultiPartParserError
from rest_framework.exceptions import UnsupportedMediaType
from rest_framework.request import Request

from apps.common.errors import Invalid, TooLarge
from apps.common.sizes import size

FIELD = "file"
NAME_LIMIT = 255
# As the longest name that a file may have on the usual file systems.
_NAME_BYTES = 200
_LONGEST_TYPE = 100
_TYPE = re.compile(r"[a-z0-9][a-z0-9!#$&^_.+-]*/[a-z0-9][a-z0-9!#$&^_.+-]*")
UNKNOWN_TYPE = "application/octet-stream"

_WANTED = f"{FIELD}: send exactly one file, with its name, in the form field “{FIELD}”."


@dataclass
class Upload:
    """`filename` is a bare name: no directories, nothing unprintable. `fields` are the form's others."""

    filename: str
    content_type: str
    size: int
    fields: dict[str, str]

    def close(self) -> None:
        """The parser calls it when something else in the form is wrong; the file isn't ours."""


def bare_name(value: str) -> str | None:
    """The name if it can be that of a file and nothing else, else None."""
    bad = value in ("", ".", "..") or "/" in value or "\\" in value or not value.isprintable()
    return None if bad or len(value) > NAME_LIMIT else value


def name_on_disk(filename: str) -> str:
    """The same, short enough for every file system; what comes last says what kind of file it is."""
    suffix = PurePosixPath(filename).suffix
    if len(suffix.encode()) > 20:
        suffix = ""
    stem = filename.removesuffix(suffix) if suffix else filename
    return stem.encode()[: _NAME_BYTES - 20].decode("utf-8", "ignore") + suffix


def media_type(value: str | None) -> str:
    """Lower-case and without parameters; what is no media type is bytes of an unknown kind."""
    plain = (value or "").partition(";")[0].strip().lower()
    return plain if len(plain) <= _LONGEST_TYPE and _TYPE.fullmatch(plain) else UNKNOWN_TYPE


class _OneFile(FileUploadHandler):
    def __init__(self, limit: int, open_file: Callable[[str], BinaryIO]) -> None:
        super().__init__()
        self._limit = limit
        self._open = open_file
        self._file: BinaryIO | None = None
        self.upload: Upload | None = None

    def new_file(
        self,
        field_name: str,
        file_name: str,
        content_type: str,
        content_length: int | None,
        charset: str | None = None,
        content_type_extra: dict[str, bytes] | None = None,
    ) -> None:
        if len(file_name) > NAME_LIMIT:
            raise Invalid(f"{FIELD}: the name of a file may have {NAME_LIMIT} characters at most.")
        name = bare_name(file_name)
        if field_name != FIELD or name is None or self.upload is not None:
            raise Invalid(_WANTED)
        self.upload = Upload(name, media_type(content_type), 0, {})
        self._file = self._open(name)

    def receive_data_chunk(self, raw_data: bytes, start: int) -> None:
        assert self.upload is not None
        assert self._file is not None
        self.upload.size += len(raw_data)
        if self.upload.size > self._limit:
            raise TooLarge(f"A file may have {size(self._limit)} at most.")
        self._file.write(raw_data)

    def file_complete(self, file_size: int) -> Any:
        return self.upload


def receive(request: Request, *, limit: int, open_file: Callable[[str], BinaryIO]) -> Upload:
    """Write the form's file into what `open_file(its name)` returns, which is the caller's to close.

    Raises Invalid, TooLarge as soon as there is more than `limit`, or a 415 for another kind of body.
    """
    kind = str(request.content_type or "")
    if media_type(kind) != "multipart/form-data":
        raise UnsupportedMediaType(kind, f"{_WANTED} The body must be multipart/form-data.")
    if request.stream is None:
        raise Invalid(_WANTED)
    handler = _OneFile(limit, open_file)
    try:
        fields, _ = MultiPartParser(request.META, request.stream, [handler], "utf-8").parse()
    except (MultiPartParserError, SuspiciousOperation, LookupError, ValueError) as problem:
        raise Invalid(f"The form can't be read: {problem}") from None
    if handler.upload is None:
        raise Invalid(_WANTED)
    handler.upload.fields = {str(name): str(value) for name, value in fields.items()}
    return handler.upload
