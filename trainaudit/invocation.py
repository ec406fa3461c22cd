"""What one call of the program says of itself: its settings, its environment and its command line, and the run that they make with audits."""

from __future__ import annotations

import platform
import shlex
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from trainaudit import __version__
from trainaudit.judge.rule import Rule, rule_info
from trainaudit.model_info import shown_target
from trainaudit.result import Audit, RuleOutcome, Run, Severity
from trainaudit.settings import Settings, read_settings, settings_record, with_flags


def run_record(audits: tuple[Audit, ...], rules: Sequence[Rule], settings: Settings, command: str = "") -> Run:
    return Run(
        version=__version__,
        audits=audits,
        rules=tuple(rule_info(rule) for rule in rules),
        settings={**settings_record(settings), "targets": [shown_target(target) for target in settings.targets]},
        environment=_environment(),
        command=command or _command_line(),
        fail_on=settings.fail_on,
    )


def read_flags(flags: Mapping[str, Any], targets: Sequence[str] = ()) -> Settings:
    settings = read_settings(config=flags["config"], isolated=flags["isolated"])
    known = {key: value for key, value in flags.items() if key not in ("config", "isolated")}
    return with_flags(settings, targets=targets, **known)


def as_typed(run: Run, targets: Sequence[str]) -> Run:
    """The run with commands that can be copied here: a record holds no folder of this machine, so that they name a file without its own. A name that two
    of the targets share stays as it is."""
    names = Counter(map(shown_target, targets))
    typed = {name: word for word in targets if names[name := shown_target(word)] == 1 and name != word}
    if not typed:
        return run

    def told(outcome: RuleOutcome) -> RuleOutcome:
        return replace(outcome, command=shlex.join(typed.get(word, word) for word in shlex.split(outcome.command)))

    return replace(run, audits=tuple(replace(audit, outcomes=tuple(map(told, audit.outcomes))) for audit in run.audits))


def _environment() -> dict[str, str]:
    """What the record says about where it was made: versions, no paths and no names."""
    import numpy

    return {
        "trainaudit": __version__,
        "python": platform.python_version(),
        "system": platform.system(),
        "machine": platform.machine(),
        "numpy": numpy.__version__,
    }


def _command_line() -> str:
    """The command as typed, with absolute paths of this machine cut to their names."""
    return shlex.join(["trainaudit", *map(_without_folders, sys.argv[1:])])


def _without_folders(word: str) -> str:
    """A word of the command line: a path, hf:PATH or KEY=PATH."""
    head, mark, path = ("", "hf:", word[3:]) if word.startswith("hf:") else word.rpartition("=")
    return f"{head}{mark}{Path(path).name if Path(path).is_absolute() else path}"


def exit_code(run: Run) -> int:
    """1 where a live finding stands at or above `fail_on`, else 0."""
    if run.fail_on == "never":
        return 0
    limit = Severity(run.fail_on).rank
    return int(
        any(finding.severity.rank >= limit and finding.is_live for audit in run.audits for finding in audit.findings)
    )
