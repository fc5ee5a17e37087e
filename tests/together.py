"""Several people at the same moment, each in a thread with a database connection of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from django.db import connection


def at_once(calls: list[Callable[[], Any]]) -> None:
    problems: list[BaseException] = []
    ready = threading.Barrier(len(calls))

    def run(call: Callable[[], Any]) -> None:
        try:
            ready.wait()
            call()
        except BaseException as error:  # noqa: BLE001 - shown by the test
            problems.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=run, args=[call]) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []
