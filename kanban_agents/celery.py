"""The Celery application. Tasks are rung by name; a message is a wake-up, never the truth."""

from __future__ import annotations

import os

from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "kanban_agents.settings")

app = Celery("kanban_agents")
app.config_from_object("django.conf:settings.CELERY")
app.autodiscover_tasks()
