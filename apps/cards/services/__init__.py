"""What changes cards. Every service locks the project's stream, looks again, changes, and publishes."""

from apps.cards.pipelines import next_column
from apps.cards.services.agent_state import clear_deferral, defer_card, set_agent_status
from apps.cards.services.attaching import attach, delete_attachment
from apps.cards.services.bulk import change_cards
from apps.cards.services.creating import create_card, create_or_find_card
from apps.cards.services.deleting import clean_column, delete_card, release_board, release_project
from apps.cards.services.editing import (
    release_credential,
    set_auto_mode,
    set_credential,
    set_pipeline,
    update_card,
)
from apps.cards.services.moving import activate_card, approve_step, complete_card, move, move_card
from apps.cards.services.reading import mark_all_viewed, mark_viewed

__all__ = [
    "activate_card",
    "approve_step",
    "attach",
    "change_cards",
    "clean_column",
    "clear_deferral",
    "complete_card",
    "create_card",
    "create_or_find_card",
    "defer_card",
    "delete_attachment",
    "delete_card",
    "mark_all_viewed",
    "mark_viewed",
    "move",
    "move_card",
    "next_column",
    "release_board",
    "release_credential",
    "release_project",
    "set_agent_status",
    "set_auto_mode",
    "set_credential",
    "set_pipeline",
    "update_card",
]
