"""What a project's end means for its scripts. Called inside the transaction of the change."""

from __future__ import annotations

from apps.projects import lifecycle
from apps.projects.models import Project
from apps.scripts import runs


@lifecycle.on_delete
def stop_all(project: Project) -> list[str]:
    runs.let_go(project_id=project.pk)
    return []
