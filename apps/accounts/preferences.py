"""What each person sets for themselves; defaults are laid under what is stored."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Final

from apps.accounts.models import Preferences, User
from apps.common.errors import Invalid
from apps.common.fields import ChoiceField, FlagField, ListField, TextField
from apps.common.serializers import Serializer, camel
from apps.events.bus import atomically

SETTINGS: Final = {
    "theme": "dark",
    "highContrast": False,
    "sidebarExpanded": True,
    "agentReasoning": True,
    "statusLine": True,
    "hiddenToolTypes": [],
}
NOTIFICATIONS: Final = {
    "enabled": True,
    "sound": False,
    "agentCompleted": True,
    "agentFailed": True,
    "agentWaiting": True,
}
MOST_HIDDEN = 500
MOST_SHORTCUTS = 500
_LONGEST = 200


class SettingsInput(Serializer):
    theme = ChoiceField(["light", "dark", "system"], required=False)
    high_contrast = FlagField(required=False)
    sidebar_expanded = FlagField(required=False)
    agent_reasoning = FlagField(required=False)
    status_line = FlagField(required=False)
    hidden_tool_types = ListField(
        child=TextField(max_length=_LONGEST), max_length=MOST_HIDDEN, required=False
    )


class NotificationsInput(Serializer):
    enabled = FlagField(required=False)
    sound = FlagField(required=False)
    agent_completed = FlagField(required=False)
    agent_failed = FlagField(required=False)
    agent_waiting = FlagField(required=False)


def settings_of(user: User) -> dict[str, Any]:
    return {**SETTINGS, **_of(user).settings}


def notifications_of(user: User) -> dict[str, Any]:
    return {**NOTIFICATIONS, **_of(user).notifications}


def wanting(user_ids: Collection[int], key: str) -> list[int]:
    """Those of them who want to be told of what `key` of the notifications stands for. One query."""
    stored = Preferences.objects.filter(user__in=user_ids).values_list("user_id", "notifications")
    theirs = dict(stored)

    def wants(user_id: int) -> bool:
        mine = {**NOTIFICATIONS, **theirs.get(user_id, {})}
        return bool(mine["enabled"] and mine[key])

    return [each for each in user_ids if wants(each)]


def shortcuts_of(user: User) -> dict[str, str]:
    """Action → keys, for those that differ from the defaults, which the page knows."""
    found: dict[str, str] = _of(user).shortcuts
    return found


def _of(user: User) -> Preferences:
    return Preferences.objects.filter(user=user).first() or Preferences(user=user)


@atomically
def merge_settings(user: User, changes: dict[str, Any]) -> dict[str, Any]:
    """`changes` as `SettingsInput` gives them; all the settings, as they are then."""
    mine = _held(user)
    mine.settings.update({camel(name): value for name, value in changes.items()})
    mine.save(update_fields=["settings"])
    return {**SETTINGS, **mine.settings}


@atomically
def merge_notifications(user: User, changes: dict[str, Any]) -> dict[str, Any]:
    mine = _held(user)
    mine.notifications.update({camel(name): value for name, value in changes.items()})
    mine.save(update_fields=["notifications"])
    return {**NOTIFICATIONS, **mine.notifications}


@atomically
def replace_shortcuts(user: User, shortcuts: dict[str, str]) -> dict[str, str]:
    mine = _held(user)
    mine.shortcuts = shortcuts
    mine.save(update_fields=["shortcuts"])
    return shortcuts


def checked_shortcuts(body: Any) -> dict[str, str]:
    """A map of text to text; an empty one takes the action's keys away."""
    if not isinstance(body, dict) or len(body) > MOST_SHORTCUTS:
        raise Invalid(f"Must be an object of at most {MOST_SHORTCUTS} actions and their keys.")
    for action, keys in body.items():
        for text in (action, keys):
            if not isinstance(text, str) or len(text) > _LONGEST or "\0" in text:
                raise Invalid(
                    f"{action[:_LONGEST]!r}: an action and its keys must be text"
                    f' of at most {_LONGEST} characters, like "mod+k"'
                )
    return body


def _held(user: User) -> Preferences:
    """Nobody else changes it until the transaction ends: two that merge at once both count."""
    Preferences.objects.get_or_create(user=user)
    return Preferences.objects.select_for_update().get(user=user)
