"""Networks with a known fault and their repairs, each trained for a moment with its own data, loss and optimizer.

`detected`, `diagnosed` and `false alarm` as in `benchmarks.faulty`. What a probe withdrew counts for nothing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.faulty import DIAGNOSES, LOSSES
from trainaudit.auditing import Measured, chosen_rules
from trainaudit.load.target import Target
from trainaudit.probe.plan import ProbePlan
from trainaudit.probing import measure_again, probe_target
from trainaudit.result import Audit, Finding
from trainaudit.settings import Settings

if TYPE_CHECKING:
    from benchmarks.probed import Probed

DEAD = frozenset({"dead-units", "dead-layer", "dying-units", "dead-by-bias", "unfireable-relu"})
FAST = frozenset({"learning-rate-too-high"})
BY_PROBE: dict[str, frozenset[str]] = {
    "lr-too-high": FAST,
    "lr-too-low": frozenset({"learning-rate-too-low"}),
    "dying-relu": DEAD,
    "vanishing-gradient": frozenset({"vanishing-gradient"}),
    "gradient-sign": frozenset({"gradient-ascent"}),
    "over-regularization": frozenset({"excessive-weight-decay"}),
    "data-double-normalized": frozenset({"unnormalized-input"}),
    "data-not-normalized": frozenset({"unnormalized-input"}),
    "target-not-normalized": frozenset({"unscaled-target"}),
    "loss-reduction": frozenset({"summed-loss"}),
    "label-range": frozenset({"label-out-of-range", "wrong-loss-for-output"}),
    "batch-size": frozenset({"oscillating-loss", "batch-size-for-batchnorm"}),
    "saturating-hidden-activation": frozenset({"saturated-activation", "vanishing-gradient"}),
    "wrong-optimizer": frozenset({"learning-rate-too-high", "learning-rate-too-low"}),
    "init-too-large": frozenset({"wrong-loss-at-init", "exploding-gradient"}),
    "missing-normalization": frozenset({"vanishing-gradient", "exploding-gradient"}),
    "numerical-log-zero": frozenset({"diverged"}),
}
"""Fault label → rules over a run that name it, besides those that read the file."""

REACHABLE = ("static", "probe", "data")


def keys(folder: Path) -> list[str]:
    """The Python files of all cases, both variants."""
    cases = json.loads((folder / "cases.json").read_text(encoding="utf-8"))
    paths = [folder / "py" / f"{case['id']}__{variant}.py" for case in cases for variant in ("faulty", "fixed")]
    return [str(path) for path in paths if path.exists()]


def _settings(path: str) -> Settings:
    """The loss declared by its name, as a user would in the settings."""
    file = Path(path)
    cases = {case["id"]: case for case in json.loads((file.parents[1] / "cases.json").read_text(encoding="utf-8"))}
    name, _, variant = file.stem.partition("__")
    return replace(Settings(), loss=LOSSES.get(cases[name]["net" if variant == "faulty" else "fixed"]["loss"]))


def probe(path: str, budget: float) -> Audit:
    """The file's own model, data, loss and optimizer."""
    settings = _settings(path)
    plan = ProbePlan(spec=path, time_budget=budget)
    return probe_target(_target(path), plan, settings, chosen_rules(settings), lambda _stage, _share: None).audit


def measure(path: str) -> tuple[Measured, Settings]:
    return measure_again(_target(path), _settings(path), None), _settings(path)


def _target(path: str) -> Target:
    return Target(f"{path}:build_model")


def standing(audit: Audit) -> list[Finding]:
    """Findings that the probe did not withdraw."""
    return [finding for finding in audit.findings if finding.probe != "withdrawn"]


def loud(audit: Audit) -> list[str]:
    """Rules with an error or a warning that stands."""
    return [finding.rule for finding in standing(audit) if finding.severity.value != "note"]


def wanted(labels: list[str]) -> frozenset[str]:
    return frozenset().union(
        *(DIAGNOSES.get(label, frozenset()) | BY_PROBE.get(label, frozenset()) for label in labels)
    )


def table(folder: Path, found: Mapping[str, Probed]) -> list[str]:
    cases = json.loads((folder / "cases.json").read_text(encoding="utf-8"))
    rows: list[dict[str, Any]] = []
    for case in cases:
        faulty = found.get(str(folder / "py" / f"{case['id']}__faulty.py"))
        fixed = found.get(str(folder / "py" / f"{case['id']}__fixed.py"))
        if faulty is None:
            continue
        audit = faulty.audit
        named = {finding.rule for finding in standing(audit)} & wanted(case["fault_labels"]) if audit else set()
        rows.append({
            "case": case, "faulty": faulty, "fixed": fixed, "named": sorted(named),
            "clean": bool(fixed and not case["fixed_residual"]),
        })  # fmt: skip
    clean = [row["fixed"].audit for row in rows if row["clean"] and row["fixed"].audit]
    unprobed = [row["fixed"].key for row in rows if row["clean"] and row["fixed"].audit is None]
    alarms = [finding for audit in clean for finding in standing(audit) if finding.severity.value != "note"]
    errors = sum(finding.severity.value == "error" for finding in alarms)
    reachable = [row for row in rows if row["case"]["detectability"] in REACHABLE]
    lines = [
        f"Of the {len(reachable)} cases that a file, a run or data may show, {sum(bool(row['named']) for row in reachable)} are diagnosed "
        f"({sum(bool(row['named']) for row in reachable) / len(reachable):.0%}).",
        "",
        "| evidence needed | cases | detected | diagnosed |",
        "|---|---|---|---|",
        *(_counts(kind, [row for row in rows if row["case"]["detectability"] == kind]) for kind in (*REACHABLE, "not-detectable")),
        "",
        f"Clean repaired variants: {len(clean)} probed{f', {len(unprobed)} not' if unprobed else ''}, with {errors} errors and "
        f"{len(alarms) - errors} warnings ({len(alarms) / len(clean):.2f} errors and warnings each).",
        "",
        "| case | labels | evidence needed | faulty: errors and warnings | diagnosed by | repaired: errors and warnings |",
        "|---|---|---|---|---|---|",
    ]  # fmt: skip
    for row in rows:
        case, faulty, fixed = row["case"], row["faulty"], row["fixed"]
        said = faulty.failure or (", ".join(loud(faulty.audit)) or "–")
        repaired = "not there" if fixed is None else fixed.failure or (", ".join(loud(fixed.audit)) or "–")
        residual = " (residual fault)" if fixed is not None and not row["clean"] else ""
        lines.append(
            f"| {case['id']} | {', '.join(case['fault_labels'])} | {case['detectability']} | {said} "
            f"| {', '.join(row['named']) or '–'} | {repaired}{residual} |"
        )
    return lines


def _counts(kind: str, rows: list[dict[str, Any]]) -> str:
    detected = sum(bool(row["faulty"].audit and loud(row["faulty"].audit)) for row in rows)
    return f"| {kind} | {len(rows)} | {detected} | {sum(bool(row['named']) for row in rows)} |"
