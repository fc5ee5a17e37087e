from __future__ import annotations

from typing import Any, Literal, TypedDict

from apps.agents import serializers as ins
from apps.agents.attention_views import AttentionView
from apps.agents.models import AgentRequest
from apps.agents.serializers import ErrorShape, SessionShape
from apps.agents.views import MOST_MESSAGES, CardAgentViewSet, ProjectAgentsViewSet
from apps.common.described import Operation, Operations, Query
from apps.common.shapes import (
    BoardId,
    CardId,
    ColumnId,
    MessageId,
    Moment,
    ProjectId,
    RequestId,
    SessionId,
    UserId,
)

TAG = "Agents"


class CurrentSession(SessionShape):
    queuePosition: int | None


class ActiveSession(SessionShape):
    cardTitle: str


class AgentMessage(TypedDict):
    """`index` is its place in the session, `rev` grows with every change; a queued one has neither."""

    id: MessageId
    sessionId: SessionId
    index: int | None
    rev: int | None
    role: Literal["user", "assistant", "tool", "system"]
    type: str
    content: str
    toolCall: dict[str, Any] | None
    partial: bool
    truncated: bool
    queued: bool
    dropped: bool
    createdAt: Moment


class Messages(TypedDict):
    messages: list[AgentMessage]
    hasMore: bool


class Person(TypedDict):
    id: UserId
    name: str


class RequestForAPerson(TypedDict):
    """Something an agent waits for a person to decide."""

    id: RequestId
    sessionId: SessionId
    cardId: CardId
    kind: Literal["plan", "permission", "question"]
    state: Literal["open", "answered", "cancelled", "withdrawn"]
    title: str
    plan: str | None
    toolCall: dict[str, Any] | None
    questions: list[dict[str, Any]] | None
    options: list[dict[str, Any]]
    answer: dict[str, Any] | None
    answeredBy: Person | None
    answeredAt: Moment | None
    deliveredAt: Moment | None
    createdAt: Moment


class AgentStatusEvent(SessionShape):
    projectId: ProjectId


class AgentRequestEvent(RequestForAPerson):
    projectId: ProjectId


class AgentActivity(TypedDict):
    """What it does at the moment; the next one replaces it, and none is stored."""

    projectId: ProjectId
    cardId: CardId
    sessionId: SessionId
    activity: Literal["thinking", "writing", "tool"]
    title: str


class AgentDelta(TypedDict):
    """Text on its way: it belongs at `offset` of message `index`, which follows whole."""

    sessionId: SessionId
    index: int
    offset: int
    type: str
    text: str


class NextColumn(TypedDict):
    id: ColumnId
    name: str


class Waiting(TypedDict):
    """Something that waits for a person.

    A `request` is answered by its id, an `approval` with `approve-auto`; a `deferred` card is activated once
    its reason is out of the way, and a `failed` one is taken up again by a message.
    """

    id: str
    kind: Literal["request", "approval", "failed", "deferred"]
    projectId: ProjectId
    projectName: str
    boardId: BoardId
    columnId: ColumnId
    columnName: str
    cardId: CardId
    cardTitle: str
    createdAt: Moment
    request: RequestForAPerson | None
    deferredReason: ErrorShape | None
    nextColumn: NextColumn | None
    session: SessionShape | None


class Notification(TypedDict):
    """What begins and what ceases to wait, `removed` by id; sent to whoever wants to be told of it."""

    projectId: ProjectId
    added: list[Waiting]
    removed: list[str]


OPERATIONS: Operations = {
    AttentionView: {
        "get": Operation("What waits for a person, newest first", [Waiting], etag=True)
    },
    CardAgentViewSet: {
        "current": Operation(
            "Its newest session, null if it had none", CurrentSession | None, etag=True
        ),
        "cancel": Operation("Stop its agent where it is", conflicts=("no_session",)),
        "sessions": Operation("Its sessions, oldest first", [SessionShape], etag=True),
        "messages": Operation(
            "What was said, a page at a time",
            Messages,
            query={
                "sessionId": Query.id("session", "Only of this session."),
                "since": Query(Moment, "Only later ones."),
                "before": Query(Moment, "Only earlier ones."),
                "after": Query(int, "Only those with a greater index."),
                "beforeIndex": Query(int, "Only those with a smaller index."),
                "limit": Query(
                    int, f"At most so many, fewer where they are long; {MOST_MESSAGES} is the most."
                ),
            },
            etag=True,
            errors={404: "There is nothing here that you may see."},
        ),
        "message": Operation(
            "Say something to its agent, which starts again if it has ended",
            AgentMessage,
            ins.MessageInput,
            status=201,
            conflicts=("no_session", "agent_stopping"),
        ),
        "send_now": Operation(
            "Send a queued message at once, ending the turn under way",
            AgentMessage,
            conflicts=("message_dropped", "message_sent", "agent_stopping"),
        ),
        "drop": Operation("Drop a queued message", conflicts=("message_sent", "message_sending")),
        "requests": Operation(
            "What it asked people",
            [RequestForAPerson],
            query={
                "state": Query(
                    {"type": "string", "enum": list(AgentRequest.State.values)},
                    "Only those in this state.",
                )
            },
            etag=True,
        ),
        "answer": Operation(
            "Answer a request; the first answer counts",
            RequestForAPerson,
            ins.AnswerInput,
            conflicts=("request_closed",),
        ),
    },
    ProjectAgentsViewSet: {
        "active": Operation("Sessions under way in the project", [ActiveSession], etag=True)
    },
}

EVENTS = {"agent.status": AgentStatusEvent, "agent.request": AgentRequestEvent}
FRAMES = {
    "agent.message": AgentMessage,
    "agent.delta": AgentDelta,
    "agent.activity": AgentActivity,
    "notification": Notification,
}
