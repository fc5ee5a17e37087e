from __future__ import annotations

from celery import shared_task

from apps.runs import thread


@shared_task(name="runs.poke", ignore_result=True)
def poke() -> None:
    """Ring: something changed in the rows that a worker should look at."""
    thread.poke()
