"""Several records as one, for the formats that hold one. Stdlib only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

from trainaudit.result import Run

_Value = TypeVar("_Value")


def merged(runs: Sequence[Run]) -> Run:
    """The audits, failures and warnings of all, one after the other. Settings and environment keep what all records agree on; the targets of all
    are kept, and the commands that make each of them again."""
    first = runs[0]
    if len(runs) == 1:
        return first
    settings = _agreed([run.settings for run in runs])
    targets = [run.settings.get("targets") for run in runs]
    if all(isinstance(item, list) for item in targets):
        settings["targets"] = [target for item in targets if isinstance(item, list) for target in item]
    return replace(
        first,
        audits=tuple(audit for run in runs for audit in run.audits),
        rules=tuple({rule.id: rule for run in reversed(runs) for rule in run.rules}.values()),
        settings=settings,
        environment=_agreed([run.environment for run in runs]),
        command=" && ".join(dict.fromkeys(run.command for run in runs if run.command)),
        failures=tuple(failure for run in runs for failure in run.failures),
        warnings=tuple(dict.fromkeys(warning for run in runs for warning in run.warnings)),
    )


def _agreed(records: Sequence[Mapping[str, _Value]]) -> dict[str, _Value]:
    return {
        name: value
        for name, value in records[0].items()
        if all(name in record and record[name] == value for record in records)
    }
