"""Which provider and model the environment asks for; cheap, without importing any provider's SDK."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

# `openai` is the Responses API; `openai-chat` is what OpenAI-compatible servers speak.
Api = Literal["anthropic", "openai", "openai-chat"]

_DEFAULT_MODELS: dict[Api, str] = {
    "anthropic": "claude-sonnet-5-5",
    "openai": "gpt-6.1-terra",
    "openai-chat": "gpt-6.1-terra",
}
SETUP_HELP = (
    "Set ANTHROPIC_API_KEY, or OPENAI_API_KEY (with OPENAI_BASE_URL for an OpenAI-compatible "
    "server, e.g. http://localhost:11434/v1), and BUILTIN_MODEL to choose a model."
)


class SetupError(Exception):
    """The environment does not say how to reach a model. The message says what to set."""


@dataclass(frozen=True)
class Choice:
    """A model and how to reach it. `base_url` None means the provider's own address."""

    api: Api
    model: str
    key: str
    base_url: str | None


def _split(wanted: str) -> tuple[Api | None, str]:
    prefix, colon, rest = wanted.partition(":")
    match prefix:
        case "anthropic" | "openai" | "openai-chat" if colon:
            return prefix, rest
        case "openai-responses" if colon:
            return "openai", rest
    # No known prefix: model names of local servers contain colons themselves (qwen3:8b).
    return None, wanted


def choose(environ: Mapping[str, str]) -> Choice:
    """The model to use: BUILTIN_MODEL, else the default of the provider whose key is there.

    A key of `-` or any other text serves for local servers that want none. An OpenAI base URL that
    is not OpenAI's own means chat completions unless BUILTIN_MODEL names an API. Raises SetupError.
    """
    anthropic_key = environ.get("ANTHROPIC_API_KEY", "").strip()
    openai_key = environ.get("OPENAI_API_KEY", "").strip()
    anthropic_url = environ.get("ANTHROPIC_BASE_URL", "").strip() or None
    openai_url = environ.get("OPENAI_BASE_URL", "").strip() or None
    api, model = _split(environ.get("BUILTIN_MODEL", "").strip())
    if api is None:
        if anthropic_key and not (openai_key and model.startswith(("gpt", "o1", "o3", "o4"))):
            api = "anthropic"
        elif openai_key or openai_url:
            own = openai_url is None or "api.openai.com" in openai_url
            api = "openai" if own else "openai-chat"
        else:
            raise SetupError(f"No API key was given to the built-in agent. {SETUP_HELP}")
    model = model or _DEFAULT_MODELS[api]
    if api == "anthropic":
        if not anthropic_key:
            raise SetupError(f"{model} needs ANTHROPIC_API_KEY, which is not set. {SETUP_HELP}")
        return Choice(api, model, anthropic_key, anthropic_url)
    if not openai_key:
        if openai_url is None:
            raise SetupError(f"{model} needs OPENAI_API_KEY, which is not set. {SETUP_HELP}")
        openai_key = "none"
    return Choice(api, model, openai_key, openai_url)
