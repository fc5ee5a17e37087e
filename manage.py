#!/usr/bin/env python
"""Command line of the server: `serve`, `doctor`, `migrate` and Django's own commands."""

import os
import sys

from kanban_agents.env import EnvironmentProblem
from kanban_agents.secrets import BadSecret


def main() -> int:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "kanban_agents.settings")
    from django.core.management import execute_from_command_line

    try:
        execute_from_command_line(sys.argv)
    except (EnvironmentProblem, BadSecret) as problem:
        sys.stderr.write(f"kanban-agents: {problem}\n")
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
