"""What a new board begins with: the templates that come with the product.

Their rows are written after every migration, so an upgrade brings new wording to boards made from then on.
"""

from __future__ import annotations

from typing import NotRequired, TypedDict

from apps.boards.models import ColumnType

MAIN_BOARD = "Main Board"


class ColumnPlan(TypedDict):
    """A column to be, as templates store and show it."""

    name: str
    columnType: str
    prompt: NotRequired[str]


DEFAULT: list[ColumnPlan] = [
    {"name": "Backlog", "columnType": ColumnType.BACKLOG.value},
    {"name": "In Progress", "columnType": ColumnType.ACTIVE.value},
    {"name": "Done", "columnType": ColumnType.DONE.value},
]

_PLAN = """\
Work out how to do this task; change no code yet.

Read what it touches: the code, its tests, its documentation. Then write `PLAN.md` at the top of the \
repository: what to change and where, in which order, how it will be tested, and what could go wrong. If \
something can only be decided by a person, say so at its beginning."""

_IMPLEMENT = """\
Carry out the plan in `PLAN.md`, if there is one.

Keep to the style of the code around. Add or change the tests that show that it works, run them, and make \
them pass. Where you leave the plan, write the reason into `PLAN.md`."""

_REVIEW = """\
Review the changes on this branch as somebody who has not written them.

Look at the whole diff against the branch it began from and hold it against the task and `PLAN.md`: errors, \
cases that were forgotten, missing tests, things that belong to no part of the task. Mend what you find and \
run the tests again. Remove `PLAN.md` at the end, and say in a few sentences what was done and what a person \
should look at."""

# By the key that their rows are known by.
BUILT_IN: dict[str, tuple[str, list[ColumnPlan]]] = {
    "default": ("Kanban Default", DEFAULT),
    "plan-implement-review": (
        "Plan, Implement, Review",
        [
            {"name": "Backlog", "columnType": ColumnType.BACKLOG.value},
            {"name": "Plan", "columnType": ColumnType.ACTIVE.value, "prompt": _PLAN},
            {"name": "Implement", "columnType": ColumnType.ACTIVE.value, "prompt": _IMPLEMENT},
            {"name": "Review", "columnType": ColumnType.ACTIVE.value, "prompt": _REVIEW},
            {"name": "Done", "columnType": ColumnType.DONE.value},
        ],
    ),
}
