from __future__ import annotations

from django.db import transaction

from apps.events import telling

QUEUE = "agents"


def ring() -> None:
    """Wake the workers once the transaction is committed."""

    def send() -> None:
        telling.ring("runs.poke", queue_name=QUEUE)

    transaction.on_commit(send, robust=True)
