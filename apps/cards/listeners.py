from __future__ import annotations

from apps.boards import deleting as boards
from apps.boards.models import Board
from apps.cards import services
from apps.credentials.models import Credential
from apps.credentials.services import before_delete
from apps.projects import lifecycle
from apps.projects.models import Project


@boards.on_delete
def release_cards_of_board(board: Board) -> list[str]:
    return services.release_board(board)


@lifecycle.on_delete
def release_cards_of_project(project: Project) -> None:
    services.release_project(project)


@before_delete
def release_cards_of_credential(credential: Credential) -> None:
    services.release_credential(credential)
