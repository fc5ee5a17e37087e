"""A run's output, as it is stored by the sink and as it is read again for those who watch."""

from __future__ import annotations

from dataclasses import dataclass

from apps.common.paging import page_up_to
from apps.events.telling import RUN_CHANNEL
from apps.runs.lines import PAGE, Lines, Page
from apps.runs.sink import Line
from apps.scripts.models import ScriptOutput, ScriptRun
from apps.scripts.serializers import output_frame


class ScriptLines:
    """Where the sink puts a script's output."""

    run_table = "scripts_scriptrun"
    line_table = "scripts_scriptoutput"
    foreign_key = "run_id"
    columns: tuple[str, ...] = (
        "index",
        "rev",
        "content",
        "truncated",
        "fence",
        "ordinal",
        "created_at",
    )
    channel = RUN_CHANNEL

    def frame(self, run_id: int, message_id: int, index: int, rev: int, line: Line) -> str:
        return output_frame(
            run_id,
            index=index,
            rev=rev,
            content=line.content,
            truncated=line.truncated,
            created_at=line.created_at,
        )


def _frame(row: ScriptOutput) -> str:
    return output_frame(
        row.run_id,
        index=row.index,
        rev=row.rev,
        content=row.content,
        truncated=row.truncated,
        created_at=row.created_at,
    )


class Outputs(Lines):
    model = ScriptRun

    def after_rev(self, run_id: int, rev: int, *, limit: int) -> tuple[list[tuple[int, str]], bool]:
        rows = ScriptOutput.objects.filter(run_id=run_id, rev__gt=rev)
        found, more = page_up_to(rows, "rev", "content", limit=limit)
        return [(row.rev, _frame(row)) for row in found], more

    def part(self, run_id: int, after: int | None, rev: int) -> OutputPart:
        return OutputPart(run_id, rev, -1 if after is None else after)


@dataclass(frozen=True)
class OutputPart:
    run_id: int
    rev: int
    after: int

    def page(self, last: int) -> Page:
        rows = ScriptOutput.objects.filter(
            run_id=self.run_id, rev__lte=self.rev, index__gt=max(self.after, last)
        )
        found, more = page_up_to(rows, "index", "content", limit=PAGE)
        return Page([(row.index, _frame(row)) for row in found], more)
