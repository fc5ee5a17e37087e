"""Turns: what is sent next, and the text of it.

A turn is `new` until its bytes are about to leave and `sent` from then on; a sent one is never sent again.
After a crash its work is taken up with a text that says so.
"""

from __future__ import annotations

from dataclasses import dataclass

from django.db.models import Case, IntegerField, Q, QuerySet, Value, When
from django.utils import timezone

from apps.agents import entries, requests
from apps.agents.models import AgentMessage, AgentRequest, AgentSession, Turn
from apps.cards import attachments
from apps.cards.models import Card
from apps.cards.pipelines import instruction_of
from apps.events import bus
from apps.runs.kinds import Claim

REMEMBERED = 2_000
RULE = "\n\n---\n\n"
INTERRUPTED = (
    "Your work on the following was interrupted by a restart. Parts of it may be done already, also the"
    " last command you ran. Look at the working directory first, then finish what is left. Do not start"
    " over."
)
LIMITED = (
    "Your work on the following was stopped by the model provider's limit, which is over now. Parts of it"
    " may be done already, also the last command you ran. Look at the working directory first, then go"
    " on where you stopped; do not start over."
)


@dataclass(frozen=True)
class Prompt:
    """What a turn says. `note`: it was said before and is taken up again; why, and what to do first."""

    turn_id: int
    words: str
    is_task: bool
    note: str | None = None

    @property
    def text(self) -> str:
        """For an agent that knows the conversation, so that it need only be reminded of words it has got."""
        return self.words if self.note is None else f"{self.note}\n\n---\n{_start(self.words)}"


class NotOurs(Exception):
    """The row has another fence: somebody else owns the run, write nothing."""


class Over(Exception):
    """The turn has nothing left to do: its plan was refused while nobody worked on it."""

    def __init__(self, turn_id: int) -> None:
        super().__init__(turn_id)
        self.turn_id = turn_id


def owned(claim: Claim) -> AgentSession:
    """The session, locked, if the claim still holds; raises NotOurs."""
    session = (
        AgentSession.objects.select_for_update(of=("self",), no_key=True)
        .filter(pk=claim.run_id, fence=claim.fence, worker_id=claim.worker_id)
        .first()
    )
    if session is None:
        raise NotOurs(claim.wire_id)
    return session


def locked(claim: Claim) -> AgentSession:
    """Stream first, then the session."""
    project_id = (
        AgentSession.objects.filter(pk=claim.run_id).values_list("project_id", flat=True).first()
    )
    if project_id is None:
        raise NotOurs(claim.wire_id)
    bus.lock(project_id)
    return owned(claim)


def still_owned(claim: Claim) -> bool:
    """Whether the session that the claim still holds is asked to cancel; raises NotOurs."""
    row = (
        AgentSession.objects.filter(pk=claim.run_id, fence=claim.fence, worker_id=claim.worker_id)
        .values_list("cancel_requested", flat=True)
        .first()
    )
    if row is None:
        raise NotOurs(claim.wire_id)
    return row


@bus.atomically
def begin(claim: Claim) -> Prompt | None:
    """Commit that the next prompt is about to leave, and give its text; None when nothing waits.

    Raises NotOurs, and Over when the turn's plan was refused.
    """
    session = locked(claim)
    turn = upcoming(session)
    if turn is None:
        return None
    if turn.state == Turn.State.SENT:
        return _resumed(session, turn)
    if turn.kind == Turn.Kind.PROMPT and not turn.text:
        turn.text = first_prompt(session.card)
    if turn.message is None:
        turn.message = entries.add(
            session, AgentMessage.Role.USER, "text", turn.text, turn_id=turn.pk
        )
    elif turn.message.queue is not None:
        _take_from_queue(session, turn, turn.message)
    turn.state = Turn.State.SENT
    turn.sent_at = timezone.now()
    turn.save()
    return _prompt(turn)


def _prompt(turn: Turn, note: str | None = None) -> Prompt:
    return Prompt(turn.pk, turn.text, turn.kind == Turn.Kind.PROMPT, note)


def upcoming(session: AgentSession) -> Turn | None:
    """The turn under way or about to begin; the session is locked.

    One that is `new` stays so until its prompt leaves, whatever fails before; its message keeps its place
    in the queue meanwhile, so that it can still be dropped, overtaken or carried to another session.
    """
    following = (
        AgentMessage.objects.filter(session=session, queue=AgentMessage.Queue.NEXT)
        .values_list("pk", flat=True)
        .first()
    )
    for turn in open_turns(session).select_related("message"):
        if turn.state == Turn.State.SENT:
            if following is None:
                return turn
            _end(turn)
        elif turn.kind == Turn.Kind.FOLLOW_UP and not _still_queued(session, turn):
            _end(turn)
        elif following is None or turn.message_id == following:
            return turn
    return _from_queue(session)


def open_turns(session: AgentSession) -> QuerySet[Turn]:
    """The one under way first (a message to be sent now overtakes what hasn't left), then the oldest."""
    under_way = Case(When(state=Turn.State.SENT, then=0), default=1, output_field=IntegerField())
    open_ones = Turn.objects.filter(session=session).exclude(state=Turn.State.ENDED)
    return open_ones.order_by(under_way, "id")


