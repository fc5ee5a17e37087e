"""The Celery application. Tasks are rung by name; a message is a wake-up, never the truth."""

from __future__ import annotations

import os

from celery import Celery
from django.conf import settings

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "kanban_agents.settings")

app = Celery("kanban_agents")
# Lazy, so that importing this module reads no settings.
app.add_defaults(lambda: settings.CELERY)
app.autodiscover_tasks()
