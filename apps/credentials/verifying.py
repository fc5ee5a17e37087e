"""Whether a provider takes a credential: it is asked for its models, or for one token where it lists none.

What the provider says is shown to whoever asks, so only a short sentence of it is, and never the key.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from apps.common.masking import mask
from apps.common.outbound import Answer, Deadline, Unreachable, ask
from apps.credentials.models import LOGINS, Credential, Provider
from apps.credentials.resolution import OPENROUTER_URL
from apps.credentials.sealing import CannotUnseal, unseal

SECONDS = 10.0
_LONGEST_REASON = 300
_NO_LIST = (404, 405, 501)
_UNSEEN = re.compile(r"[\x00-\x1f\x7f]+")

_OWN_URLS = {
    Provider.ANTHROPIC: "https://api.anthropic.com",
    Provider.OPENAI: "https://api.openai.com/v1",
    Provider.GOOGLE: "https://generativelanguage.googleapis.com",
    Provider.OPENROUTER: OPENROUTER_URL,
    Provider.CLAUDE_LOGIN: "https://api.anthropic.com",
}
_LIKE_ANTHROPIC = (Provider.ANTHROPIC, Provider.CLAUDE_LOGIN)


@dataclass(frozen=True)
class Verdict:
    """`error` is a sentence that says what was wrong; None when nothing was."""

    error: str | None = None


@dataclass(frozen=True)
class _Question:
    path: str
    body: dict[str, Any] | None = None


def verify(credential: Credential) -> Verdict:
    """Takes up to ten seconds; not for inside a transaction."""
    if credential.provider in LOGINS and credential.sealed is None:
        return Verdict("A login is kept by the agent that uses it; start a card to try it.")
    if credential.status != Credential.Status.READY:
        login = credential.auth_type == Credential.AuthType.OAUTH
        return Verdict("Nobody has signed in yet." if login else "It has no API key yet.")
    secret = ""
    try:
        if credential.sealed is not None:
            secret = unseal(
                credential.sealed, credential_id=credential.pk, owner_id=credential.owner_id
            )
    except CannotUnseal as problem:
        return Verdict(problem.message)
    return Verdict(_tried(credential, secret))


def _tried(credential: Credential, secret: str) -> str | None:
    deadline = Deadline(SECONDS)
    try:
        answer = _ask(credential, secret, _list(credential.provider), deadline)
        if answer.status in _NO_LIST:
            if not credential.model:
                return (
                    f"The provider has no list of models ({answer.status}). Check baseUrl, or enter a"
                    " model: then it is asked for one token."
                )
            question = _one_token(credential.provider, credential.model)
            answer = _ask(credential, secret, question, deadline)
    except Unreachable as problem:
        return f"The provider {cleaned(str(problem), secret)}."
    return _wrong(answer, secret)


def _ask(credential: Credential, secret: str, question: _Question, deadline: Deadline) -> Answer:
    base = credential.base_url or _OWN_URLS[Provider(credential.provider)]
    headers = {
        "Accept": "application/json",
        "User-Agent": "kanban-agents",
        **_key(credential, secret),
    }
    body = None
    if question.body is not None:
        body = json.dumps(question.body).encode()
        headers["Content-Type"] = "application/json"
    method = "GET" if body is None else "POST"
    url = base.rstrip("/") + question.path
    return ask(method, url, headers=headers, body=body, deadline=deadline)


def _key(credential: Credential, secret: str) -> dict[str, str]:
    if credential.provider == Provider.ANTHROPIC:
        return {"x-api-key": secret, "anthropic-version": "2023-06-01"}
    if credential.provider == Provider.CLAUDE_LOGIN:
        return {
            "Authorization": f"Bearer {secret}",
            "anthropic-version": "2023-06-01",
            "anthropic-beta": "oauth-2025-04-20",
        }
    if credential.provider == Provider.GOOGLE:
        return {"x-goog-api-key": secret}
    return {"Authorization": f"Bearer {secret}"} if secret else {}


def _list(provider: str) -> _Question:
    if provider in _LIKE_ANTHROPIC:
        return _Question("/v1/models?limit=1")
    if provider == Provider.GOOGLE:
        return _Question("/v1beta/models?pageSize=1")
    if provider == Provider.OPENROUTER:
        # Its models are shown to anybody; this is about the key.
        return _Question("/key")
    return _Question("/models")


def _one_token(provider: str, model: str) -> _Question:
    hello = [{"role": "user", "content": "Hi"}]
    if provider in _LIKE_ANTHROPIC:
        return _Question("/v1/messages", {"model": model, "max_tokens": 1, "messages": hello})
    if provider == Provider.GOOGLE:
        return _Question(
            f"/v1beta/models/{quote(model, safe='')}:generateContent",
            {
                "contents": [{"role": "user", "parts": [{"text": "Hi"}]}],
                "generationConfig": {"maxOutputTokens": 1},
            },
        )
    return _Question("/chat/completions", {"model": model, "max_tokens": 1, "messages": hello})


def _wrong(answer: Answer, secret: str) -> str | None:
    status = answer.status
    said = _json(answer.body)
    reason = cleaned(_reason(said), secret)
    told = f": {reason}" if reason else ""
    if 200 <= status < 300:
        if isinstance(said, dict):
            return None
        return "The provider answered with something else than a provider does. Check baseUrl."
    if 300 <= status < 400:
        return (
            f"The provider sends elsewhere ({status}), where the key is not sent. Enter the final"
            " address as baseUrl."
        )
    if status in (401, 403):
        return f"The provider refused the key ({status}){told}"
    if status == 429:
        return f"The provider's limit is reached ({status}){told}"
    if status >= 500:
        return f"The provider has a problem of its own ({status}){told}"
    return f"The provider refused the request ({status}){told}"


def _json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def _reason(said: Any) -> str:
    """The sentence where providers put it; anything else that a server may answer is not shown."""
    if not isinstance(said, dict):
        return ""
    error = said.get("error")
    for found in (error.get("message") if isinstance(error, dict) else error, said.get("message")):
        if isinstance(found, str):
            return found
    return ""


def cleaned(text: str, secret: str = "") -> str:
    """What another server said, fit to be shown."""
    if secret:
        text = text.replace(secret, "****")
    return _UNSEEN.sub(" ", mask(text)).strip()[:_LONGEST_REASON]
