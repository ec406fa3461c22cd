"""What each command does, between the command line and the rooms. Every function returns an exit code."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from trainaudit.counting import count as counted
from trainaudit.errors import TrainauditError
from trainaudit.frozen import frozen
from trainaudit.invocation import as_typed, exit_code, read_flags, run_record
from trainaudit.judge.rule import Rule
from trainaudit.output import (
    missing_pdf,
    put,
    read_run,
    read_text,
    refuse_impossible,
    show,
    wants_color,
    width,
    write_comparison,
    write_report,
)
from trainaudit.result import Severity
from trainaudit.settings import LOSSES, Settings

if TYPE_CHECKING:
    from trainaudit.auditing import Audited
    from trainaudit.judge.baseline import Baseline
    from trainaudit.load.target import Target

_Record = TypeVar("_Record")

DETAILED = {"json", "sarif", "markdown"}
"""Output formats that show the file's hash, the layer table or the facts, as reports do."""


@frozen
class Showing:
    """Where the result of a run goes, and how much of it is printed."""

    exit_zero: bool
    output_file: Path | None
    write_baseline: Path | None
    statistics: bool
    quiet: bool
    verbose: bool
    color: str


def check_targets(targets: Sequence[str], *, force_exclude: bool, jobs: int, **given: Any) -> int:
    """`trainaudit check`."""
    from trainaudit.auditing import chosen_rules
    from trainaudit.targets import audit_all

    showing, flags = _split(given, Showing)
    settings = read_flags(flags, targets=targets)
    found, baseline = _prepare(targets, settings, force_exclude)
    detail = bool(settings.reports) or settings.output_format in DETAILED
    rules = chosen_rules(settings, probed=detail)
    if not found:
        return 0 if force_exclude else 2  # pre-commit passes what it found, and must not fail on it
    audited, failures = audit_all(found, settings, rules, detail=detail, jobs=jobs)
    return _finish(audited, failures, baseline, settings, rules, showing)


def probe_targets(
    targets: Sequence[str], *, force_exclude: bool, trace_file: Path | None, from_trace: Path | None, **given: Any
) -> int:
    """`trainaudit probe`. Ctrl-C ends with a report of what was measured so far; 130 where that is nothing."""
    from trainaudit.auditing import chosen_rules
    from trainaudit.probe.plan import ProbePlan
    from trainaudit.probing import plan_for, probe_target, settings_loss, was_interrupted
    from trainaudit.progress import shown
    from trainaudit.targets import attempt, sorted_out
    from trainaudit.trace.trace_file import read_trace, write_trace

    showing, given = _split(given, Showing)
    asked = {name: given.pop(name) for name in tuple(given) if name in ProbePlan.__dataclass_fields__}
    settings = read_flags({**given, "loss": settings_loss(asked["loss"])}, targets=targets)
    found, baseline = _prepare(targets, settings, force_exclude)
    rules = chosen_rules(settings)
    if not found:
        return 0 if force_exclude else 2
    if (trace_file or from_trace) and len(found) > 1:
        raise TrainauditError("many-models", f"{len(found)} models cannot share one trace.", "Probe one at a time.")
    trace = None if from_trace is None else read_trace(read_text(from_trace), str(from_trace))
    plans = [plan_for(target, settings, asked) for target in found]
    results: list[Audited | str] = []
    with shown(quiet=showing.quiet) as progress:
        for target, plan in zip(found, plans, strict=True):
            run = partial(probe_target, target, plan, settings, rules, progress, trace)
            try:
                results.append(attempt(target, run))
            except KeyboardInterrupt:
                break
            last = results[-1]
            if not isinstance(last, str) and was_interrupted(last.audit):
                break
    if not results:
        return 130
    left = len(found) - len(results)
    notes = (f"{left} more of the targets were not probed, since the run was interrupted.",) if left else ()
    audited, failures = sorted_out(found[: len(results)], results)
    if trace_file is not None and audited and audited[0].audit.trace is not None:
        put(write_trace(audited[0].audit.trace, audited[0].audit.target), trace_file)
    return _finish(audited, failures, baseline, settings, rules, showing, notes)


def _prepare(targets: Sequence[str], settings: Settings, force_exclude: bool) -> tuple[list[Target], Baseline | None]:
    """What is to be audited, and the baseline; refuses first what would make the audit useless."""
    from trainaudit.judge.baseline import read_baseline
    from trainaudit.targets import expand_targets

    refuse_impossible(settings.reports)
    baseline = None if settings.baseline is None else read_baseline(settings.baseline)
    found = expand_targets(settings.targets, settings, named=bool(targets), force_exclude=force_exclude)
    if not found:
        print("Every target is excluded by the settings: nothing was audited.", file=sys.stderr)
    return found, baseline


