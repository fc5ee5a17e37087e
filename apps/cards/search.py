"""Cards by the words of their titles, labels and prompts; see `search_index` for what counts as a word.

What a person types is never the syntax of a query: it is cut into words, each of which must be there, the
last one by its beginning. Cards that have all of them in their titles come first, then the others, each the
newest first: so that the database stops at the last one shown, however many there are.
"""

from __future__ import annotations

import re
import string
import unicodedata
from dataclasses import dataclass
from typing import Any

import orjson
from django.db import connection

from apps.accounts.models import User
from apps.cards.rows import CardDetailRow, unscoped_detail_rows
from apps.projects.memberships import reached

LONGEST_QUERY = 200
MOST_FOUND = 50
BEFORE, LENGTH = 60, 200

_PARTING = str.maketrans(string.punctuation, " " * len(string.punctuation))
_ACCENTS = re.compile("[\u0300-\u036f]")
_SPACE = re.compile(r"\s+")


@dataclass(frozen=True)
class Found:
    """`places`: which of title, labels and prompt have one of the words; `excerpt` of the prompt."""

    card: CardDetailRow
    project_name: str
    places: list[str]
    excerpt: str


def words_of(text: str) -> list[str]:
    plain = _ACCENTS.sub("", unicodedata.normalize("NFD", text))
    return unicodedata.normalize("NFC", plain).translate(_PARTING).split()


def search(user: User, text: str, *, project_id: int | None = None) -> list[Found]:
    """At most `MOST_FOUND` of the cards that this person reaches. Three queries."""
    words = words_of(text)
    if not words:
        return []
    names: dict[int, str] = {}
    for title_only in (True, False):
        if len(names) < MOST_FOUND:
            names |= _matches(user, words, project_id, title_only=title_only)
    if not names:
        return []
    rows = unscoped_detail_rows(list(names)[:MOST_FOUND], user_id=user.pk)
    marker = _Marker(words)
    # One may be gone since.
    return [marker.found(rows[pk], name) for pk, name in names.items() if pk in rows]


_FROM = {
    "sqlite": """
        FROM cards_search CROSS JOIN cards_card c ON c.id = cards_search.rowid
        JOIN projects_project p ON p.id = c.project_id
        WHERE cards_search MATCH %s""",
    "postgresql": """
        FROM cards_search s JOIN cards_card c ON c.id = s.card_id
        JOIN projects_project p ON p.id = c.project_id
        WHERE s.words @@ to_tsquery('simple', %s)""",
}
_NEWEST_FIRST = {"sqlite": "cards_search.rowid DESC", "postgresql": "c.id DESC"}


def _matches(
    user: User, words: list[str], project_id: int | None, *, title_only: bool
) -> dict[int, str]:
    """Card id → name of its project, in order."""
    reach, parameters = reached(user)
    if project_id is not None:
        reach += " AND p.id = %s"
        parameters.append(project_id)
    vendor = connection.vendor
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT c.id, p.name {_FROM[vendor]} AND {reach}"
            f" ORDER BY {_NEWEST_FIRST[vendor]} LIMIT {MOST_FOUND}",
            [_EXPRESSIONS[vendor](words, title_only), *parameters],
        )
        return dict(cursor.fetchall())


def _sqlite(words: list[str], title_only: bool) -> str:  # noqa: FBT001 - one of a pair, called by table
    """No quotation mark is left in a word."""
    phrases = " ".join(f'"{word}"' for word in words) + "*"
    return f"{{title}} : ({phrases})" if title_only else phrases


def _postgresql(words: list[str], title_only: bool) -> str:  # noqa: FBT001 - the same
    """Neither apostrophe nor backslash is left in a word."""
    where = "A" if title_only else ""
    *whole, last = [f"'{word}':{where}" if where else f"'{word}'" for word in words]
    return " & ".join([*whole, f"{last}*" if where else f"{last}:*"])


_EXPRESSIONS = {"sqlite": _sqlite, "postgresql": _postgresql}


class _Folding(dict[int, str]):
    """Small letters without accents, one for each: what is found in the result stands there in the text."""

    def __missing__(self, code: int) -> str:
        self[code] = folded = unicodedata.normalize("NFD", chr(code)).lower()[:1] or chr(code)
        return folded


_folding = _Folding()


class _Marker:
    """Shows where in a card the words are."""

    def __init__(self, words: list[str]) -> None:
        folded = [re.escape(word.translate(_folding)) for word in words]
        whole = [rf"{word}(?![^\W_])" for word in folded[:-1]]
        self._words = re.compile(rf"(?<![^\W_])(?:{'|'.join([*whole, folded[-1]])})")

    def _place(self, text: str) -> int | None:
        match = self._words.search(text.translate(_folding))
        return None if match is None else match.start()

    def found(self, card: CardDetailRow, project_name: str) -> Found:
        labels: list[Any] = orjson.loads(card.row.labels)
        at = self._place(card.prompt)
        there = {
            "title": self._place(card.row.title) is not None,
            "labels": any(self._place(label) is not None for label in labels),
            "prompt": at is not None,
        }
        places = [name for name, is_there in there.items() if is_there]
        return Found(card, project_name, places, _excerpt(card.prompt, at or 0))


def _excerpt(text: str, at: int) -> str:
    """Some of the text around that place, on one line, cut between words where that is near."""
    start = max(0, at - BEFORE)
    if start:
        space = text.rfind(" ", start, at)
        start = text.find(" ", start, at) + 1 if space >= 0 else at
    end = min(len(text), start + LENGTH)
    if end < len(text):
        end = max(text.rfind(" ", at + 1, end), 0) or end
    shown = _SPACE.sub(" ", text[start:end]).strip()
    return f"{'…' if start else ''}{shown}{'…' if end < len(text) else ''}"
