"""A person's answer to an agent's request: who was first counts, and the agent goes on.

Answers may come late, twice, at once, or while no worker lives. One conditional UPDATE decides; what the
answer leads to is in the same transaction. A process that still waits gets it as the reply it waits for, a
process that is gone is started anew with a prompt that carries it.
"""

from __future__ import annotations

from textwrap import shorten
from typing import Any

from django.utils import timezone

from apps.accounts.models import User
from apps.agents import entries, followups, requests, sessions, wording
from apps.agents.events import RequestChanged
from apps.agents.models import AgentMessage, AgentRequest, AgentSession
from apps.agents.presets import PresetProblem, preset
from apps.agents.serializers import request_shape
from apps.cards.models import Card
from apps.common.errors import Conflict, Invalid, NotFound
from apps.events import bus
from apps.runs.doorbell import ring
from apps.runs.models import LIVE

GRANTING = ("allow_once", "allow_always")
TOLD = 400
DECLINE = {"optionId": "decline", "name": "Don't answer", "kind": "reject_once"}
Kind = AgentRequest.Kind


@bus.atomically
def answer(card: Card, request_id: int, given: dict[str, Any], *, by: User) -> AgentRequest:
    """Raises Invalid when the answer doesn't fit the request, Conflict when somebody was faster."""
    bus.lock(card.project_id)
    found = AgentRequest.objects.filter(session__card_id=card.pk, pk=request_id).first()
    if found is None:
        raise NotFound("This card has no such request.")
    session = AgentSession.objects.select_for_update(of=("self",), no_key=True).get(
        pk=found.session_id
    )
    outcome = understood(found, given)
    if found.kind == Kind.PLAN and outcome["granted"]:
        outcome["mode"] = mode_after(session, outcome["optionId"])
    now = timezone.now()
    won = AgentRequest.objects.filter(pk=found.pk, state=AgentRequest.State.OPEN).update(
        state=AgentRequest.State.ANSWERED, answer=outcome, answered_by=by, answered_at=now
    )
    found = AgentRequest.objects.select_related("answered_by").get(pk=found.pk)
    found.session = session
    if not won:
        if found.answered_by_id == by.pk and found.answer == outcome:
            return found
        raise Conflict(
            _too_late(found), code="request_closed", details={"request": request_shape(found)}
        )
    entries.add(session, AgentMessage.Role.SYSTEM, "status", _said(found), turn_id=found.turn_id)
    _go_on(session, found)
    bus.publish(RequestChanged(project_id=session.project_id, request=found), by=by.pk)
    return found


def _too_late(request: AgentRequest) -> str:
    if request.state == AgentRequest.State.ANSWERED and request.answered_at is not None:
        when = wording.moment(request.answered_at)
        return f"This was answered already, on {when}: {shorten(_said(request), TOLD)}"
    if request.state == AgentRequest.State.WITHDRAWN:
        return "The agent went on without an answer; nothing waits for one any more."
    return "The work that asked this was stopped; nothing waits for an answer any more."


def _said(request: AgentRequest) -> str:
    """What the transcript says of the decision."""
    who = request.answered_by.display_name if request.answered_by else "Somebody"
    answer = request.answer or {}
    if request.kind == Kind.QUESTION:
        if answer.get("declined"):
            return f"{who} did not answer: {request.title}"
        values = requests.named(request, answer["answers"]).values()
        return f"{who} answered “{request.title}”: {'; '.join(map(str, values))}"
    if answer.get("text"):
        return f"{who} sent “{request.title}” back: {answer['text']}"
    chosen = next(
        (each["name"] for each in request.options if each["optionId"] == answer["optionId"]), "?"
    )
    return f"{who} chose “{chosen}” for “{request.title}”"


def _go_on(session: AgentSession, request: AgentRequest) -> None:
    """Out of `waiting`, once nothing else is open. The session is locked."""
    if session.state not in LIVE or session.cancel_requested:
        return
    answer = request.answer or {}
    ends_turn = False
    if request.kind == Kind.PLAN:
        if answer["granted"]:
            session.permission_mode = answer["mode"]
        else:
            ends_turn = True
            if answer.get("text"):
                followups.put_next(session, answer["text"], by=request.answered_by_id)
    left = requests.open_of(session).first()
    if left is not None and not ends_turn:
        session.waiting_for = requests.waiting_for(left)
        session.save()
        sessions.changed(session)
        return
    if ends_turn:
        # A refused plan ends its turn; what else that turn asked is nobody's question any more.
        requests.close_open(session, AgentRequest.State.WITHDRAWN)
    if session.worker_id is not None:
        # Its process, if it lives, gets the reply; if it doesn't, its session is started anew.
        session.queue_rank = 0
        sessions.works_on(session)
        ring()
        return
    if ends_turn and not answer.get("text"):
        sessions.end_turns(session, "refused")
        sessions.wait_for_message(session)
        return
    if ends_turn:
        sessions.end_turns(session, "refused")
    sessions.queue_at_head(session)


