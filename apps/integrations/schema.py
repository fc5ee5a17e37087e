from __future__ import annotations

from typing import Any, TypedDict

from apps.agents.serializers import SessionShape
from apps.cards.schema import CREATED, LANDING, AgentState, Card, Reason
from apps.common.described import Operation, Operations, Query
from apps.common.shapes import CardId, Moment
from apps.integrations.serializers import LONGEST_WAIT_S, CreateFlatCardInput
from apps.integrations.views import CardStatusView, CardsView, CardView

TAG = "Cards for programs"


class CardWithSessions(Card):
    columnName: str
    sessions: list[SessionShape]


class CardStatus(TypedDict):
    id: CardId
    title: str
    columnName: str
    hasActiveAgent: bool
    agentStatus: AgentState | None
    waitingFor: dict[str, Any] | None
    queueReason: str | None
    statusText: str | None
    deferredReason: Reason | None
    completedAt: Moment | None
    url: str


OPERATIONS: Operations = {
    CardsView: {
        "post": Operation(
            "Make a card, and start it if asked to",
            Card,
            CreateFlatCardInput,
            status=201,
            also=CREATED,
            conflicts=LANDING,
            errors={404: "There is no such project, board or column."},
        )
    },
    CardView: {"get": Operation("One card with its sessions", CardWithSessions, etag=True)},
    CardStatusView: {
        "get": Operation(
            "How a card stands, at once or when that changes",
            CardStatus,
            query={
                "wait": Query(
                    {"type": "integer", "minimum": 0},
                    "Answer when `agentStatus` changes, or after so many seconds;"
                    f" {LONGEST_WAIT_S} is the most.",
                ),
                "known": Query(
                    {"type": "string", "maxLength": 40},
                    "The `agentStatus` the caller has: a different one is answered at once."
                    " `null` where nothing has started.",
                ),
            },
            etag=True,
        )
    },
}
