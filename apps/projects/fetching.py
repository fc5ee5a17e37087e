"""One row of a project's by its id, without building the query anew: that costs five times the query."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple, TypeVar

from django.db import connection
from django.db.models import Model

M = TypeVar("M", bound=Model)


class _Plan(NamedTuple):
    statement: str
    names: list[str]
    converters: list[tuple[int, Callable[..., Any], Any]]


@cache
def _plan(model: type[Model]) -> _Plan:
    fields = model._meta.concrete_fields
    columns = ", ".join(str(field.column) for field in fields)
    converters: list[tuple[int, Callable[..., Any], Any]] = []
    for index, field in enumerate(fields):
        expression = field.cached_col
        for convert in (
            *connection.ops.get_db_converters(expression),
            *field.get_db_converters(connection),
        ):
            converters.append((index, convert, expression))
    return _Plan(
        f"SELECT {columns} FROM {model._meta.db_table} WHERE id = %s AND project_id = %s",
        [field.attname for field in fields],
        converters,
    )


def fetch(model: type[M], pk: int, *, project_id: int) -> M | None:
    """The same as `model.objects.filter(pk=pk, project_id=project_id).first()`."""
    plan = _plan(model)
    with connection.cursor() as cursor:
        cursor.execute(plan.statement, [pk, project_id])
        row = cursor.fetchone()
    if row is None:
        return None
    values = list(row)
    for index, convert, expression in plan.converters:
        values[index] = convert(values[index], expression, connection)
    return model.from_db("default", plan.names, values)
