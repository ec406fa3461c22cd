"""What the commands do, between the command line and the rooms: targets, jobs, outputs, exit codes. Every function returns an exit code."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from trainaudit import __version__
from trainaudit.errors import TrainauditError
from trainaudit.result import Run, Severity
from trainaudit.settings import Settings, is_excluded, read_settings, settings_record, with_flags

DETAILED = {"json", "html", "pdf", "sarif", "markdown"}
"""Formats that show the file's hash, the layer table or the facts."""


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
    from trainaudit.judge.baseline import apply_baseline, baseline_of, read_baseline, stale_entries
    from trainaudit.judge.baseline import write_baseline as save_baseline
    from trainaudit.judge.rule import rule_info
    from trainaudit.judge.selection import ignore_warnings
    from trainaudit.report.formats import report_kind

    settings = _settings(flags, targets=targets)
    kinds = {report_kind(str(path)) for path in settings.reports} | {settings.output_format}
    _need_pdf(kinds)
    baseline = None if settings.baseline is None else read_baseline(settings.baseline)
    files = expand_targets(settings.targets, settings, named=bool(targets), force_exclude=force_exclude)
    if not files and targets and force_exclude:
        return 0  # pre-commit passed only excluded files
    rules = chosen_rules(settings)
    audited, failures = _audit_all(files, settings, rules, detail=bool(kinds & DETAILED), jobs=jobs)
    audits = tuple(item.audit for item in audited)
    warnings = list(
        ignore_warnings(
            settings.ignores,
            frozenset().union(*(item.judgment.matched for item in audited)),
            frozenset().union(*(item.judgment.covered for item in audited)),
            _today(),
        )
    )
    if baseline is not None:
        audits = tuple(apply_baseline(audit, baseline) for audit in audits)
        stale = stale_entries(audits, baseline)
        if stale:
            warnings.append(
                f"{len(stale)} entries of the baseline were not found again: write it anew with --write-baseline."
            )
    run = Run(
        version=__version__,
        audits=audits,
        rules=tuple(rule_info(rule) for rule in rules),
        settings=settings_record(settings),
        environment=_environment(),
        command=_command_line(),
        fail_on=settings.fail_on,
        failures=tuple(failures),
        warnings=tuple(warnings),
    )
    for path in settings.reports:
        _write_report(run, path)
    if write_baseline is not None:
        save_baseline(baseline_of(audits), write_baseline)
    _print(run, settings.output_format, output_file, color=color, quiet=quiet, verbose=verbose, statistics=statistics)
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


def expand_targets(targets: Sequence[str], settings: Settings, *, named: bool, force_exclude: bool) -> list[str]:
    """Targets with globs resolved, `.onnx.data` files mapped to their model, duplicates and excluded files left out, in order.

    Raises `TrainauditError` where there is nothing to audit.
    """
    if not targets:
        raise TrainauditError(
            "nothing-to-audit",
            "No model was named.",
            "Give a path (`trainaudit model.onnx`) or set `targets` in [tool.trainaudit].",
        )
    files: dict[str, None] = {}
    for target in targets:
        is_pattern = any(mark in target for mark in "*?[") and not Path(target).exists()
        found = _glob(target) if is_pattern else [target]
        if not found:
            raise TrainauditError("no-such-model", f"No file matches {target}.", "Check the pattern.")
        for path in found:
            model = path.removesuffix(".data") if path.endswith(".onnx.data") else path
            if model != path and not Path(model).is_file():
                raise TrainauditError(
                    "no-such-model", f"{path} is the external data of {model}, which is missing.", "Add the model file."
                )
            if not ((is_pattern or force_exclude or not named) and is_excluded(model, settings)):
                files[model] = None
    return list(files)


def render_again(
    record: Path, *, reports: Sequence[Path], output_format: str, output_file: Path | None, color: str
) -> int:
    """`trainaudit report`."""
    run = _read_run(record)
    for path in reports:
        _write_report(run, path)
    if not reports or output_file is not None:
        _print(run, output_format, output_file, color=color)
    return 0


