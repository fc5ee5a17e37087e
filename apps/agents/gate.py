"""The one gate that decides whether a card may start (X6), and which agent and key it would use.

Asked in the transaction of the move, and again by the claim. A card that may not start is deferred with a
sentence that says what to do; what only holds it up for a while (limits) keeps its session queued instead.
"""

from __future__ import annotations

from dataclasses import dataclass

from apps.agents.presets import BUILTIN, Preset, PresetProblem, all_presets, default_for
from apps.cards import gate as cards_gate
from apps.cards.models import Card
from apps.common.errors import Conflict, Invalid
from apps.credentials.resolution import Usable, resolve
from apps.credentials.sealing import CannotUnseal
from apps.projects import commits
from apps.projects.models import PermissionMode


@dataclass(frozen=True)
class Obstacle:
    code: str
    message: str


@dataclass(frozen=True)
class Equipment:
    """What a session of the card would run with."""

    preset: Preset
    credential: Usable | None
    model: str | None
    permission_mode: str


def _candidates(card: Card) -> list[int | None]:
    project = card.project
    organization = project.organization
    return [
        card.credential_id,
        project.credential_id,
        organization.default_credential_id if organization else None,
    ]


def equip(card: Card) -> Equipment | Obstacle:
    """The agent and the key for the card. Decrypts the key: not for lists."""
    try:
        usable = resolve(_candidates(card))
    except CannotUnseal as problem:
        return Obstacle("credential_unreadable", str(problem))
    wanted = card.project.agent
    try:
        presets = all_presets()
        chosen = (
            presets.get(wanted) if wanted else default_for(usable.provider) if usable else BUILTIN
        )
    except PresetProblem as problem:
        return Obstacle("bad_presets", f"The operator's agent presets can't be read: {problem}")
    if chosen is None and wanted:
        known = ", ".join(sorted(presets))
        return Obstacle(
            "unknown_agent",
            f"The project names the agent “{wanted}”, which doesn't exist here; there are: {known}.",
        )
    if chosen is None:
        return Obstacle(
            "no_agent",
            f"There is no agent for a credential of {usable.provider if usable else '?'};"
            " choose another credential or name an agent in the project's settings.",
        )
    mode = card.permission_mode or card.column.permission_mode or card.project.permission_mode
    if mode != PermissionMode.UNATTENDED and mode not in chosen.modes:
        offered = ", ".join(dict.fromkeys(["unattended", *chosen.modes]))
        return Obstacle(
            "mode_unsupported",
            f"The agent “{chosen.name}” has no permission mode “{mode}”; it has: {offered}. Choose one of"
            " them for the card, its column or the project, then activate the card.",
        )
    if not chosen.needs_credential:
        return Equipment(chosen, usable, card.project.model, mode)
    if usable is None:
        return NO_CREDENTIAL
    if chosen.providers and usable.provider not in chosen.providers:
        return Obstacle(
            "wrong_credential",
            f"The agent “{chosen.name}” can't use a credential of {usable.provider};"
            f" it takes: {', '.join(chosen.providers)}.",
        )
    return Equipment(chosen, usable, card.project.model or usable.model, mode)


NO_COMMITS = Obstacle(
    "no_commits",
    "The repository has no commits yet, so there is nothing to start from. Make the first commit, then"
    " activate the card (POST …/cards/<id>/activate).",
)
NO_CREDENTIAL = Obstacle(
    "no_credential",
    "No API key for this card: store a credential and choose it for the card or the project,"
    " then activate the card (POST …/cards/<id>/activate).",
)


def require_known(agent: str | None) -> None:
    """Raises Invalid for an agent that a project can't name here."""
    try:
        known = sorted(all_presets())
    except PresetProblem as problem:
        raise Conflict(
            f"The operator's agent presets can't be read: {problem}", code="bad_presets"
        ) from None
    if agent is not None and agent not in known:
        raise Invalid(f"agent: there is no agent “{agent}” here; there are: {', '.join(known)}.")


def examine(card: Card) -> Equipment | Obstacle:
    """Why the card may not start, else with what. A few queries; fit for the transaction of a move."""
    own = cards_gate.own_obstacle(card)
    if own is not None:
        return Obstacle(*own)
    return NO_COMMITS if commits.are_lacking(card.project) else equip(card)
