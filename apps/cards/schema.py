from __future__ import annotations

from typing import Annotated, Literal, TypedDict

from apps.cards import serializers as ins
from apps.cards.attachment_views import AttachmentView, CardAttachmentsViewSet
from apps.cards.panels import MOST_CARDS
from apps.cards.personal_views import PanelStateViewSet, ReadingViewSet
from apps.cards.search import LONGEST_QUERY
from apps.cards.search_views import SearchView
from apps.cards.views import CardViewSet, ColumnCardsViewSet
from apps.common.described import ON_DISK, Operation, Operations, Query
from apps.common.shapes import (
    AttachmentId,
    BoardId,
    CardId,
    ColumnId,
    CredentialId,
    Moment,
    More,
    ProjectId,
    UserId,
)
from apps.projects.serializers import CredentialInput

TAG = "Cards"

AgentState = Literal[
    "queued", "starting", "running", "waiting", "interrupted", "completed", "failed", "cancelled"
]


class Reason(TypedDict):
    code: str
    message: str


class CardFacts(TypedDict):
    """The card as everybody has it."""

    id: CardId
    title: str
    columnId: ColumnId
    position: int
    hasActiveAgent: bool
    projectId: ProjectId
    boardId: BoardId
    labels: list[str]
    autoMode: bool
    pendingApproval: bool
    permissionMode: Literal["unattended", "ask", "plan"] | None
    deferred: bool
    deferredReason: Reason | None
    agentStatus: AgentState | None
    credentialId: CredentialId | None
    branch: str | None
    blockedBy: list[CardId]
    externalId: str | None
    completedAt: Moment | None
    createdBy: UserId | None
    createdAt: Moment
    updatedAt: Moment


class CardListed(CardFacts):
    """`unread` is the caller's own."""

    unread: bool


class Card(CardListed):
    prompt: str


class DiffStats(TypedDict):
    filesChanged: int
    insertions: int
    deletions: int


class CardDiff(TypedDict):
    diff: str
    stats: DiffStats
    truncated: bool


class PipelineStep(TypedDict):
    columnId: ColumnId
    columnName: str
    prompt: str
    inherited: bool


class Pipeline(TypedDict):
    steps: list[PipelineStep]


class BulkAnswer(TypedDict):
    """`card` is null where it was deleted."""

    cardId: CardId
    card: CardListed | None


class Attachment(TypedDict):
    """`available: false`: it came with an imported project, which brings no files, and its URL is a 404.

    A file that lies on another host is `available`; a server that can't reach it answers 503.
    """

    id: AttachmentId
    filename: str
    contentType: Annotated[str, More(examples=["text/plain"])]
    size: int
    url: Annotated[str, More(examples=["/api/attachments/att_001"])]
    available: bool
    createdBy: UserId | None
    createdAt: Moment


class CardFound(CardListed):
    projectName: str
    columnName: str
    matchedIn: list[Literal["title", "labels", "prompt"]]
    snippet: str


class CardMovedEvent(CardFacts):
    fromColumnId: ColumnId


class CardDeletedEvent(TypedDict):
    """`patch` is where work is saved that only its worktree held."""

    id: CardId
    columnId: ColumnId
    boardId: BoardId
    projectId: ProjectId
    patch: str | None


class CardReadFrame(TypedDict):
    """The caller has read it, in this browser or another; without a card, all of the project's."""

    id: CardId | None
    projectId: ProjectId


PANEL_STATES = {
    "type": "object",
    "additionalProperties": {"type": "object"},
    "examples": [{"card_001": {"open": True}}],
}
PANEL_STATES_INPUT = {
    "type": "object",
    "additionalProperties": {"type": ["object", "null"]},
    "maxProperties": MOST_CARDS,
    "examples": [{"card_001": {"open": True}, "card_002": None}],
}
UPLOAD = {
    "type": "object",
    "properties": {"file": {"type": "string", "format": "binary"}},
    "required": ["file"],
}
CREATED = {200: "The card that was made with this `externalId` before."}
LANDING = ("no_column", "no_active_column")
# What the gate says (`cards.gate`, and above it `agents.gate`).
DEFERRED = (
    *("blocked", "no_commits", "no_credential", "credential_unreadable", "wrong_credential"),
    *("no_agent", "unknown_agent", "bad_presets", "mode_unsupported"),
)