def _finish(
    audited: Sequence[Audited],
    failures: Sequence[tuple[str, str]],
    baseline: Baseline | None,
    settings: Settings,
    rules: Sequence[Rule],
    showing: Showing,
    notes: tuple[str, ...] = (),
) -> int:
    """Writes and prints what was found. Returns the exit code."""
    from trainaudit.judge import baseline as baselines
    from trainaudit.judge.selection import ignore_warnings

    audits = tuple(item.audit for item in audited)
    matched = frozenset(ignore for item in audited for ignore in item.judgment.matched)
    covered = frozenset(ignore for item in audited for ignore in item.judgment.covered)
    warnings = notes + ignore_warnings(settings.ignores, matched, covered, date.today())
    if baseline is not None:
        audits = tuple(baselines.apply_baseline(audit, baseline) for audit in audits)
        stale = baselines.stale_entries(audits, baseline)
        audits = baselines.with_gone(audits, baseline, stale)
        if stale:
            warnings += (
                f"{counted(len(stale), 'entry', 'entries')} of the baseline {'was' if len(stale) == 1 else 'were'} not found again: write it anew with --write-baseline.",
            )
    run = replace(run_record(audits, rules, settings), failures=tuple(failures), warnings=warnings)
    for path in settings.reports:
        write_report([run], path)
    if showing.write_baseline is not None:
        baselines.write_baseline(baselines.baseline_of(audits), showing.write_baseline)
    show(
        as_typed(run, settings.targets) if settings.output_format not in DETAILED else run,
        settings.output_format,
        showing.output_file,
        color=showing.color,
        quiet=showing.quiet,
        verbose=showing.verbose,
        statistics=showing.statistics,
    )
    if failures:
        return 2
    return 0 if showing.exit_zero else exit_code(run)


def _split(given: Mapping[str, Any], kind: type[_Record]) -> tuple[_Record, dict[str, Any]]:
    """Those of the command line's options that a record holds, and the rest."""
    names = kind.__dataclass_fields__  # type: ignore[attr-defined]
    rest = {name: value for name, value in given.items() if name not in names}
    return kind(**{name: given[name] for name in names}), rest


def render_again(
    records: Sequence[Path], *, reports: Sequence[Path], output_format: str, output_file: Path | None, color: str
) -> int:
    """`trainaudit report`."""
    refuse_impossible(reports)
    runs = [read_run(record) for record in records]
    for path in reports:
        write_report(runs, path)
    if not reports or output_file is not None:
        from trainaudit.report.merging import merged

        show(merged(runs), output_format, output_file, color=color)
    return 0


def compare_records(
    old: Path, new: Path, *, fail_on: str, output_format: str, reports: Sequence[Path], color: str
) -> int:
    """`trainaudit diff`: 1 where a new finding stands at or above `fail_on`."""
    from trainaudit.report.diff import compare, render_diff

    refuse_impossible(reports)
    before, after = read_run(old), read_run(new)
    for path in reports:
        write_comparison(before, after, path)
    difference = compare(before, after)
    put(render_diff(difference, output_format, width=width(), color=wants_color(color)), None)
    limit = 3 if fail_on == "never" else Severity(fail_on).rank
    return int(any(finding.severity.rank >= limit for finding in difference.new_findings))


def measure_target(target: str, *, output_file: Path | None, from_trace: Path | None, **flags: Any) -> int:
    """`trainaudit measure`."""
    from trainaudit.facts_file import write_facts
    from trainaudit.probing import measure_again
    from trainaudit.targets import expand_targets
    from trainaudit.trace.trace_file import read_trace

    settings = read_flags(flags)
    found = expand_targets([target], settings, named=True, force_exclude=False)
    if len(found) > 1:
        raise TrainauditError("many-models", f"{target} names {len(found)} models.", "Measure one at a time.")
    trace = None if from_trace is None else read_trace(read_text(from_trace), str(from_trace))
    put(write_facts(measure_again(found[0], settings, trace)), output_file)
    return 0


def judge_facts(facts: Path, *, output_file: Path | None, color: str, **flags: Any) -> int:
    """`trainaudit judge`."""
    from trainaudit.auditing import chosen_rules, judge_measured, with_loss
    from trainaudit.facts_file import read_facts

    settings = read_flags(flags)
    refuse_impossible(settings.reports)
    rules = chosen_rules(settings)
    measured = with_loss(read_facts(read_text(facts), str(facts)), settings.loss)
    loss = measured.table.columns["model.loss"].get("model")
    if settings.loss is None and loss in LOSSES:  # the facts' own, which a command to copy has to name
        settings = replace(settings, loss=str(loss))
    run = run_record((judge_measured(measured, settings, rules, detail=True).audit,), rules, settings)
    for path in settings.reports:
        write_report([run], path)
    show(run, settings.output_format, output_file, color=color)
    return exit_code(run)


def run_demo(folder: Path, *, probe: bool, color: str) -> int:
    """`trainaudit demo`: 0 where the faulty net has findings and the repaired one has none."""
    from trainaudit.auditing import audit_file, chosen_rules
    from trainaudit.demo import LOSS, PROBE_SECONDS, build
    from trainaudit.load.target import Target
    from trainaudit.probe.plan import ProbePlan
    from trainaudit.probing import probe_target
    from trainaudit.progress import shown

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
        if probe:
            command = (
                f"trainaudit probe {shlex.quote(str(path))} --loss {LOSS} --device cpu --time-budget {PROBE_SECONDS}"
            )
            plan = ProbePlan(loss=LOSS, device="cpu", time_budget=PROBE_SECONDS)
            with shown(quiet=False) as progress:
                item = probe_target(Target(str(path)), plan, settings, rules, progress)
        else:
            item = audit_file(str(path), settings, rules, detail=True)
        run = run_record((item.audit,), rules, settings, command)
        print(f"$ {command}")
        show(run, "full", None, color=color)
        print()
        codes.append(exit_code(run))
        for suffix in (".html",) if no_pdf else (".html", ".pdf"):
            reports.append(path.with_suffix(suffix))
            write_report([run], reports[-1])
    print("Reports:", *reports, sep="\n  ")
    if no_pdf:
        print(f"No PDF: {no_pdf}")
    return 0 if codes == [1, 0] else 1
