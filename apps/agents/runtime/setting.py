"""What an attempt works with: its rows, the agent and the key, the worktree, the environment."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from django.conf import settings

from apps.agents import gate, queueing, recovery, turns
from apps.agents.models import AgentSession
from apps.agents.runtime.failures import Failed
from apps.cards import attachments, unshown, worktrees
from apps.common.ids import optional_id, public_id
from apps.credentials import renewing
from apps.credentials.resolution import environment as credential_environment
from apps.host.environment import agent_environment, home_for
from apps.host.errors import HostError
from apps.runs.kinds import Claim


class Deferred(Exception):
    """The card can't start; it waits for a person to change something."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class Busy(Exception):
    """Somebody else has the place in hand; tried again later. `code` is one of `recovery.BUSY`."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


@dataclass(frozen=True)
class Setting:
    """Everything an attempt needs to know, read once."""

    session: AgentSession
    equipment: gate.Equipment
    person: tuple[str, str]
    hidden: list[str] = field(repr=False)


def read(claim: Claim) -> Setting:
    session = queueing.whole(claim.run_id, "s.fence = %s", [claim.fence])
    if session is None:
        raise turns.NotOurs(claim.wire_id)
    equipment = gate.equip(session.card)
    if isinstance(equipment, gate.Obstacle):
        raise Deferred(equipment.code, equipment.message)
    missing = equipment.preset.missing_program()
    if missing:
        raise Deferred(
            "program_missing",
            f"{equipment.preset.name} needs the program “{missing}”, which is not on this server's PATH."
            " Install it, then activate the card.",
        )
    person = session.started_by
    name = (person.display_name, person.email) if person else ("Kanban Agents", "agents@localhost")
    hidden = [*unshown.values(session.card.project), *equipment.preset.secrets()]
    if equipment.credential is not None:
        hidden.append(equipment.credential.secret)
    return Setting(session, equipment, name, hidden)


def renewed(setting: Setting, claim: Claim) -> Setting:
    """The same, with a token that doesn't end soon if the provider gives one; up to ten seconds."""
    usable = setting.equipment.credential
    if usable is None or usable.credential_id is None:
        return setting
    renewing.renew(usable.credential_id)
    return read(claim)


def prepare(session: AgentSession, claim: Claim, given_up: Callable[[], bool]) -> worktrees.Place:
    try:
        return worktrees.prepare(
            session.card,
            host_id=claim.host_id,
            run=claim.wire_id,
            marker=claim.marker,
            given_up=given_up,
        )
    except HostError as error:
        if error.code in recovery.BUSY:
            raise Busy(error.code) from None
        if error.code == "no_commits":
            raise Deferred(error.code, str(error)) from None
        raise Failed(error.code or "worktree_failed", str(error)) from None


def environment(setting: Setting, claim: Claim) -> dict[str, str]:
    preset, usable = setting.equipment.preset, setting.equipment.credential
    files = attachments.folder_of_card(setting.session.card_id)
    extra = {**preset.environment, "BOARD_FILES": str(files)}
    if usable is not None:
        extra.update(credential_environment(usable))
    if preset.model_variable and setting.equipment.model:
        extra[preset.model_variable] = _model_name(setting)
    return _environment(setting, claim, extra)


def git_environment(setting: Setting, claim: Claim) -> dict[str, str]:
    """An agent's, for what git runs in its worktree: the same HOME and name, but no key."""
    return _environment(setting, claim, {})


def _environment(setting: Setting, claim: Claim, extra: Mapping[str, str]) -> dict[str, str]:
    usable = setting.equipment.credential
    credential_id = usable.credential_id if usable else None
    home = home_for(
        settings.DATA_DIR,
        public_id("project", setting.session.project_id),
        optional_id("credential", credential_id) or "server",
    )
    return agent_environment(home=home, extra=extra, person=setting.person, marker=claim.marker)


_FAMILIES = {"anthropic": "anthropic", "openai": "openai", "openrouter": "openai-chat",
             "openai-compatible": "openai-chat"}  # fmt: skip


def _model_name(setting: Setting) -> str:
    """The built-in agent wants `provider:model`; a name that has one already stays as it is."""
    model = setting.equipment.model or ""
    usable = setting.equipment.credential
    if setting.equipment.preset.id != "builtin" or usable is None or ":" in model:
        return model
    return f"{_FAMILIES.get(usable.provider, usable.provider)}:{model}"