def compare_records(old: Path, new: Path, *, fail_on: str, output_format: str, color: str) -> int:
    """`trainaudit diff`: 1 where a new finding stands at or above `fail_on`."""
    from trainaudit.report.diff import compare, render_diff

    difference = compare(_read_run(old), _read_run(new))
    sys.stdout.write(render_diff(difference, output_format, width=_width(), color=_wants_color(color)))
    limit = 3 if fail_on == "never" else Severity(fail_on).rank
    return int(any(finding.severity.rank >= limit for finding in difference.new_findings))


def measure_target(target: str, *, output_file: Path | None, **flags: Any) -> int:
    """`trainaudit measure`."""
    from trainaudit.auditing import measure_file
    from trainaudit.facts_file import write_facts

    _out(write_facts(measure_file(target, _settings(flags), detail=True)), output_file)
    return 0


def judge_facts(facts: Path, *, output_file: Path | None, color: str, **flags: Any) -> int:
    """`trainaudit judge`."""
    from trainaudit.auditing import chosen_rules, judge_measured
    from trainaudit.facts_file import read_facts
    from trainaudit.judge.rule import rule_info

    settings = _settings(flags)
    rules = chosen_rules(settings)
    measured = read_facts(_read_text(facts), str(facts))
    audit = judge_measured(measured, settings, rules, detail=True).audit
    run = Run(
        version=__version__,
        audits=(audit,),
        rules=tuple(rule_info(rule) for rule in rules),
        settings=settings_record(settings),
        environment=_environment(),
        command=_command_line(),
        fail_on=settings.fail_on,
    )
    for path in settings.reports:
        _write_report(run, path)
    _print(run, settings.output_format, output_file, color=color)
    return exit_code(run)


def run_demo(folder: Path, *, color: str) -> int:
    """`trainaudit demo`: 0 where the faulty net has findings and the repaired one has none."""
    from dataclasses import replace

    from trainaudit.auditing import audit_file, chosen_rules
    from trainaudit.demo import LOSS, build
    from trainaudit.judge.rule import rule_info

    try:
        folder.mkdir(parents=True, exist_ok=True)
        paths = build(folder)
    except OSError as error:
        raise TrainauditError(
            "cannot-write",
            f"{folder} could not be written: {(error.strerror or '').lower()}.",
            "Choose another folder with -o.",
        ) from None
    settings = replace(Settings(), loss=LOSS)
    rules = chosen_rules(settings)
    runs = {}
    for path in paths:
        audit = audit_file(str(path), settings, rules, detail=True).audit
        runs[path] = Run(
            version=__version__,
            audits=(audit,),
            rules=tuple(rule_info(rule) for rule in rules),
            settings=settings_record(settings),
            environment=_environment(),
            command=f"trainaudit {shlex.quote(str(path))} --loss {LOSS}",
            fail_on="warning",
        )
        print(f"$ {runs[path].command}")
        _print(runs[path], "full", None, color=color)
        print()
    no_pdf = _missing_pdf()
    print("Reports:")
    for path, run in runs.items():
        for suffix in (".html", *(() if no_pdf else (".pdf",))):
            report = path.with_suffix(suffix)
            _write_report(run, report)
            print(f"  {report}")
    if no_pdf:
        print(f"No PDF: {no_pdf}")
    faulty, repaired = runs.values()
    return 0 if exit_code(faulty) == 1 and exit_code(repaired) == 0 else 1


def _settings(flags: Mapping[str, Any], targets: Sequence[str] = ()) -> Settings:

    settings = read_settings(config=flags["config"], isolated=flags["isolated"])
    known = {key: value for key, value in flags.items() if key not in ("config", "isolated")}
    return with_flags(settings, targets=targets, **known)


