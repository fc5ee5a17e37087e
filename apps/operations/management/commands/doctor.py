"""`manage.py doctor`: what is there, what is missing, and how to get it."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from apps.operations import doctor


class Command(BaseCommand):
    help = "Say what this installation has and lacks; exit code 1 when the server can't be used."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--json", action="store_true", help="answer for programs")

    def handle(self, *args: Any, **options: Any) -> None:
        # A database that drops packets would hold up the answer for two minutes.
        os.environ.setdefault("PGCONNECT_TIMEOUT", "5")
        findings = doctor.examine()
        usable = doctor.usable(findings)
        if options["json"]:
            found = [asdict(finding) for finding in findings]
            self.stdout.write(json.dumps({"usable": usable, "findings": found}, indent=2))
        else:
            self._tell(findings)
        if not usable:
            raise SystemExit(1)

    def _tell(self, findings: list[doctor.Finding]) -> None:
        width = max(len(finding.name) for finding in findings)
        for finding in findings:
            advice = f"; {finding.advice}" if finding.advice else ""
            self.stdout.write(
                f"{finding.status:<7}  {finding.name:<{width}}  {finding.detail}{advice}"
            )
        if blocking := [f.name for f in findings if f.status == "problem"]:
            self.stdout.write(f"\nNot usable yet: {', '.join(blocking)}.")
        else:
            self.stdout.write("\nUsable.")
