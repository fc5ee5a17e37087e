from __future__ import annotations

import re
from collections.abc import Mapping
from functools import reduce
from itertools import accumulate
from operator import add
from typing import Any, TypeVar

from django.db.models import Func, IntegerField, Model, QuerySet
from django.db.models.functions import Coalesce

from apps.common.errors import Invalid

M = TypeVar("M", bound=Model)

MOST_BYTES = 2_000_000

_WHOLE = re.compile(r"[+-]?[0-9]+")


def limit_of(given: Mapping[str, str], *, default: int, most: int) -> int:
    """The `limit` of a list's query, brought within 1 and `most`; Invalid when it is no number (C22)."""
    text = given.get("limit", "").strip()
    if not text:
        return default
    if not _WHOLE.fullmatch(text):
        raise Invalid("limit must be a whole number")
    if len(text) > 18:
        return 1 if text.startswith("-") else most
    return min(max(int(text), 1), most)


def page_of(rows: QuerySet[M], *texts: str, limit: int) -> tuple[list[M], bool]:
    """The first of these ordered rows, and whether there are more.

    At most `limit`, and at least one; as many as have some `MOST_BYTES` in the columns `texts`, which are
    measured where they lie: hundreds of prompts that change don't come into memory first. Rows that come
    between measuring and reading are not in it, and push none out.
    """
    keys, more = _measured(rows, "pk", texts, limit)
    return list(rows.filter(pk__in=keys)), more


def page_up_to(rows: QuerySet[M], number: str, *texts: str, limit: int) -> tuple[list[M], bool]:
    """As `page_of`, in the order of a number that only grows, with new rows and when one changes.

    A row whose number grew between measuring and reading is not in it: behind the others of this page it
    would hide those between.
    """
    rows = rows.order_by(number)
    keys, more = _measured(rows, number, texts, limit)
    return (list(rows.filter(**{f"{number}__lte": keys[-1]})) if keys else []), more


def _measured(
    rows: QuerySet[M], key: str, texts: tuple[str, ...], limit: int
) -> tuple[list[int], bool]:
    size = reduce(add, (Coalesce(_Bytes(name), 0) for name in texts))
    measured = list(rows.annotate(bytes=size).values_list(key, "bytes")[: limit + 1])
    sums = accumulate(row_size for _, row_size in measured[:limit])
    count = max(1, sum(1 for sum_so_far in sums if sum_so_far <= MOST_BYTES))
    return [number for number, _ in measured[:count]], len(measured) > count


class _Bytes(Func):
    function = "octet_length"
    output_field = IntegerField()

    def as_sqlite(self, compiler: Any, connection: Any, **context: Any) -> Any:
        """Its function of that name is younger than what some systems have."""
        return self.as_sql(compiler, connection, template="length(CAST(%(expressions)s AS BLOB))")
