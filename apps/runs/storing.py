"""The sink's statements: a handful for each batch, however many runs and lines are in it.

A statement for each run cost more than all the rest of a worker under 100 agents.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from django.db import connection

if TYPE_CHECKING:
    from apps.runs.sink import Feed, Line, Table

_COLUMNS = {
    "index": "bigint",
    "rev": "bigint",
    "role": "text",
    "type": "text",
    "content": "text",
    "tool_call": "text",
    "partial": "boolean",
    "truncated": "boolean",
    "fence": "bigint",
    "ordinal": "bigint",
    "turn_id": "bigint",
    "created_at": "timestamptz",
}

COLUMNS = tuple(_COLUMNS)
_CHANGING = ("content", "tool_call", "partial", "truncated")

Stored = tuple["Feed", int, int, list[str]]


def storable(text: str) -> str:
    """NUL can't be stored by PostgreSQL and lone surrogates are no text: both become U+FFFD."""
    if "\x00" in text:
        text = text.replace("\x00", "\ufffd")
    try:
        text.encode()
    except UnicodeEncodeError:
        text = text.encode(errors="surrogatepass").decode(errors="replace")
    return text


def quoted(name: str) -> str:
    return connection.ops.quote_name(name)


def store(cursor: Any, table: Table, feeds: Sequence[Feed]) -> list[Stored]:
    """Number and store the lines of runs of one kind: feed, first and last rev, frames for browsers.

    A feed that isn't in the answer has lost its run to another owner.
    """
    sqlite = connection.vendor == "sqlite"
    numbers = _number(cursor, table, feeds)
    given: list[tuple[Feed, int, list[Line]]] = []
    inserts: list[tuple[Any, ...]] = []
    updates: list[tuple[Any, ...]] = []
    places: list[tuple[Feed, int, int]] = []
    for feed in feeds:
        if (feed.run_id, feed.fence) not in numbers:
            continue
        lines = list(feed.in_flight.values())
        index, last = numbers[feed.run_id, feed.fence]
        rev = last - len(lines)
        given.append((feed, rev, lines))
        for line in lines:
            if line.ordinal in feed.stored:
                updates.append(_update_row(feed, line, rev))
            else:
                inserts.append(_insert_row(feed, line, index, rev, as_text=sqlite))
                places.append((feed, line.ordinal, index))
                index += 1
            rev += 1
    if inserts:
        ids = _insert(cursor, table, inserts)
        for (feed, ordinal, index), pk in zip(places, ids, strict=True):
            feed.learned[ordinal] = pk, index
    if updates:
        changing = "".join(f"{name} = %s, " for name in _changing(table))
        cursor.executemany(
            f"UPDATE {table.line_table} SET {changing}rev = %s"
            f" WHERE {table.foreign_key} = %s AND fence = %s AND ordinal = %s",
            updates,
        )
    return [_stored(table, feed, first, lines) for feed, first, lines in given]


def _stored(table: Table, feed: Feed, first: int, lines: list[Line]) -> Stored:
    frames = []
    for rev, line in enumerate(lines, start=first):
        pk, index = feed.stored.get(line.ordinal) or feed.learned[line.ordinal]
        frames.append(table.frame(feed.run_id, pk, index, rev, line))
    return feed, first, first + len(lines) - 1, frames


def _changing(table: Table) -> list[str]:
    return [name for name in _CHANGING if name in table.columns]


def _insert_row(feed: Feed, line: Line, index: int, rev: int, *, as_text: bool) -> tuple[Any, ...]:
    # As Django's adapter for SQLite writes it, in a tenth of the time.
    created_at = str(line.created_at.replace(tzinfo=None)) if as_text else line.created_at
    return (
        feed.run_id,
        index,
        rev,
        line.role,
        line.type,
        line.content,
        line.tool_call,
        line.partial,
        line.truncated,
        feed.fence,
        line.ordinal,
        line.turn_id,
        created_at,
    )


def _update_row(feed: Feed, line: Line, rev: int) -> tuple[Any, ...]:
    return (
        *(getattr(line, name) for name in _changing(feed.table)),
        rev,
        feed.run_id,
        feed.fence,
        line.ordinal,
    )


def lock(cursor: Any, table: Table, runs: Sequence[int]) -> None:
    """The runs' rows, so that the UPDATE has nothing to wait for: it locks many rows in no order, and whoever
    else locks several begins with the first. On SQLite a writer is alone."""
    if connection.vendor == "postgresql":
        cursor.execute(
            f"SELECT 1 FROM {table.run_table} WHERE id = ANY(%s) ORDER BY id FOR NO KEY UPDATE",
            [list(runs)],
        )


def _number(
    cursor: Any, table: Table, feeds: Sequence[Feed]
) -> dict[tuple[int, int], tuple[int, int]]:
    """(run, fence) → first new index, next rev; of those runs that are still ours."""
    asked = []
    for feed in feeds:
        new = sum(ordinal not in feed.stored for ordinal in feed.in_flight)
        asked.append((feed.run_id, feed.fence, new, len(feed.in_flight)))
    if connection.vendor == "postgresql":
        runs, fences, news, lines = map(list, zip(*asked, strict=True))
        lock(cursor, table, runs)
        source = "unnest(%s::bigint[], %s::bigint[], %s::bigint[], %s::bigint[])"
        given = f"{source} AS given (run, owner, news, lines)"
        parameters: list[Any] = [runs, fences, news, lines]
    else:
        columns = ", ".join(
            f"json_extract(value, '$[{number}]') AS {name}"
            for number, name in enumerate(("run", "owner", "news", "lines"))
        )
        given = f"(SELECT {columns} FROM json_each(%s)) AS given"
        parameters = [json.dumps(asked)]
    cursor.execute(
        f"UPDATE {table.run_table} SET next_index = next_index + news, next_rev = next_rev + lines"
        f" FROM {given} WHERE id = run AND fence = owner RETURNING id, fence, next_index, next_rev",
        parameters,
    )
    added = {(run, fence): new for run, fence, new, _ in asked}
    return {
        (run, fence): (next_index - added[run, fence], next_rev)
        for run, fence, next_index, next_rev in cursor.fetchall()
    }


def _insert(cursor: Any, table: Table, rows: list[tuple[Any, ...]]) -> list[int]:
    """The rows' ids."""
    names = [name for name in _COLUMNS if name in table.columns]
    if len(names) < len(_COLUMNS):
        places = [1 + COLUMNS.index(name) for name in names]
        rows = [(row[0], *(row[place] for place in places)) for row in rows]
    columns = ", ".join([table.foreign_key, *map(quoted, names)])
    if connection.vendor == "postgresql":
        kinds = ("bigint", *(_COLUMNS[name] for name in names))
        arrays = ", ".join(f"%s::{kind}[]" for kind in kinds)
        cursor.execute(
            f"INSERT INTO {table.line_table} ({columns}) SELECT * FROM unnest({arrays})"
            f" RETURNING {table.foreign_key}, {quoted('index')}, id",
            [list(column) for column in zip(*rows, strict=True)],
        )
        ids = {(run, index): pk for run, index, pk in cursor.fetchall()}
        return [ids[row[0], row[1]] for row in rows]
    marks = ", ".join(["%s"] * (len(names) + 1))
    cursor.executemany(f"INSERT INTO {table.line_table} ({columns}) VALUES ({marks})", rows)
    # Nobody else writes meanwhile, and an AUTOINCREMENT key goes up by one.
    cursor.execute("SELECT last_insert_rowid()")
    last = int(cursor.fetchone()[0])
    return list(range(last - len(rows) + 1, last + 1))
