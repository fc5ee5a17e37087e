"""What an agent asks, as a person can read it: from the protocol's requests to `requests.Asked`."""

from __future__ import annotations

from typing import Any

import orjson

from apps.agents.answering import DECLINE
from apps.agents.models import AgentRequest
from apps.agents.requests import Asked, fingerprint
from apps.agents.runtime.transcript import cleaned, merge_call, shortened
from apps.common.envelope import dumps
from apps.runs.masking import Secrets
from apps.runs.storing import storable

LONGEST_TITLE = 500
PLAN = "switch_mode"
_KINDS = ("allow_once", "allow_always", "reject_once", "reject_always")


def shown(value: Any, secrets: Secrets) -> Any:
    """The same without secrets and fit to be stored; long texts are cut."""
    return shortened(orjson.loads(secrets.mask(dumps(cleaned(value)).decode())), 100_000)


def _title(text: Any, secrets: Secrets) -> str:
    words = " ".join(storable(secrets.mask(str(text or ""))).split())
    return words if len(words) <= LONGEST_TITLE else words[:LONGEST_TITLE] + "…"


def options_of(params: dict[str, Any]) -> list[dict[str, str]]:
    found = params.get("options")
    return [
        {
            "optionId": str(each.get("optionId")),
            "name": str(each.get("name") or each.get("optionId")),
            "kind": str(each.get("kind")),
        }
        for each in (found if isinstance(found, list) else [])
        if isinstance(each, dict) and each.get("kind") in _KINDS
    ]


def allow(options: list[dict[str, str]]) -> str | None:
    """Choose by kind, never by id: ids change between an agent's versions."""
    for kind in ("allow_always", "allow_once"):
        for option in options:
            if option["kind"] == kind:
                return option["optionId"]
    return None


def same_option(options: list[dict[str, str]], answer: dict[str, Any]) -> str | None:
    """An earlier decision among the options of a new request: the same id, else one of the same sense."""
    if any(option["optionId"] == answer["optionId"] for option in options):
        return str(answer["optionId"])
    wanted = (
        ("allow_once", "allow_always") if answer["granted"] else ("reject_once", "reject_always")
    )
    return next(
        (option["optionId"] for kind in wanted for option in options if option["kind"] == kind),
        None,
    )


def permission(
    params: dict[str, Any], options: list[dict[str, str]], secrets: Secrets, *, plan: bool
) -> Asked:
    call = params.get("toolCall")
    call = call if isinstance(call, dict) else {}
    merged: dict[str, Any] = {"id": str(call.get("toolCallId") or "")}
    merge_call(merged, call)
    title = _title(merged["title"] or "The agent wants to use a tool", secrets)
    kind = AgentRequest.Kind.PLAN if plan else AgentRequest.Kind.PERMISSION
    # Where the call stands is told by its entry in the transcript alone.
    asked = {name: value for name, value in merged.items() if name != "status"}
    body: dict[str, Any] = {"toolCall": shown(asked, secrets)}
    if plan:
        given = merged["input"]
        text = given.get("plan") if isinstance(given, dict) else None
        body["plan"] = shown(str(text or merged["output"] or merged["title"]), secrets)
    return Asked(
        kind=kind,
        title=title,
        fingerprint=fingerprint(kind, merged["title"], merged["kind"], merged["input"]),
        body=body,
        options=shown(options, secrets),
    )


def question(params: dict[str, Any], secrets: Secrets) -> Asked | None:
    """A form; None for what is none, or has no field that we know how to show."""
    schema = params.get("requestedSchema")
    properties = schema.get("properties") if isinstance(schema, dict) else None
    if params.get("mode", "form") != "form" or not isinstance(properties, dict) or not properties:
        return None
    assert isinstance(schema, dict)
    required = schema.get("required")
    names = set(required) if isinstance(required, list) else set()
    questions = [
        _field(str(name), field, required=name in names)
        for name, field in properties.items()
        if isinstance(field, dict)
    ]
    if not questions:
        return None
    message = _title(params.get("message") or questions[0]["title"], secrets)
    return Asked(
        kind=AgentRequest.Kind.QUESTION,
        title=message,
        fingerprint=fingerprint("question", params.get("message"), properties),
        body={"questions": shown(questions, secrets)},
        options=[DECLINE],
    )


def _field(name: str, field: dict[str, Any], *, required: bool) -> dict[str, Any]:
    items = field.get("items")
    choices = field if not isinstance(items, dict) else items
    listed = choices.get("oneOf") or choices.get("anyOf")
    if isinstance(listed, list):
        options = [
            {
                "value": str(each["const"]),
                "label": str(each.get("title") or each["const"]),
                "description": str(each.get("description") or ""),
            }
            for each in listed
            if isinstance(each, dict) and "const" in each
        ]
    else:
        values = choices.get("enum")
        options = [
            {"value": str(value), "label": str(value), "description": ""}
            for value in (values if isinstance(values, list) else [])
        ]
    return {
        "id": name,
        "title": str(field.get("title") or name),
        "description": str(field.get("description") or ""),
        "type": str(field.get("type") or "string"),
        "options": options,
        "required": required,
    }
