"""What is read of scripts and their runs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from apps.common.errors import NotFound
from apps.runs import waiting
from apps.scripts.models import Script, ScriptOutput, ScriptRun

SHOWN_BYTES = 65_536


def fresh(script: Script) -> Script:
    """As it stands; asked once the project is locked."""
    found = Script.objects.filter(pk=script.pk).first()
    if found is None:
        raise NotFound("Somebody has just deleted this script.")
    return found


@dataclass(frozen=True)
class Standing:
    """A script's last run, if there was any, and the end of what it has printed."""

    script_id: int
    run: ScriptRun | None
    output: str


def standings(scripts: Iterable[Script]) -> list[Standing]:
    """One for each of the scripts; three queries at most."""
    ids = [script.pk for script in scripts]
    # The run before may still be there, as long as its processes are.
    rows = ScriptRun.objects.filter(script_id__in=ids).order_by("pk")
    last = {run.script_id: run for run in rows}
    pieces: defaultdict[int, list[str]] = defaultdict(list)
    if last:
        output = ScriptOutput.objects.filter(run_id__in=[run.pk for run in last.values()])
        for run_id, content in output.order_by("run_id", "index").values_list("run_id", "content"):
            pieces[run_id].append(content)
        waiting.explain(last.values())
    found = ((pk, last.get(pk)) for pk in ids)
    return [Standing(pk, run, _end(pieces[run.pk] if run else [])) for pk, run in found]


def _end(pieces: list[str]) -> str:
    text = "".join(pieces)
    data = text.encode()
    return text if len(data) <= SHOWN_BYTES else data[-SHOWN_BYTES:].decode(errors="ignore")
