"""What Celery says of its broker, in our words: to it each lost connection is a traceback and paragraphs."""

from __future__ import annotations

import logging
import sys
from typing import Any

from celery import bootsteps
from celery.worker import consumer

from apps.events import redis_state


class _Lost(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        text = record.getMessage()
        if "Cannot connect to" in text and isinstance(record.args, tuple):
            redis_state.failed(record.args[1])
            return False
        if "Connection to broker lost" in text:
            redis_state.failed(sys.exc_info()[1])
            return False
        return True


class _Connected(bootsteps.StartStopStep):
    """A step of the consumer's start, and of each start after a connection was lost."""

    requires = ("celery.worker.consumer.connection:Connection",)

    def start(self, parent: Any) -> None:
        redis_state.answered()


def translate(app: Any) -> None:
    logging.getLogger(consumer.Consumer.__module__).addFilter(_Lost())
    app.steps["consumer"].add(_Connected)
