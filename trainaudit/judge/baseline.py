"""Findings that were there before: a file of fingerprints, so that only new ones fail a run. May import `judge.grouping`,
`result` and `errors`.

A baseline is sorted text that reads well in a diff; it holds no numbers that change from run to run. Fingerprints know the model's path
as it was given, so write and use a baseline with the same paths.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from trainaudit.errors import TrainauditError
from trainaudit.frozen import frozen
from trainaudit.judge.grouping import model_name
from trainaudit.result import Audit

FORMAT = 1
MAX_BYTES = 64 * 1024 * 1024


@frozen
class Baseline:
    """Fingerprint → (rule, target, subject) of what was accepted."""

    entries: dict[str, tuple[str, str, str]]


def baseline_of(audits: Iterable[Audit]) -> Baseline:
    """All live findings of some audits; what the settings ignore needs no entry."""
    return Baseline(
        {
            occurrence.fingerprint: (finding.rule, model_name(audit.target), occurrence.subject)
            for audit in audits
            for finding in audit.findings
            if not finding.ignored and finding.probe != "withdrawn"
            for occurrence in finding.occurrences
        }
    )


def write_baseline(baseline: Baseline, path: Path) -> None:
    """Whole or not at all: a file beside it takes its place when it is complete."""
    entries = [
        {"rule": rule, "target": target, "subject": subject, "fingerprint": fingerprint}
        for fingerprint, (rule, target, subject) in baseline.entries.items()
    ]
    entries.sort(key=lambda entry: (entry["rule"], entry["target"], entry["subject"], entry["fingerprint"]))
    # One entry, one line: a baseline is reviewed as a diff.
    lines = ",\n".join(f"    {json.dumps(entry, ensure_ascii=True)}" for entry in entries)
    text = f'{{\n  "trainaudit-baseline": {FORMAT},\n  "findings": [\n{lines}\n  ]\n}}\n'
    import tempfile  # it imports a dozen modules, and most runs write no baseline

    temporary = ""
    try:
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
        mask = os.umask(0)
        os.umask(mask)
        Path(temporary).chmod(0o666 & ~mask)
        Path(temporary).replace(path)
    except OSError as error:
        if temporary:
            Path(temporary).unlink(missing_ok=True)
        raise TrainauditError(
            "unwritable-baseline", f"The baseline {path} cannot be written: {error.strerror}.", "Check the folder."
        ) from None


def read_baseline(path: Path) -> Baseline:
    """The baseline in a file. Raises `TrainauditError` where there is none, or something else is there."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise _not_a_baseline(path)
        record = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise TrainauditError(
            "no-baseline", f"There is no baseline at {path}.", f"Write one with --write-baseline {path}."
        ) from None
    except OSError as error:
        raise TrainauditError(
            "no-baseline", f"The baseline {path} cannot be read: {error.strerror}.", "Check the file."
        ) from None
    except (ValueError, RecursionError):
        raise _not_a_baseline(path) from None
    if not isinstance(record, dict) or not isinstance(record.get("findings"), list):
        raise _not_a_baseline(path)
    if record.get("trainaudit-baseline") != FORMAT:
        what = f"{path} is a baseline of format {record.get('trainaudit-baseline')}, and this version reads format {FORMAT}."
        raise TrainauditError("unknown-baseline-format", what, "Write it again with --write-baseline.")
    entries: dict[str, tuple[str, str, str]] = {}
    for entry in record["findings"]:
        match entry:
            case {"fingerprint": str(fingerprint), "rule": str(rule), "target": str(target), "subject": str(subject)}:
                entries[fingerprint] = (rule, target, subject)
            case _:
                raise _not_a_baseline(path)
    return Baseline(entries)


def apply_baseline(audit: Audit, baseline: Baseline) -> Audit:
    """The audit with `is_new` set on every finding: new where at least one of its occurrences is not in the baseline."""
    known = baseline.entries.keys()
    findings = tuple(
        replace(finding, is_new=any(occurrence.fingerprint not in known for occurrence in finding.occurrences))
        for finding in audit.findings
    )
    return replace(audit, findings=findings)


def stale_entries(audits: Iterable[Audit], baseline: Baseline) -> tuple[str, ...]:
    """Fingerprints of the baseline that stand for models of this run and were not found again: mended, or no longer judged."""
    targets, seen = set(), set()
    for audit in audits:
        targets.add(model_name(audit.target))
        seen |= {occurrence.fingerprint for finding in audit.findings for occurrence in finding.occurrences}
    return tuple(
        sorted(key for key, (_, target, _) in baseline.entries.items() if target in targets and key not in seen)
    )


def with_gone(audits: Iterable[Audit], baseline: Baseline, stale: Iterable[str]) -> tuple[Audit, ...]:
    """The audits, each with the number of its stale entries."""
    gone = Counter(baseline.entries[key][1] for key in stale)
    return tuple(replace(audit, gone_from_baseline=gone[model_name(audit.target)]) for audit in audits)


def _not_a_baseline(path: Path) -> TrainauditError:
    return TrainauditError("not-a-baseline", f"{path} is not a baseline file.", "Write one with --write-baseline.")
