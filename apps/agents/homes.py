"""HOMEs of agents whose project or key was deleted: they go, for logins and conversations lie in them.

Only what this database knows to be gone: with another database before it, a data directory must lose nothing.
"""

from __future__ import annotations

import logging
from pathlib import Path

from django.conf import settings

from apps.agents.models import AgentSession
from apps.common.ids import BadId, parse_id
from apps.credentials.models import Credential
from apps.events.models import EventStream
from apps.host.disk import delete_tree
from apps.host.environment import homes_dir
from apps.projects.models import Project
from apps.runs.models import LIVE

logger = logging.getLogger(__name__)


def remove_orphans(host_id: str) -> None:
    """What can't be removed, because somebody still writes there, is tried at the next look."""
    homes = _by_id("project", homes_dir(settings.DATA_DIR))
    if not homes:
        return
    there = set(Project.objects.filter(pk__in=homes).values_list("pk", flat=True))
    # The stream outlives its project.
    known = EventStream.objects.filter(project_id__in=homes.keys() - there)
    for project_id in known.values_list("project_id", flat=True):
        _remove(homes[project_id])
    for project_id in sorted(there):
        _remove_of_keys(project_id, homes[project_id], host_id)


def _remove_of_keys(project_id: int, home: Path, host_id: str) -> None:
    keys = _by_id("credential", home)
    gone = keys.keys() - set(Credential.objects.filter(pk__in=keys).values_list("pk", flat=True))
    if not gone:
        return
    sessions = AgentSession.objects.filter(project_id=project_id)
    ours = sessions.filter(host_id=host_id).exists()
    # Whoever runs goes on with the key that it was started with.
    busy = sessions.filter(state__in=LIVE).exists() or sessions.exclude(worker_id=None).exists()
    if ours and not busy:
        for credential_id in sorted(gone):
            _remove(keys[credential_id])


def _by_id(kind: str, folder: Path) -> dict[int, Path]:
    found: dict[int, Path] = {}
    if folder.is_dir():
        for path in folder.iterdir():
            try:
                found[parse_id(kind, path.name)] = path
            except BadId:
                continue
    return found


def _remove(home: Path) -> None:
    try:
        delete_tree(home)
    except OSError as problem:
        logger.warning("%s stays for now: %s", home, problem)
    else:
        logger.info("%s is removed: what it belonged to was deleted", home)
