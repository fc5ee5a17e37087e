"""Which model the environment asks for."""

from __future__ import annotations

import pytest

from apps.agents.builtin.credentials import SetupError, choose


@pytest.mark.parametrize(
    ("environ", "api", "model"),
    [
        ({"ANTHROPIC_API_KEY": "k"}, "anthropic", None),
        ({"OPENAI_API_KEY": "k"}, "openai", None),
        ({"OPENAI_API_KEY": "k", "BUILTIN_MODEL": "openai-chat:x"}, "openai-chat", "x"),
        (
            {"OPENAI_BASE_URL": "http://h/v1", "BUILTIN_MODEL": "qwen3:8b"},
            "openai-chat",
            "qwen3:8b",
        ),
        ({"OPENAI_API_KEY": "k", "ANTHROPIC_API_KEY": "k"}, "anthropic", None),
        (
            {"OPENAI_API_KEY": "k", "ANTHROPIC_API_KEY": "k", "BUILTIN_MODEL": "openai:gpt-5"},
            "openai",
            "gpt-5",
        ),
    ],
)
def test_the_model_follows_the_name_or_else_the_key(
    environ: dict[str, str], api: str, model: str | None
) -> None:
    choice = choose(environ)

    assert choice.api == api
    assert choice.model == model or (model is None and choice.model)


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"ANTHROPIC_API_KEY": " "},
        {"OPENAI_API_KEY": "k", "BUILTIN_MODEL": "anthropic:claude-x"},
        {"ANTHROPIC_API_KEY": "k", "BUILTIN_MODEL": "openai:gpt-x"},
    ],
)
def test_a_missing_key_is_named(environ: dict[str, str]) -> None:
    with pytest.raises(SetupError, match="API_KEY"):
        choose(environ)
