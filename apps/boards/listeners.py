from __future__ import annotations

from apps.boards import services
from apps.projects import lifecycle
from apps.projects.models import Project


@lifecycle.on_create
def give_first_board(project: Project) -> None:
    services.make_first_board(project)