def _still_queued(session: AgentSession, turn: Turn) -> bool:
    message = turn.message
    return (
        message is not None
        and message.session_id == session.pk
        and message.queue in (AgentMessage.Queue.NEXT, AgentMessage.Queue.QUEUED)
    )


def _end(turn: Turn) -> None:
    turn.state, turn.stop_reason = Turn.State.ENDED, "cancelled"
    turn.ended_at = timezone.now()
    turn.save(update_fields=["state", "stop_reason", "ended_at"])


def _resumed(session: AgentSession, turn: Turn) -> Prompt:
    """A turn that was begun by another process: crashed, parked, or stopped by a limit."""
    if requests.refused_plan(turn.pk) is not None:
        raise Over(turn.pk)
    decided = requests.decisions(turn.pk)
    if decided:
        said = "The agent was started again and told what was decided."
        note = decided_note(decided)
    elif turn.limit_tries:
        said = "The agent goes on after the provider's limit."
        note = LIMITED
    else:
        said = (
            "The work was interrupted; the agent was asked to look at what is done and to finish."
        )
        note = INTERRUPTED
    entries.add(session, AgentMessage.Role.SYSTEM, "status", said, turn_id=turn.pk)
    return _prompt(turn, note)


def _from_queue(session: AgentSession) -> Turn | None:
    """The next follow-up becomes a turn."""
    message = (
        AgentMessage.objects.filter(
            session=session, queue__in=[AgentMessage.Queue.NEXT, AgentMessage.Queue.QUEUED]
        )
        .order_by(
            Case(
                When(queue=AgentMessage.Queue.NEXT, then=Value(0)),
                default=Value(1),
                output_field=IntegerField(),
            ),
            "id",
        )
        .first()
    )
    if message is None:
        return None
    return Turn.objects.create(
        session=session, kind=Turn.Kind.FOLLOW_UP, text=message.content, message=message
    )


def _take_from_queue(session: AgentSession, turn: Turn, message: AgentMessage) -> None:
    """Its prompt leaves: the message gets its place in the transcript."""
    if session.agent_session_id is None or not _was_told(session):
        turn.text = with_task(session.card, message.content)
    message.index, message.rev = entries.number(session.pk, indexes=1, revs=1)
    message.queue = None
    message.turn_id = turn.pk
    message.save(update_fields=["index", "rev", "queue", "turn_id"])
    entries.tell_after_commit(message)


def any_sent(session: AgentSession) -> bool:
    return Turn.objects.filter(session=session, sent_at__isnull=False).exists()


def _was_told(session: AgentSession) -> bool:
    """Whether the agent knows of the card, or is about to be told: a task that is cancelled before it is sent
    isn't sent later, but a message about it would mean nothing without it.
    """
    turns = Turn.objects.filter(session=session)
    return turns.filter(
        Q(sent_at__isnull=False) | Q(kind=Turn.Kind.PROMPT, state=Turn.State.NEW)
    ).exists()


def first_prompt(card: Card) -> str:
    """The task (title and prompt), the step's instruction (the card's own, else the column's), its files."""
    parts = [f"# {card.title}"]
    if card.prompt.strip():
        parts.append(card.prompt.strip())
    instruction = (instruction_of(card) or "").strip()
    if instruction:
        parts.append(f"## What to do in this step ({card.column.name})\n\n{instruction}")
    files = [
        f"- {each.path} ({each.filename}, {each.content_type}, {each.size:,} bytes)"
        for each in attachments.listed(card.pk)
    ]
    if files:
        parts.append("## Attached files, to be read where they lie\n\n" + "\n".join(files))
    return "\n\n".join(parts)


def with_task(card: Card, text: str) -> str:
    """For whoever doesn't know the card: a message about it would mean nothing by itself."""
    task = first_prompt(card)
    return text if text.startswith(task) else f"{task}{RULE}{text}"


def _start(text: str) -> str:
    return text[:REMEMBERED] + ("…" if len(text) > REMEMBERED else "")


def decided_note(decided: list[tuple[AgentRequest, bool]]) -> str:
    """For an agent whose process is gone: what people decided meanwhile, and what it was all about."""
    said = "\n\n".join(requests.as_text(each, heard=heard) for each, heard in decided)
    return (
        "You stopped while you waited for a person, and were started again. What was decided:\n\n"
        f"{said}\n\nParts of your work may be done already; look at the working directory, then go on"
        " from there. It was about the following:"
    )


def handover_text(session: AgentSession, prompt: Prompt) -> str:
    """For an agent that can't take its old conversation up again: what was said last, the task, the prompt.

    All of it: there is nobody to be reminded of anything.
    """
    said = (
        AgentMessage.objects.filter(session=session, role=AgentMessage.Role.ASSISTANT, type="text")
        .order_by("-index")
        .values_list("content", flat=True)[:3]
    )
    parts = [prompt.words if prompt.is_task else with_task(session.card, prompt.words)]
    if prompt.note is not None:
        parts.insert(0, prompt.note)
    if said:
        history = "\n\n".join(reversed([text[-REMEMBERED:] for text in said]))
        parts.insert(
            0,
            "You are taking over from an earlier conversation that can't be opened any more. Its last words"
            f" were:\n\n{history}",
        )
    return RULE.join(parts)