def mode_after(session: AgentSession, option_id: str) -> str:
    """The mode in which the work goes on after the plan's approval, as the chosen option says."""
    try:
        known = preset(session.preset or "")
    except PresetProblem:
        known = None
    options = known.plan_options if known else {}
    return next((mode for mode, ids in options.items() if option_id in ids), "unattended")


def understood(request: AgentRequest, given: dict[str, Any]) -> dict[str, Any]:
    """The answer as it is stored; raises Invalid with what the request wants."""
    if request.kind == Kind.QUESTION:
        return _question(request, given)
    if "answers" in given:
        raise Invalid(
            f"A {request.kind} is answered with optionId"
            + (" or text (what to change)." if request.kind == Kind.PLAN else ".")
        )
    text = str(given.get("text") or "").strip()
    if request.kind == Kind.PERMISSION and text:
        raise Invalid("A permission is answered with optionId alone; to say more, send a message.")
    option_id = given.get("option_id")
    if option_id is None and text:
        option_id = _refusal(request)
    option = next((each for each in request.options if each["optionId"] == option_id), None)
    if option is None:
        known = ", ".join(each["optionId"] for each in request.options)
        raise Invalid(f"optionId must be one of: {known}.")
    granted = option["kind"] in GRANTING
    if granted and text:
        raise Invalid(
            "Text goes with a refusal, as what to change. To add something to an approval, approve and"
            " send a message."
        )
    return {"optionId": option["optionId"], "granted": granted, "text": text or None}


def _refusal(request: AgentRequest) -> str | None:
    return next(
        (each["optionId"] for each in request.options if each["kind"] not in GRANTING), None
    )


def _question(request: AgentRequest, given: dict[str, Any]) -> dict[str, Any]:
    questions: list[dict[str, Any]] = request.body.get("questions") or []
    option_id = given.get("option_id")
    if option_id is not None:
        if option_id != DECLINE["optionId"]:
            raise Invalid(f"optionId of a question can only be: {DECLINE['optionId']}.")
        return {"declined": True}
    answers = given.get("answers")
    text = str(given.get("text") or "").strip()
    if answers is None and text:
        answers = _from_text(questions, text)
    if not answers:
        ids = ", ".join(each["id"] for each in questions)
        raise Invalid(
            f"A question is answered with answers (by: {ids}), text, or optionId decline."
        )
    known = {each["id"]: each for each in questions}
    for key, value in answers.items():
        if key not in known:
            raise Invalid(f"There is no question “{key}”; there are: {', '.join(known)}.")
        _check(known[key], value)
    missing = [each["id"] for each in questions if each["required"] and each["id"] not in answers]
    if missing:
        raise Invalid(f"These need an answer: {', '.join(missing)}.")
    return {"answers": answers}


def _from_text(questions: list[dict[str, Any]], text: str) -> dict[str, Any]:
    """Free text goes to the only question, or to the field for an answer of one's own."""
    free = [each for each in questions if each["type"] == "string" and not each["options"]]
    if len(free) != 1:
        raise Invalid("There are several questions; answer each by its id, in answers.")
    return {free[0]["id"]: text}


def _check(question: dict[str, Any], value: Any) -> None:
    kind, options = question["type"], [each["value"] for each in question["options"]]
    values = value if kind == "array" and isinstance(value, list) else [value]
    fits = {
        "boolean": lambda: isinstance(value, bool),
        "integer": lambda: isinstance(value, int) and not isinstance(value, bool),
        "number": lambda: isinstance(value, int | float) and not isinstance(value, bool),
        "array": lambda: isinstance(value, list) and all(isinstance(each, str) for each in value),
    }.get(kind, lambda: isinstance(value, str))()
    if not fits:
        words = {
            "array": "a list of texts",
            "boolean": "true or false",
            "integer": "a whole number",
        }
        raise Invalid(f"The answer to “{question['id']}” must be {words.get(kind, f'a {kind}')}.")
    if options and any(each not in options for each in values):
        raise Invalid(f"The answer to “{question['id']}” must be one of: {', '.join(options)}.")
