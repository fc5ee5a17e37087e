"""The file that an export wrote, or what somebody made to look like one: checked before any of it is used."""

from __future__ import annotations

import mmap
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, BinaryIO

import orjson
from rest_framework.exceptions import ValidationError

from apps.common.errors import Invalid, sentence
from apps.common.ids import public_id
from apps.common.serializers import Serializer, checked
from apps.operations.transfer import entries

Entry = dict[str, Any]

_LISTS: dict[str, type[Serializer]] = {
    "boards": entries.BoardEntry,
    "columns": entries.ColumnEntry,
    "cards": entries.CardEntry,
    "pipelines": entries.PipelineEntry,
    "sessions": entries.SessionEntry,
    "scripts": entries.ScriptEntry,
    "attachments": entries.AttachmentEntry,
}

# More than an export has. Each takes up to a hundred bytes of memory, and only three in the file.
_MOST_PARTS = 20_000_000
_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)


@dataclass(frozen=True)
class Document:
    """Entries by their Python names, in the order of the file. Ids are those of the file."""

    project: Entry
    boards: list[Entry]
    columns: list[Entry]
    cards: list[Entry]
    pipelines: list[Entry]
    sessions: list[Entry]
    scripts: list[Entry]
    attachments: list[Entry]


def read(file: BinaryIO) -> Document:
    """Of a file on the disk, whose bytes never are in memory. Raises Invalid, which names what is wrong."""
    file.flush()
    if not file.seek(0, os.SEEK_END):
        return _parse(b"")
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped, memoryview(mapped) as raw:
        return _parse(raw)


def _refuse_too_many_parts(raw: bytes | memoryview) -> None:
    """Counts values as JSON goes, without making any of them; what stands inside strings doesn't count."""
    parts = at = 0
    for found in _STRING.finditer(raw):
        between = bytes(raw[at : found.start()])
        parts += 1 + sum(between.count(each) for each in (b",", b"[", b"{"))
        at = found.end()
        if parts > _MOST_PARTS:
            break
    parts += sum(bytes(raw[at:]).count(each) for each in (b",", b"[", b"{"))
    if parts > _MOST_PARTS:
        raise Invalid("file: has more entries than any project.", code="not_an_export")


def _parse(raw: bytes | memoryview) -> Document:
    _refuse_too_many_parts(raw)
    try:
        found = orjson.loads(raw)
    except orjson.JSONDecodeError as problem:
        raise Invalid(f"file: is not valid JSON: {problem}.", code="not_an_export") from None
    if not isinstance(found, dict) or "formatVersion" not in found:
        raise Invalid(
            "file: is no export of a project; it has no formatVersion.", code="not_an_export"
        )
    version = found["formatVersion"]
    if isinstance(version, bool) or version != entries.FORMAT_VERSION:
        raise Invalid(
            f"file: has formatVersion {str(version)[:40]}; this server reads {entries.FORMAT_VERSION}."
            " Export the project again with a version like this one's.",
            code="unknown_format",
        )
    project = _entry("project", entries.ProjectEntry, found.get("project"))
    document = Document(project, **{name: _list(name, found) for name in _LISTS})
    _check_references(document)
    _check_circles(document.cards)
    return document


def _list(name: str, found: dict[str, Any]) -> list[Entry]:
    kind, most = _LISTS[name], entries.MOST[name]
    # Let go of on the way: what was read and what is checked are never both there as a whole.
    given = found.pop(name, [])
    if not isinstance(given, list):
        raise Invalid(f"{name}: must be a list.")
    if len(given) > most:
        raise Invalid(f"{name}: there may be {most:,} at most, and here are {len(given):,}.")
    for place, each in enumerate(given):
        given[place] = _entry(f"{name}[{place}]", kind, each)
    return given


def _entry(place: str, kind: type[Serializer], given: Any) -> Entry:
    if not isinstance(given, dict):
        raise Invalid(f"{place}: must be an object.")
    try:
        return checked(kind, given)
    except ValidationError as problem:
        raise Invalid(f"{place}.{sentence(problem.detail)}") from None


def _check_references(document: Document) -> None:
    boards = _ids("board", "boards", document.boards)
    columns = _ids("column", "columns", document.columns)
    cards = _ids("card", "cards", document.cards)
    _unique("cards", "externalId", (each.get("external_id") for each in document.cards))
    _unique("pipelines", "cardId", (each["card_id"] for each in document.pipelines))
    for place, column in enumerate(document.columns):
        _known(f"columns[{place}].boardId", "board", column["board_id"], boards)
    for place, card in enumerate(document.cards):
        _known(f"cards[{place}].columnId", "column", card["column_id"], columns)
        for blocker in card.get("blocked_by", ()):
            _known(f"cards[{place}].blockedBy", "card", blocker, cards)
    for place, pipeline in enumerate(document.pipelines):
        _known(f"pipelines[{place}].cardId", "card", pipeline["card_id"], cards)
        for step in pipeline["steps"]:
            _known(f"pipelines[{place}].steps", "column", step["column_id"], columns)
    for place, session in enumerate(document.sessions):
        _known(f"sessions[{place}].cardId", "card", session["card_id"], cards)
        if session.get("column_id") is not None:
            _known(f"sessions[{place}].columnId", "column", session["column_id"], columns)
    for place, attachment in enumerate(document.attachments):
        _known(f"attachments[{place}].cardId", "card", attachment["card_id"], cards)


def _ids(kind: str, name: str, found: list[Entry]) -> set[int]:
    _unique(name, "id", (public_id(kind, each["id"]) for each in found))
    return {each["id"] for each in found}


def _unique(name: str, field: str, values: Iterable[Any]) -> None:
    seen = set()
    for place, value in enumerate(values):
        if value is not None and value in seen:
            raise Invalid(f"{name}[{place}].{field}: {value} stands in the file twice.")
        seen.add(value)


def _known(place: str, kind: str, pk: int, known: set[int]) -> None:
    if pk not in known:
        raise Invalid(f"{place}: there is no {kind} {public_id(kind, pk)} in this file.")


def _check_circles(cards: list[Entry]) -> None:
    """Take away what waits for nothing that is left, until only circles are left."""
    open_blockers = {each["id"]: set(each.get("blocked_by", ())) for each in cards}
    waiting: dict[int, list[int]] = {}
    for card, blockers in open_blockers.items():
        for blocker in blockers:
            waiting.setdefault(blocker, []).append(card)
    free = [card for card, blockers in open_blockers.items() if not blockers]
    done = 0
    while free:
        done += 1
        here = free.pop()
        for card in waiting.get(here, ()):
            open_blockers[card].discard(here)
            if not open_blockers[card]:
                free.append(card)
    if done < len(cards):
        raise Invalid("blockedBy: cards wait for each other in a circle.")
