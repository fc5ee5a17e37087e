"""The index behind the search: what words a card has, kept by triggers on the table of cards.

So it changes in the transaction of whatever changes a card, and is undone with it. SQLite has a full-text
table without content of its own (FTS5), PostgreSQL a table of `tsvector`; both are unknown to Django. Case
and accents don't count on either, and whatever is neither letter nor digit parts words.

Django changes a table of SQLite by making it anew, and the triggers go with the old one: after every
`migrate` the index is made anew where they are missing, and where it isn't the one that is described here. No
migration makes it. A server calls `migrate` only when one is pending, so what is changed here takes a
migration, even if that is an empty one.
"""

from __future__ import annotations

import hashlib
from typing import Any

from django.db import connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

_LABELS = {
    "sqlite": "(SELECT group_concat(value, ' ') FROM json_each({row}.labels))",
    "postgresql": "(SELECT string_agg(value, ' ') FROM jsonb_array_elements_text({row}.labels))",
}


def _of(row: str) -> str:
    return f"{row}.id, {row}.title, {_LABELS['sqlite'].format(row=row)}, {row}.prompt"


_PUT = "INSERT INTO cards_search (rowid, title, labels, prompt)"
# A table without content must be told what it had.
_TAKE = "INSERT INTO cards_search (cards_search, rowid, title, labels, prompt) SELECT 'delete', "

# Stands for which index it is, where the database keeps it.
_MARK = "/* the mark */"
_COLUMNS = {"title", "labels", "prompt"}

_SQLITE = [
    "DROP TRIGGER IF EXISTS cards_search_insert",
    "DROP TRIGGER IF EXISTS cards_search_update",
    "DROP TRIGGER IF EXISTS cards_search_delete",
    "DROP TABLE IF EXISTS cards_search",
    """
    CREATE VIRTUAL TABLE cards_search USING fts5(
        title, labels, prompt, content='', prefix='1 2 3', tokenize='unicode61 remove_diacritics 2'
    )
    """,
    f"{_PUT} SELECT {_of('cards_card')} FROM cards_card",
    f"""
    CREATE TRIGGER cards_search_insert AFTER INSERT ON cards_card BEGIN {_MARK}
        {_PUT} SELECT {_of("new")};
    END
    """,
    f"""
    CREATE TRIGGER cards_search_update AFTER UPDATE OF title, labels, prompt ON cards_card BEGIN {_MARK}
        {_TAKE} {_of("old")};
        {_PUT} SELECT {_of("new")};
    END
    """,
    f"""
    CREATE TRIGGER cards_search_delete AFTER DELETE ON cards_card BEGIN {_MARK}
        {_TAKE} {_of("old")};
    END
    """,
]

# The parser would take a path, an address or a number with a sign for one word; SQLite takes them apart.
_PARTING = "!\"#$%&''()*+,-./:;<=>?@[\\]^_`{|}~"
_PARTED = f"""translate(
    normalize(regexp_replace(normalize(given, NFD), '[\\u0300-\\u036f]', '', 'g'), NFC),
    '{_PARTING}', repeat(' ', {len(_PARTING) - 1}))"""

_POSTGRESQL = [
    "DROP TRIGGER IF EXISTS cards_search_put ON cards_card",
    "DROP TRIGGER IF EXISTS cards_search_delete ON cards_card",
    "DROP TRIGGER IF EXISTS cards_search_truncate ON cards_card",
    "DROP TABLE IF EXISTS cards_search",
    "CREATE TABLE cards_search (card_id bigint PRIMARY KEY, words tsvector NOT NULL)",
    f"""
    CREATE OR REPLACE FUNCTION cards_search_words(given text) RETURNS tsvector
    LANGUAGE sql IMMUTABLE AS $$ SELECT to_tsvector('simple', {_PARTED}) $$
    """,
    f"""
    CREATE OR REPLACE FUNCTION cards_search_put() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        INSERT INTO cards_search (card_id, words) VALUES (
            new.id,
            setweight(cards_search_words(new.title), 'A')
            || setweight(cards_search_words(
                   coalesce({_LABELS["postgresql"].format(row="new")}, '')), 'B')
            || cards_search_words(new.prompt)
        )
        ON CONFLICT (card_id) DO UPDATE SET words = excluded.words;
        RETURN NULL;
    END $$
    """,
    """
    CREATE OR REPLACE FUNCTION cards_search_take() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF TG_OP = 'TRUNCATE' THEN
            DELETE FROM cards_search;
        ELSE
            DELETE FROM cards_search WHERE card_id = old.id;
        END IF;
        RETURN NULL;
    END $$
    """,
    """
    CREATE TRIGGER cards_search_put AFTER INSERT OR UPDATE OF title, labels, prompt ON cards_card
    FOR EACH ROW EXECUTE FUNCTION cards_search_put()
    """,
    """
    CREATE TRIGGER cards_search_delete AFTER DELETE ON cards_card
    FOR EACH ROW EXECUTE FUNCTION cards_search_take()
    """,
    """
    CREATE TRIGGER cards_search_truncate AFTER TRUNCATE ON cards_card
    FOR EACH STATEMENT EXECUTE FUNCTION cards_search_take()
    """,
    # Those that are there already.
    "UPDATE cards_card SET title = title",
    "CREATE INDEX cards_search_words ON cards_search USING gin (words)",
    f"COMMENT ON TABLE cards_search IS '{_MARK}'",
]

_STATEMENTS = {"sqlite": _SQLITE, "postgresql": _POSTGRESQL}
# How many triggers there are that belong to the index with this mark.
_TRIGGERS = {
    "sqlite": "SELECT COUNT(*) FROM sqlite_master WHERE type = 'trigger' AND name LIKE 'cards_search_%%'"
    " AND instr(sql, %s) > 0",
    "postgresql": "SELECT COUNT(*) FROM pg_trigger WHERE tgname LIKE 'cards_search_%%'"
    " AND tgrelid = to_regclass('cards_card')"
    " AND obj_description(to_regclass('cards_search'), 'pg_class') = %s",
}


def _mark(vendor: str) -> str:
    """Another one for every other index."""
    text = "\n".join(_STATEMENTS[vendor]).encode()
    return f"/* {hashlib.blake2b(text, digest_size=8).hexdigest()} */"


def make(connection: BaseDatabaseWrapper) -> None:
    """The index of all cards that there are, in place of the one before."""
    vendor = connection.vendor
    with connection.cursor() as cursor:
        for statement in _STATEMENTS[vendor]:
            cursor.execute(statement.replace(_MARK, _mark(vendor)))


def restore(using: str, **_others: Any) -> None:
    """Make it anew if it isn't there as it should be; for the signal that follows every `migrate`."""
    connection = connections[using]
    vendor = connection.vendor
    with connection.cursor() as cursor:
        if "cards_card" not in connection.introspection.table_names(cursor):
            return
        cards = connection.introspection.get_table_description(cursor, "cards_card")
        if not {column.name for column in cards} >= _COLUMNS:
            # Somebody migrated half way only; the rest of the way leads here again.
            return
        cursor.execute(_TRIGGERS[vendor], [_mark(vendor)])
        (there,) = cursor.fetchone()
    if there != 3:
        with transaction.atomic(using):
            make(connection)
