"""A record without the paths of the machine that made it, for reports that are passed on. Stdlib only.

Of an absolute path the file's name is kept; relative paths stay as they are.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from trainaudit.report.anchors import is_absolute, repository_path
from trainaudit.result import Audit, Finding, LayerRow, Location, Occurrence, Run

# The folders of an absolute path that stands at the start of a word.
_FOLDERS = re.compile(r"(?<![^\s'\"=])(?:[A-Za-z]:)?[\\/](?:[^\s'\"\\/]+[\\/])+")


def portable(run: Run) -> Run:
    """The same run; absolute paths are cut in targets, sources, settings and commands. What names layers is left alone: an ONNX node
    may be called `/encoder/fc1/Gemm`."""
    return replace(
        run,
        audits=tuple(map(_audit, run.audits)),
        failures=tuple(
            (repository_path(target), reason.replace(target, repository_path(target)))
            for target, reason in run.failures
        ),
        settings={name: _setting(value) for name, value in run.settings.items()},
        command=_without_folders(run.command),
    )


def _audit(audit: Audit) -> Audit:
    outcomes = tuple(replace(outcome, command=_without_folders(outcome.command)) for outcome in audit.outcomes)
    has_paths = any(row.file and is_absolute(row.file) for row in audit.layers)
    return replace(
        audit,
        target=repository_path(audit.target) if is_absolute(audit.target) else audit.target,
        findings=tuple(map(_finding, audit.findings)),
        outcomes=outcomes,
        layers=tuple(map(_row, audit.layers)) if has_paths else audit.layers,
        model=replace(audit.model, file=repository_path(audit.model.file))
        if is_absolute(audit.model.file)
        else audit.model,
    )


def _finding(finding: Finding) -> Finding:
    return replace(finding, occurrences=tuple(map(_occurrence, finding.occurrences)))


def _occurrence(occurrence: Occurrence) -> Occurrence:
    location: Location = occurrence.location
    if not (location.file and is_absolute(location.file)):
        return occurrence
    return replace(occurrence, location=replace(location, file=_source(location.file)))


def _row(row: LayerRow) -> LayerRow:
    return replace(row, file=_source(row.file)) if row.file and is_absolute(row.file) else row


def _source(path: str) -> str:
    """The name of a source file alone; the dots say that there was more."""
    return f"…/{repository_path(path)}"


def _setting(value: Any) -> Any:
    change: Callable[[Any], Any] = _setting
    if isinstance(value, str):
        return _without_folders(value)
    if isinstance(value, dict):
        return {name: change(item) for name, item in value.items()}
    return [change(item) for item in value] if isinstance(value, (list, tuple)) else value


def _without_folders(text: str) -> str:
    return _FOLDERS.sub("", text)
