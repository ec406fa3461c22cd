"""What each command does, between the command line and the rooms. Every function returns an exit code."""

from __future__ import annotations

import platform
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

from trainaudit import __version__
from trainaudit.errors import TrainauditError
from trainaudit.judge.rule import Rule, rule_info
from trainaudit.output import (
    missing_pdf,
    put,
    read_run,
    read_text,
    refuse_impossible,
    show,
    wants_color,
    width,
    write_report,
)
from trainaudit.result import Audit, Run, Severity
from trainaudit.settings import Settings, read_settings, settings_record, with_flags

DETAILED = {"json", "sarif", "markdown"}
"""Output formats that show the file's hash, the layer table or the facts, as reports do."""


def check_targets(
    targets: Sequence[str],
    *,
    exit_zero: bool,
    output_file: Path | None,
    write_baseline: Path | None,
    statistics: bool,
    force_exclude: bool,
    jobs: int,
    quiet: bool,
    verbose: bool,
    color: str,
    **flags: Any,
) -> int:
    """`trainaudit check`."""
    from trainaudit.auditing import chosen_rules
    from trainaudit.judge import baseline as baselines
    from trainaudit.judge.selection import ignore_warnings
    from trainaudit.targets import audit_all, expand_targets

    settings = _settings(flags, targets=targets)
    refuse_impossible(settings.reports)
    baseline = None if settings.baseline is None else baselines.read_baseline(settings.baseline)
    found = expand_targets(settings.targets, settings, named=bool(targets), force_exclude=force_exclude)
    rules = chosen_rules(settings)
    if not found:
        print("Every target is excluded by the settings: nothing was audited.", file=sys.stderr)
        return 0 if force_exclude else 2  # pre-commit passes what it found, and must not fail on it
    detail = bool(settings.reports) or settings.output_format in DETAILED
    audited, failures = audit_all(found, settings, rules, detail=detail, jobs=jobs)
    audits = tuple(item.audit for item in audited)
    matched = frozenset(ignore for item in audited for ignore in item.judgment.matched)
    covered = frozenset(ignore for item in audited for ignore in item.judgment.covered)
    warnings = ignore_warnings(settings.ignores, matched, covered, date.today())
    if baseline is not None:
        audits = tuple(baselines.apply_baseline(audit, baseline) for audit in audits)
        if stale := baselines.stale_entries(audits, baseline):
            warnings += (
                f"{len(stale)} entries of the baseline were not found again: write it anew with --write-baseline.",
            )
    run = replace(_run(audits, rules, settings), failures=tuple(failures), warnings=warnings)
    for path in settings.reports:
        write_report(run, path)
    if write_baseline is not None:
        baselines.write_baseline(baselines.baseline_of(audits), write_baseline)
    show(run, settings.output_format, output_file, color=color, quiet=quiet, verbose=verbose, statistics=statistics)
    if failures:
        return 2
    return 0 if exit_zero else exit_code(run)


def exit_code(run: Run) -> int:
    """1 where a live finding stands at or above `fail_on`, else 0."""
    if run.fail_on == "never":
        return 0
    limit = Severity(run.fail_on).rank
    return int(
        any(
            finding.severity.rank >= limit and not finding.ignored and finding.is_new is not False
            for audit in run.audits
            for finding in audit.findings
        )
    )


def render_again(
    record: Path, *, reports: Sequence[Path], output_format: str, output_file: Path | None, color: str
) -> int:
    """`trainaudit report`."""
    refuse_impossible(reports)
    run = read_run(record)
    for path in reports:
        write_report(run, path)
    if not reports or output_file is not None:
        show(run, output_format, output_file, color=color)
    return 0


def compare_records(old: Path, new: Path, *, fail_on: str, output_format: str, color: str) -> int:
    """`trainaudit diff`: 1 where a new finding stands at or above `fail_on`."""
    from trainaudit.report.diff import compare, render_diff

    difference = compare(read_run(old), read_run(new))
    put(render_diff(difference, output_format, width=width(), color=wants_color(color)), None)
    limit = 3 if fail_on == "never" else Severity(fail_on).rank
    return int(any(finding.severity.rank >= limit for finding in difference.new_findings))


def measure_target(target: str, *, output_file: Path | None, **flags: Any) -> int:
    """`trainaudit measure`."""
    from trainaudit.auditing import measure_file
    from trainaudit.facts_file import write_facts
    from trainaudit.targets import expand_targets

    settings = _settings(flags)
    found = expand_targets([target], settings, named=True, force_exclude=False)
    if len(found) > 1:
        raise TrainauditError("many-models", f"{target} names {len(found)} models.", "Measure one at a time.")
    put(write_facts(measure_file(found[0], settings, detail=True)), output_file)
    return 0


def judge_facts(facts: Path, *, output_file: Path | None, color: str, **flags: Any) -> int:
    """`trainaudit judge`."""
    from trainaudit.auditing import chosen_rules, judge_measured, with_loss
    from trainaudit.facts_file import read_facts

    settings = _settings(flags)
    refuse_impossible(settings.reports)
    rules = chosen_rules(settings)
    measured = with_loss(read_facts(read_text(facts), str(facts)), settings.loss)
    run = _run((judge_measured(measured, settings, rules, detail=True).audit,), rules, settings)
    for path in settings.reports:
        write_report(run, path)
    show(run, settings.output_format, output_file, color=color)
    return exit_code(run)


def run_demo(folder: Path, *, color: str) -> int:
    """`trainaudit demo`: 0 where the faulty net has findings and the repaired one has none."""
    from trainaudit.auditing import audit_file, chosen_rules
    from trainaudit.demo import LOSS, build

    try:
        folder.mkdir(parents=True, exist_ok=True)
        paths = build(folder)
    except OSError as error:
        what = f"{folder} could not be written: {(error.strerror or 'unknown error').lower()}."
        raise TrainauditError("cannot-write", what, "Choose another folder with -o.") from None
    settings = replace(Settings(), loss=LOSS)
    rules = chosen_rules(settings)
    no_pdf = missing_pdf()
    codes, reports = [], []
    for path in paths:
        command = f"trainaudit {shlex.quote(str(path))} --loss {LOSS}"
        run = _run((audit_file(str(path), settings, rules, detail=True).audit,), rules, settings, command)
        print(f"$ {command}")
        show(run, "full", None, color=color)
        print()
        codes.append(exit_code(run))
        for suffix in (".html",) if no_pdf else (".html", ".pdf"):
            reports.append(path.with_suffix(suffix))
            write_report(run, reports[-1])
    print("Reports:", *reports, sep="\n  ")
    if no_pdf:
        print(f"No PDF: {no_pdf}")
    return 0 if codes == [1, 0] else 1


def _run(audits: tuple[Audit, ...], rules: Sequence[Rule], settings: Settings, command: str = "") -> Run:
    from trainaudit.model_info import shown_target

    return Run(
        version=__version__,
        audits=audits,
        rules=tuple(rule_info(rule) for rule in rules),
        settings={**settings_record(settings), "targets": [shown_target(target) for target in settings.targets]},
        environment=_environment(),
        command=command or _command_line(),
        fail_on=settings.fail_on,
    )


def _settings(flags: Mapping[str, Any], targets: Sequence[str] = ()) -> Settings:
    settings = read_settings(config=flags["config"], isolated=flags["isolated"])
    known = {key: value for key, value in flags.items() if key not in ("config", "isolated")}
    return with_flags(settings, targets=targets, **known)


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
