"""Runs of the command line on one target, and what to put into files that nobody should open."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from click.testing import CliRunner

from trainaudit.cli import main


class Canary:
    """A pickle of it makes the folder `path` when it is opened."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (os.mkdir, (str(self.path),))


def audited(target: str, *arguments: str) -> dict[str, Any]:
    """The audit of a target, as JSON holds it."""
    result = CliRunner().invoke(main, [target, "--isolated", "--output-format", "json", "--exit-zero", *arguments])
    assert result.exit_code == 0, result.output
    (audit,) = json.loads(result.stdout)["audits"]
    return dict(audit)


def refused(target: str, *arguments: str) -> str:
    """What a refusal says, on one line."""
    result = CliRunner().invoke(main, [target, "--isolated", *arguments])
    assert result.exit_code == 2, result.output
    said = " ".join(result.output.split())
    assert "Traceback" not in said
    return said
