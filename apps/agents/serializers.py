"""Shapes of sessions and messages; REST, events and the transcript's socket share them."""

from __future__ import annotations

from typing import Any, TypedDict

import orjson
from rest_framework.serializers import DictField, Field, ValidationError

from apps.agents import wording
from apps.agents.models import AgentMessage, AgentRequest, AgentSession
from apps.common import serializers
from apps.common.envelope import dumps
from apps.common.fields import TextField
from apps.common.ids import optional_id, public_id
from apps.common.shapes import CardId, ColumnId, Moment, SessionId
from apps.common.times import iso
from apps.runs.sink import Line

MESSAGE_LIMIT = 100_000
ANSWER_LIMIT = 20_000
MOST_CHOICES = 100
MOST_ANSWERS = 50
_ANSWER = TextField(max_length=ANSWER_LIMIT, allow_blank=True)


class ErrorShape(TypedDict):
    code: str
    message: str


class SessionShape(TypedDict):
    sessionId: SessionId
    cardId: CardId
    status: str
    waitingFor: dict[str, Any] | None
    columnId: ColumnId | None
    columnName: str | None
    agent: str | None
    model: str | None
    startedAt: Moment | None
    endedAt: Moment | None
    createdAt: Moment | None
    error: ErrorShape | None
    statusText: str | None
    queueReason: str | None
    cancelRequested: bool
    inputTokens: int
    outputTokens: int
    cachedTokens: int
    costUsd: float | None


def session_shape(
    session: AgentSession, *, silent: bool = False, full: bool = False
) -> SessionShape:
    """`silent`: its worker gives no sign of life. `full`: the disk is."""
    error: ErrorShape | None = None
    if session.error_code:
        error = {"code": session.error_code, "message": session.error_message or ""}
    return {
        "sessionId": public_id("session", session.pk),
        "cardId": public_id("card", session.card_id),
        "status": session.state,
        "waitingFor": session.waiting_for,
        "columnId": optional_id("column", session.column_id),
        "columnName": session.column_name,
        "agent": session.preset,
        "model": session.model,
        "startedAt": iso(session.started_at),
        "endedAt": iso(session.ended_at),
        "createdAt": iso(session.created_at),
        "error": error,
        "statusText": wording.sentence(session, silent=silent, full=full),
        "queueReason": session.queue_reason,
        "cancelRequested": session.cancel_requested,
        "inputTokens": session.input_tokens,
        "outputTokens": session.output_tokens,
        "cachedTokens": session.cached_tokens,
        "costUsd": session.cost_usd,
    }


def request_shape(row: AgentRequest) -> dict[str, Any]:
    """Needs `session` and `answered_by`."""
    person = row.answered_by
    return {
        "id": public_id("request", row.pk),
        "sessionId": public_id("session", row.session_id),
        "cardId": public_id("card", row.session.card_id),
        "kind": row.kind,
        "state": row.state,
        "title": row.title,
        "plan": row.body.get("plan"),
        "toolCall": row.body.get("toolCall"),
        "questions": row.body.get("questions"),
        "options": row.options,
        "answer": row.answer,
        "answeredBy": person and {"id": public_id("user", person.pk), "name": person.display_name},
        "answeredAt": iso(row.answered_at),
        "deliveredAt": iso(row.delivered_at),
        "createdAt": iso(row.created_at),
    }


def message_shape(row: AgentMessage) -> dict[str, Any]:
    return {
        "id": public_id("message", row.pk),
        "sessionId": public_id("session", row.session_id),
        "index": row.index,
        "rev": row.rev,
        "role": row.role,
        "type": row.type,
        "content": row.content,
        "toolCall": orjson.loads(row.tool_call) if row.tool_call else None,
        "partial": row.partial,
        "truncated": row.truncated,
        "queued": row.queue in (AgentMessage.Queue.QUEUED, AgentMessage.Queue.NEXT),
        "dropped": row.queue == AgentMessage.Queue.DROPPED,
        "createdAt": iso(row.created_at),
    }


def message_frame(row: AgentMessage) -> str:
    data = dumps(message_shape(row)).decode()
    return f'{{"type":"agent.message","data":{data}}}'


def line_frame(run_id: int, message_id: int, index: int, rev: int, line: Line) -> str:
    """The same frame as `message_frame`, from a line that was just stored."""
    session = public_id("session", run_id)
    return (
        f'{{"type":"agent.message","data":{{"id":"{public_id("message", message_id)}"'
        f',"sessionId":"{session}","index":{index},"rev":{rev},"role":"{line.role}"'
        f',"type":"{line.type}","content":{dumps(line.content).decode()}'
        f',"toolCall":{line.tool_call or "null"},"partial":{_truth(line.partial)}'
        f',"truncated":{_truth(line.truncated)},"queued":false,"dropped":false'
        f',"createdAt":"{iso(line.created_at)}"}}}}'
    )


def _truth(value: bool) -> str:  # noqa: FBT001 - written into JSON
    return "true" if value else "false"


class MessageInput(serializers.Serializer):
    content = TextField(max_length=MESSAGE_LIMIT)


class AnswerField(Field[Any, Any, Any, Any]):
    """What a form can hold: text, a number, true or false, or several texts."""

    def to_internal_value(self, data: Any) -> Any:
        if isinstance(data, list):
            return [_ANSWER.run_validation(each) for each in data[:MOST_CHOICES]]
        if isinstance(data, bool | int | float):
            if not -(1 << 63) <= data < 1 << 63:
                raise ValidationError("must be a number of 64 bits")
            return data
        return _ANSWER.run_validation(data)

    def to_representation(self, value: Any) -> Any:
        return value


class AnswerInput(serializers.Serializer):
    """One of them, as the request's kind wants it; what fits is decided where the request is known."""

    option_id = TextField(required=False, max_length=300)
    answers = DictField(child=AnswerField(), required=False)
    text = TextField(required=False, max_length=MESSAGE_LIMIT)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if len(attrs.get("answers") or {}) > MOST_ANSWERS:
            raise ValidationError({"answers": f"must be at most {MOST_ANSWERS}"})
        return attrs
