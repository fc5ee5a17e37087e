"""Where failed sign-ins are counted."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.core.cache.backends.base import DEFAULT_TIMEOUT
from django.core.cache.backends.db import DatabaseCache
from django.db import OperationalError, connections, router, transaction


class LimitsCache(DatabaseCache):
    """Django's own says of a database that can't write no more than of a key that is there already, and so a
    full disk was taken for a limit that is reached. This one raises what the database says.
    """

    def _base_set(
        self, mode: str, key: str, value: Any, timeout: float | None = DEFAULT_TIMEOUT
    ) -> bool:
        alias = router.db_for_write(self.cache_model_class)
        failures: list[OperationalError] = []

        def watched(execute: Any, *statement: Any) -> Any:
            try:
                return execute(*statement)
            except OperationalError as error:
                failures.append(error)
                raise

        # A transaction around it: what only its COMMIT finds is raised here, not there.
        with transaction.atomic(using=alias):
            with connections[alias].execute_wrapper(watched):
                stored: bool = super()._base_set(mode, key, value, timeout)  # type: ignore[misc]
            if failures:
                raise failures[0]
        return stored

    def _base_delete_many(self, keys: Iterable[str]) -> bool:
        # Of a transaction that is lost nothing is left to delete, and what lost it must not be hidden.
        if connections[router.db_for_write(self.cache_model_class)].needs_rollback:
            return False
        deleted: bool = super()._base_delete_many(keys)  # type: ignore[misc]
        return deleted
