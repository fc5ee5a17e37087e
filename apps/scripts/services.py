"""What people set up: scripts by name, command and place. Running them is in `runs`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.db.models import F

from apps.common.errors import Conflict
from apps.common.ordering import arranged
from apps.events import bus
from apps.scripts import runs
from apps.scripts.events import ScriptCreated, ScriptDeleted, ScriptsReordered, ScriptUpdated
from apps.scripts.models import Script
from apps.scripts.selectors import fresh

MOST_SCRIPTS = 200


@bus.atomically
def create_script(project_id: int, *, name: str, command: str, by: int) -> Script:
    bus.lock(project_id)
    place = Script.objects.filter(project_id=project_id).count()
    if place >= MOST_SCRIPTS:
        raise Conflict(
            f"A project may have {MOST_SCRIPTS} scripts; delete one first.", code="too_many_scripts"
        )
    script = Script.objects.create(
        project_id=project_id, name=name, command=command, position=place
    )
    bus.publish(ScriptCreated(project_id=project_id, script=script), by=by)
    return script


@bus.atomically
def update_script(script: Script, *, by: int, **changes: Any) -> Script:
    """`changes`: name, command. A run under way keeps the command that it was started with."""
    bus.lock(script.project_id)
    script = fresh(script)
    changed = [name for name, value in changes.items() if getattr(script, name) != value]
    if not changed:
        return script
    for name in changed:
        setattr(script, name, changes[name])
    script.save(update_fields=[*changed, "updated_at"])
    bus.publish(ScriptUpdated(project_id=script.project_id, script=script), by=by)
    return script


@bus.atomically
def delete_script(script: Script, *, by: int) -> None:
    """What runs of it is cancelled: it gets five seconds, and nobody hears of it any more."""
    bus.lock(script.project_id)
    script = fresh(script)
    project_id, script_id = script.project_id, script.pk
    runs.let_go(project_id=project_id, script_id=script_id)
    script.delete()
    behind = Script.objects.filter(project_id=project_id, position__gt=script.position)
    behind.update(position=F("position") - 1)
    bus.publish(ScriptDeleted(project_id=project_id, script_id=script_id), by=by)


@bus.atomically
def reorder_scripts(project_id: int, ids: Sequence[int], *, by: int) -> list[Script]:
    """All scripts in their new order: the listed ones first, the others behind as they stood."""
    bus.lock(project_id)
    in_order = Script.objects.filter(project_id=project_id).order_by("position", "pk")
    ordered, changed = arranged("script", in_order, ids, stranger="this project has no script")
    if changed:
        Script.objects.bulk_update(changed, ["position"])
        event = ScriptsReordered(project_id=project_id, script_ids=[each.pk for each in ordered])
        bus.publish(event, by=by)
    return ordered
