from __future__ import annotations

from django.conf import settings
from django.db import models
from django.db.models import Q

from apps.cards.models import Card
from apps.credentials.models import Credential
from apps.runs.models import LIVE, Run, State

# Of one turn, after unclean deaths of the worker.
MOST_RESUMES = 5


class AgentSession(Run):
    """A card's conversation with an agent, over all its attempts (`fence` counts them).

    `agent_session_id` is the agent's own name for it, committed before the first prompt: with it a new
    process can take the conversation up again.
    """

    card = models.ForeignKey(Card, on_delete=models.CASCADE, related_name="sessions")
    column_id = models.PositiveBigIntegerField(null=True)
    column_name = models.CharField(max_length=200, null=True)
    preset = models.CharField(max_length=60, null=True)
    model = models.CharField(max_length=200, null=True)
    permission_mode = models.CharField(max_length=12, default="unattended")
    credential = models.ForeignKey(
        Credential, on_delete=models.SET_NULL, null=True, related_name="+"
    )
    started_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, related_name="+"
    )
    agent_session_id = models.CharField(max_length=300, null=True)
    # The preset of the agent that gave it this name.
    agent_session_preset = models.CharField(max_length=60, null=True)
    # That session doesn't know what was said before it: the next prompt tells.
    handover_due = models.BooleanField(default=False)
    # What a waiting one waits for: {"kind": "plan" | "permission" | "question" | "message" | "limit", …}
    waiting_for = models.JSONField(null=True)
    waiting_since = models.DateTimeField(null=True)
    # Whether the end of the current turn may move the card on (K10).
    advances = models.BooleanField(default=True)
    pid = models.PositiveIntegerField(null=True)
    # How often the worker died in the turn under way; 0 again as soon as an agent runs.
    deaths = models.PositiveSmallIntegerField(default=0)
    input_tokens = models.PositiveBigIntegerField(default=0)
    output_tokens = models.PositiveBigIntegerField(default=0)
    cached_tokens = models.PositiveBigIntegerField(default=0)
    cost_usd = models.FloatField(null=True)
    # What the agent's own conversation has cost so far, by its own account.
    reported_cost_usd = models.FloatField(default=0.0)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        indexes = [
            models.Index(fields=["card", "-id"], name="session_of_card"),
            models.Index(
                fields=["queue_rank", "queue_number", "id"],
                condition=Q(state__in=["queued", "interrupted"]),
                name="session_queue",
            ),
            models.Index(
                fields=["worker_id"], condition=Q(worker_id__isnull=False), name="session_owner"
            ),
            models.Index(fields=["project_id", "state"], name="session_of_project"),
        ]
        constraints = [
            models.UniqueConstraint(
                fields=["card"],
                condition=Q(state__in=[str(state) for state in LIVE], cancel_requested=False),
                name="one_live_session_per_card",
            ),
        ]

    def __str__(self) -> str:
        return f"session {self.pk} of card {self.card_id}"

    @property
    def waits_for_answer(self) -> bool:
        kind = (self.waiting_for or {}).get("kind")
        return self.state == State.WAITING and kind in AgentRequest.Kind.values

    def line_up(self) -> None:
        """Take the last place of its rank in the queue; the session is not saved here.

        Two that line up at the same moment may get one number: then the older session is first.
        """
        queue = AgentSession.objects.filter(
            state__in=(State.QUEUED, State.INTERRUPTED), queue_rank=self.queue_rank
        )
        last = queue.order_by("-queue_number").values_list("queue_number", flat=True).first()
        self.queue_number = 1 if last is None else last + 1


class Turn(models.Model):
    """One prompt: `new` until its bytes are about to leave, then `sent`, which is never sent again."""

    class Kind(models.TextChoices):
        PROMPT = "prompt"
        FOLLOW_UP = "follow_up"

    class State(models.TextChoices):
        NEW = "new"
        SENT = "sent"
        ENDED = "ended"

    session = models.ForeignKey(AgentSession, on_delete=models.CASCADE, related_name="turns")
    kind = models.CharField(max_length=10, choices=Kind.choices, default=Kind.PROMPT)
    text = models.TextField()
    # A message goes only with its session, as the turn does. SET_NULL would have every one of them fetched
    # first, and a constraint would have PostgreSQL look for its turns one by one.
    message = models.ForeignKey(
        "AgentMessage",
        on_delete=models.DO_NOTHING,
        db_constraint=False,
        db_index=False,
        null=True,
        related_name="+",
    )
    state = models.CharField(max_length=6, choices=State.choices, default=State.NEW)
    stop_reason = models.CharField(max_length=40, null=True)
    # How often an unclean death was survived in this turn.
    resumes = models.PositiveSmallIntegerField(default=0)
    resumed_at = models.DateTimeField(null=True)
    # A provider's limit stopped it: how often in a row, and since when.
    limit_tries = models.PositiveSmallIntegerField(default=0)
    limited_since = models.DateTimeField(null=True)
    limited_at = models.DateTimeField(null=True)
    created_at = models.DateTimeField(auto_now_add=True)
    sent_at = models.DateTimeField(null=True)
    ended_at = models.DateTimeField(null=True)

    class Meta:
        indexes = [models.Index(fields=["session", "id"], name="turn_order")]

    def __str__(self) -> str:
        return f"turn {self.pk} of session {self.session_id}"