OPERATIONS: Operations = {
    CardViewSet: {
        "list": Operation(
            "A project's cards",
            [CardListed],
            query={"boardId": Query.id("board", "Only those of this board.")},
            etag=True,
        ),
        "create": Operation(
            "Make a card",
            Card,
            ins.CreateCardInput,
            status=201,
            also=CREATED,
            conflicts=LANDING,
        ),
        "bulk": Operation(
            "Change many cards, all of them or none",
            [BulkAnswer],
            ins.BulkInput,
            conflicts=("agent_running", "worktree_dirty", "card_is_complete", *LANDING),
        ),
        "retrieve": Operation("One card", Card, etag=True),
        "partial_update": Operation("Change a card", Card, ins.UpdateCardInput),
        "destroy": Operation(
            "Delete a card",
            query={"force": Query(bool, "Though an agent works on it, or work would be lost.")},
            conflicts=("agent_running", "worktree_dirty", *ON_DISK),
        ),
        "move": Operation(
            "Move a card; an active column starts its agent, leaving one stops it",
            Card,
            ins.MoveCardInput,
        ),
        "diff": Operation("What its agents changed, as a diff", CardDiff, conflicts=ON_DISK),
        "view": Operation("Note that I have read it"),
        "complete": Operation("Complete a card where it stands"),
        "activate": Operation(
            "Start a card that is deferred", conflicts=("card_is_complete", *LANDING, *DEFERRED)
        ),
        "auto_mode": Operation(
            "Let a card move on by itself when a step is done, or not", Card, ins.AutoModeInput
        ),
        "credential": Operation("Choose the credential of its agents", Card, CredentialInput),
        "approve_auto": Operation(
            "Approve a finished step; the card moves on",
            conflicts=("nothing_to_approve", "no_next_column"),
        ),
        "pipeline": Operation("The steps that a card goes through", Pipeline, etag=True),
        "set_pipeline": Operation("Replace a card's steps", Pipeline, ins.PipelineInput),
    },
    ColumnCardsViewSet: {"clean_all": Operation("Delete all cards of a column", conflicts=ON_DISK)},
    CardAttachmentsViewSet: {
        "list": Operation("Its files", [Attachment], etag=True),
        "create": Operation(
            "Put a file on a card",
            Attachment,
            UPLOAD,
            body_type="multipart/form-data",
            status=201,
        ),
    },
    AttachmentView: {
        "get": Operation(
            "Download a file",
            {"type": "string", "format": "binary"},
            media_type="*/*",
            etag=True,
        ),
        "delete": Operation("Delete a file"),
    },
    SearchView: {
        "get": Operation(
            "Find cards by their words",
            [CardFound],
            query={
                "q": Query(
                    {"type": "string", "maxLength": LONGEST_QUERY}, "Words; all must be there."
                ),
                "projectId": Query.id("project", "Only in this project."),
            },
            errors={404: "There is no such project."},
            etag=True,
        )
    },
    ReadingViewSet: {"mark_all_read": Operation("Note that I have read all its cards")},
    PanelStateViewSet: {
        "list": Operation("How I have laid out the panels of its cards", PANEL_STATES, etag=True),
        "update": Operation(
            "Keep how I have laid out the panels of some cards",
            PANEL_STATES,
            PANEL_STATES_INPUT,
        ),
        "destroy": Operation("Forget how I have laid out a card's panels"),
    },
}

EVENTS = {
    "card.created": CardFacts,
    "card.updated": CardFacts,
    "card.moved": CardMovedEvent,
    "card.deleted": CardDeletedEvent,
}
FRAMES = {"card.read": CardReadFrame}