def _audit_all(
    files: Sequence[str], settings: Settings, rules: Sequence[Any], *, detail: bool, jobs: int
) -> tuple[list[Any], list[tuple[str, str]]]:
    """Audits in the order of the files, and (target, sentence) for those that could not be audited."""
    if jobs > 1 and len(files) > 1:
        from concurrent.futures import ProcessPoolExecutor

        with ProcessPoolExecutor(min(jobs, len(files))) as pool:
            results = list(pool.map(_audit_apart, files, [settings] * len(files), [detail] * len(files)))
    else:
        results = [_audit_one(file, settings, rules, detail) for file in files]
    audited = [item for item in results if not isinstance(item, TrainauditError)]
    failures = [
        (file, str(item)) for file, item in zip(files, results, strict=True) if isinstance(item, TrainauditError)
    ]
    return audited, failures


def _audit_one(target: str, settings: Settings, rules: Sequence[Any], detail: bool) -> Any:
    from trainaudit.auditing import audit_file

    try:
        return audit_file(target, settings, rules, detail=detail)
    except TrainauditError as error:
        return error
    except MemoryError:
        return TrainauditError(
            "out-of-memory", "There is not enough memory to audit it.", "Audit it on a larger machine."
        )


def _audit_apart(target: str, settings: Settings, detail: bool) -> Any:
    """The same in a process of its own, which reads the rules itself: they hold functions and cannot travel."""
    from trainaudit.auditing import chosen_rules

    return _audit_one(target, settings, chosen_rules(settings), detail)


def _write_report(run: Run, path: Path) -> None:
    from trainaudit.report.files import write_report

    write_report(run, str(path))


def _print(
    run: Run,
    output_format: str,
    output_file: Path | None,
    *,
    color: str,
    quiet: bool = False,
    verbose: bool = False,
    statistics: bool = False,
) -> None:
    from trainaudit.report.formats import render

    colored = output_file is None and _wants_color(color)
    if statistics and output_format in ("full", "concise"):
        from trainaudit.report.to_terminal import render_statistics

        text = render_statistics(run, color=colored)
    else:
        text = render(run, output_format, width=_width(), color=colored, verbose=verbose, quiet=quiet)
    _out(text, output_file)


def _out(text: str, output_file: Path | None) -> None:
    if output_file is None or str(output_file) == "-":
        sys.stdout.write(text if text.endswith("\n") or not text else text + "\n")
        sys.stdout.flush()
    else:
        from trainaudit.report.files import write_whole

        write_whole(str(output_file), text)


def _read_run(path: Path) -> Run:
    from trainaudit.report.to_json import from_json

    return from_json(_read_text(path), str(path))


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise TrainauditError("no-such-file", f"There is no file {path}.", "Check the path.") from None
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not text"
        raise TrainauditError("unreadable", f"{path} cannot be read: {reason.lower()}.", "Check the file.") from None


def _glob(pattern: str) -> list[str]:
    import glob

    return sorted(path for path in glob.glob(pattern, recursive=True) if Path(path).is_file())


def _need_pdf(kinds: set[str]) -> None:
    """Refuses a PDF that cannot be made before anything is audited."""
    reason = _missing_pdf() if "pdf" in kinds else ""
    if reason:
        raise TrainauditError("no-pdf", "The PDF report cannot be made here.", reason)


def _missing_pdf() -> str:
    from trainaudit.report.to_pdf import missing

    return missing()


def _wants_color(choice: str) -> bool:
    from trainaudit.report.to_terminal import wants_color

    return wants_color(choice, sys.stdout.isatty(), os.environ)


def _width() -> int:
    import shutil

    return shutil.get_terminal_size((80, 24)).columns if sys.stdout.isatty() or "COLUMNS" in os.environ else 80


def _environment() -> dict[str, str]:
    """What the record says about where it was made: versions, no paths and no names."""
    import platform

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
    words = [Path(word).name if Path(word).is_absolute() else word for word in sys.argv[1:]]
    return shlex.join(["trainaudit", *words])


def _today() -> Any:
    from datetime import date

    return date.today()