class AgentMessage(models.Model):
    """A line of a transcript. `index` is gapless within the session; every change has a new `rev`.

    A queued follow-up has no index until it is sent. (fence, ordinal) names the line within the worker's
    own stream: after a commit whose answer was lost, the sink sees by it what is stored already.
    """

    class Role(models.TextChoices):
        USER = "user"
        ASSISTANT = "assistant"
        TOOL = "tool"
        SYSTEM = "system"

    class Queue(models.TextChoices):
        QUEUED = "queued"
        NEXT = "next"
        DROPPED = "dropped"

    # Two constraints below begin with it.
    session = models.ForeignKey(
        AgentSession, on_delete=models.CASCADE, related_name="messages", db_index=False
    )
    index = models.PositiveBigIntegerField(null=True)
    rev = models.PositiveBigIntegerField(default=0)
    role = models.CharField(max_length=10, choices=Role.choices)
    type = models.CharField(max_length=12)
    content = models.TextField(default="")
    tool_call = models.TextField(null=True)
    partial = models.BooleanField(default=False)
    truncated = models.BooleanField(default=False)
    queue = models.CharField(max_length=8, choices=Queue.choices, null=True)
    author = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, related_name="+"
    )
    fence = models.PositiveIntegerField(null=True)
    ordinal = models.PositiveBigIntegerField(null=True)
    turn_id = models.PositiveBigIntegerField(null=True)
    created_at = models.DateTimeField()

    class Meta:
        indexes = [
            models.Index(fields=["session", "rev"], name="message_rev"),
            models.Index(
                fields=["session"], condition=Q(queue__isnull=False), name="message_in_queue"
            ),
        ]
        constraints = [
            models.UniqueConstraint(fields=["session", "index"], name="one_message_per_index"),
            models.UniqueConstraint(
                fields=["session", "fence", "ordinal"],
                condition=Q(ordinal__isnull=False),
                name="one_message_per_line",
            ),
        ]

    def __str__(self) -> str:
        return f"message {self.index} of session {self.session_id}"


class AgentRequest(models.Model):
    """Something a person must decide: a plan, a permission, a question. Open only under a live session.

    `body` holds what was asked, `answer` what was decided: {"optionId", "granted", "text"} for a plan or a
    permission, {"answers"} for a question, {"declined": true} when nobody wants to answer it. `fingerprint`
    tells whether an agent that was started anew asks for the same thing again. `delivered_at` is when the
    agent got the answer: as a reply, in a prompt, or by being asked again.
    """

    class Kind(models.TextChoices):
        PLAN = "plan"
        PERMISSION = "permission"
        QUESTION = "question"

    class State(models.TextChoices):
        OPEN = "open"
        ANSWERED = "answered"
        CANCELLED = "cancelled"
        WITHDRAWN = "withdrawn"

    session = models.ForeignKey(AgentSession, on_delete=models.CASCADE, related_name="requests")
    turn = models.ForeignKey(Turn, on_delete=models.SET_NULL, null=True, related_name="requests")
    kind = models.CharField(max_length=12, choices=Kind.choices)
    state = models.CharField(max_length=10, choices=State.choices, default=State.OPEN)
    fingerprint = models.CharField(max_length=64, default="")
    title = models.TextField(default="")
    body = models.JSONField(default=dict)
    options = models.JSONField(default=list)
    answer = models.JSONField(null=True)
    answered_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, related_name="+"
    )
    answered_at = models.DateTimeField(null=True)
    # When an agent that was started anew was told in a prompt.
    told_at = models.DateTimeField(null=True)
    delivered_at = models.DateTimeField(null=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        indexes = [
            models.Index(fields=["session"], condition=Q(state="open"), name="request_open"),
            models.Index(
                fields=["session"],
                condition=Q(state="answered", delivered_at__isnull=True),
                name="request_undelivered",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.kind} of session {self.session_id}"
