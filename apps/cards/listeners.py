from __future__ import annotations

from apps.boards import deleting as boards
from apps.boards.models import Board
from apps.cards import services
from apps.cards.models import Card
from apps.credentials import holders
from apps.credentials.models import Credential
from apps.credentials.services import before_delete
from apps.projects import lifecycle
from apps.projects.models import Project


@boards.on_delete
def release_cards_of_board(board: Board) -> list[str]:
    return services.release_board(board)


@lifecycle.on_delete
def release_cards_of_project(project: Project) -> list[str]:
    return services.release_project(project)


@holders.finder
def projects_of_cards_with(credential_id: int) -> list[int]:
    cards = Card.objects.filter(credential=credential_id).order_by()
    return list(cards.values_list("project_id", flat=True).distinct())


@before_delete
def release_cards_of_credential(credential: Credential) -> None:
    services.release_credential(credential)
