"""The tools on offer: their names, their arguments, and what the client is told about a call."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import BaseModel, Field

from apps.agents.builtin.store import Mode

Kind = Literal["read", "edit", "search", "execute", "think", "switch_mode", "other"]

LONGEST_COMMAND = 600


class ToolFailureError(Exception):
    """The tool did not do what was asked. The message is for the model."""


class ReadFile(BaseModel):
    """Read a text file. Answers with numbered lines."""

    path: str = Field(description="Path of the file, relative to the working directory")
    offset: int = Field(1, ge=1, description="First line to read")
    limit: int = Field(2000, ge=1, le=5000, description="Most lines to read")


class WriteFile(BaseModel):
    """Create a file or replace its whole content; missing directories are made."""

    path: str = Field(description="Path of the file, relative to the working directory")
    content: str


class EditFile(BaseModel):
    """Replace a piece of text in a file. It must occur exactly once, unless replace_all is set."""

    path: str = Field(description="Path of the file, relative to the working directory")
    old_string: str = Field(description="The text as it stands, without line numbers", min_length=1)
    new_string: str
    replace_all: bool = Field(default=False, description="Replace every occurrence")


class ListFiles(BaseModel):
    """List files below a directory. Dependencies, caches and .git are left out."""

    path: str = Field(".", description="Directory to start from")
    glob: str | None = Field(None, description="Only these, e.g. *.py or src/**/*.{ts,tsx}")


class Search(BaseModel):
    """Search the lines of files with a regular expression (Python syntax)."""

    pattern: str = Field(min_length=1)
    path: str = Field(".", description="Directory or file to search")
    glob: str | None = Field(None, description="Only files like these, e.g. *.py")
    ignore_case: bool = False


class RunCommand(BaseModel):
    """Run a shell command in the working directory. Answers with its output and exit code.

    There is no input and no terminal. What it leaves running in the background is stopped when it
    ends. Long output is cut in the middle.
    """

    command: str = Field(min_length=1)
    timeout: int = Field(120, ge=1, le=LONGEST_COMMAND, description="Seconds before it is stopped")


class Todo(BaseModel):
    description: str
    status: Literal["pending", "in_progress", "completed"] = "pending"


class WriteTodos(BaseModel):
    """Show the person your todo list. Each call replaces the whole list."""

    todos: list[Todo]


class Choice(BaseModel):
    label: str
    description: str = ""


class Question(BaseModel):
    question: str
    header: str = Field("", description="One or two words")
    options: list[Choice] = Field(default_factory=list, description="Answers to choose from")
    multiSelect: bool = Field(default=False, description="More than one may be chosen")


class AskUser(BaseModel):
    """Ask the person on the board. Only for what you cannot decide or find out by yourself."""

    questions: list[Question] = Field(min_length=1, max_length=4)


class ExitPlanMode(BaseModel):
    """Hand your finished plan over for approval. Work starts when it is approved."""

    plan: str = Field("", description="The plan in Markdown; empty if it is in the plan file")


@dataclass(frozen=True)
class Tool:
    """`changes`: whether it may change something, so that the mode `ask` asks before it runs."""

    name: str
    arguments: type[BaseModel]
    kind: Kind
    changes: bool = False


TOOLS: dict[str, Tool] = {
    tool.name: tool
    for tool in (
        Tool("read_file", ReadFile, "read"),
        Tool("write_file", WriteFile, "edit", changes=True),
        Tool("edit_file", EditFile, "edit", changes=True),
        Tool("list_files", ListFiles, "search"),
        Tool("search", Search, "search"),
        Tool("run_command", RunCommand, "execute", changes=True),
        Tool("write_todos", WriteTodos, "think"),
        Tool("ask_user", AskUser, "other"),
        Tool("exit_plan_mode", ExitPlanMode, "switch_mode"),
    )
}
_NOT_WHILE_PLANNING = frozenset({"edit_file", "run_command"})


def offered(mode: Mode) -> list[Tool]:
    """The tools of a mode. While planning, write_file is there for the plan file alone."""
    if mode == "plan":
        return [tool for tool in TOOLS.values() if tool.name not in _NOT_WHILE_PLANNING]
    return [tool for tool in TOOLS.values() if tool.name != "exit_plan_mode"]


@dataclass(frozen=True)
class Description:
    """How a call is shown to the person. `diff`: path, old text (None for a new file), new text."""

    title: str
    locations: list[str] = field(default_factory=list)
    diff: tuple[str, str | None, str] | None = None
    text: str | None = None


def schema(tool: Tool) -> dict[str, Any]:
    """The JSON schema of the arguments, without what only repeats the names."""
    found = tool.arguments.model_json_schema()
    found.pop("description", None)
    plain: dict[str, Any] = _without_titles(found)
    return plain


def _without_titles(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            key: _without_titles(item)
            for key, item in value.items()
            if not (key == "title" and isinstance(item, str))
        }
    if isinstance(value, list):
        return [_without_titles(item) for item in value]
    return value


def description(tool: Tool) -> str:
    """The sentence or two that the model reads."""
    return " ".join((tool.arguments.__doc__ or "").split())
