"""Reading transcripts as the socket sends them."""

from __future__ import annotations

from dataclasses import dataclass

from django.db.models import Q

from apps.agents.models import AgentMessage, AgentSession, Turn
from apps.agents.serializers import message_frame
from apps.common.paging import page_up_to
from apps.runs.lines import PAGE, Lines, Page

_TEXTS = ("content", "tool_call")


class Transcripts(Lines):
    model = AgentSession

    def after_rev(self, run_id: int, rev: int, *, limit: int) -> tuple[list[tuple[int, str]], bool]:
        rows = AgentMessage.objects.filter(session_id=run_id, rev__gt=rev)
        found, more = page_up_to(rows, "rev", *_TEXTS, limit=limit)
        return [(row.rev, message_frame(row)) for row in found], more

    def part(self, run_id: int, after: int | None, rev: int) -> TranscriptPart:
        last_turn: int | None = None
        if after is not None:
            # Not the youngest: a message to be sent now overtakes a task that hasn't left.
            sent = Turn.objects.filter(session_id=run_id, sent_at__isnull=False)
            last_turn = sent.order_by("-sent_at", "-pk").values_list("pk", flat=True).first()
        return TranscriptPart(run_id, rev, after, last_turn)


@dataclass(frozen=True)
class TranscriptPart:
    """Everything, or with `after` what comes behind that index, and of what comes before it the messages of
    the last turn, which may have changed it.
    """

    session_id: int
    rev: int
    after: int | None
    last_turn: int | None

    def page(self, last: int) -> Page:
        stored = AgentMessage.objects.filter(session_id=self.session_id, rev__lte=self.rev)
        rows = stored.filter(index__isnull=False, index__gt=last)
        if self.after is not None:
            rows = rows.filter(
                Q(index__gt=self.after) | Q(turn_id=self.last_turn, turn_id__isnull=False)
            )
        found, more = page_up_to(rows, "index", *_TEXTS, limit=PAGE)
        if not more:
            found += stored.filter(index=None).order_by("id")
        return Page([(row.index, message_frame(row)) for row in found], more)
