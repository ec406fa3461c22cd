"""The corpus of healthy networks under the rules: every error and warning is a false alarm, or argued for in approved.json."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import trainaudit
from benchmarks.exports import MODELS, TRAINED, exported
from tests.corpus.exporting import EXPORTERS, FORMS, ONLY_DYNAMO
from trainaudit.result import Audit

APPROVED: dict[str, dict[str, str]] = json.loads(
    (Path(__file__).parents[1] / "tests" / "corpus" / "approved.json").read_text(encoding="utf-8")
)


@dataclass(frozen=True, slots=True)
class Healthy:
    """One audit of one network; `audit` is None where the exporter could not write the network, and `reason` says why."""

    name: str
    weights: str
    export: str
    audit: Audit | None
    reason: str = ""

    @property
    def alarms(self) -> list[str]:
        """Rules with an error or a warning."""
        return loud(self.audit) if self.audit else []


def loud(audit: Audit) -> list[str]:
    """Rules with an error or a warning."""
    return [finding.rule for finding in audit.findings if finding.severity.value != "note"]


def noted(audit: Audit) -> list[str]:
    """Rules with a note."""
    return [finding.rule for finding in audit.findings if finding.severity.value == "note"]


def audits() -> Iterator[Healthy]:
    """All of them, one after the other; each is printed as it comes."""
    for weights, names in (("fresh", MODELS), ("trained", TRAINED)):
        for name in names:
            for exporter in EXPORTERS:
                for form in FORMS:
                    one = _audited(name, weights, exporter, form)
                    said = one.reason or ", ".join(one.alarms) or "quiet"
                    print(f"{name} ({weights}; {one.export}): {said}", flush=True)
                    yield one


def _audited(name: str, weights: str, exporter: str, form: str) -> Healthy:
    way = f"{exporter}, {form}"
    if exporter == "torchscript" and name in ONLY_DYNAMO:
        return Healthy(name, weights, way, None, ONLY_DYNAMO[name])
    return Healthy(
        name, weights, way, trainaudit.audit(exported(name, exporter, form, is_trained=weights == "trained"))
    )


def table(rows: list[Healthy]) -> list[str]:
    """A line of totals, the alarms by rule, and one row per network and kind of weights."""
    audited = [row for row in rows if row.audit]
    alarms = Counter(rule for row in audited for rule in row.alarms)
    errors = sum(finding.severity.value == "error" for row in audited if row.audit for finding in row.audit.findings)
    unargued = [(row.name, rule) for row in audited for rule in row.alarms if rule not in APPROVED.get(row.name, {})]
    lines = [
        f"{len({row.name for row in rows})} networks, {len(audited)} audits ({len(rows) - len(audited)} not exported): "
        f"{errors} errors, {sum(alarms.values()) - errors} warnings, {sum(alarms.values()) / len(audited):.3f} per audit; "
        f"{len(unargued)} of them not argued for in tests/corpus/approved.json.",
        "",
        "| rule | audits with an error or warning |",
        "|---|---|",
        *(f"| {rule} | {count} |" for rule, count in alarms.most_common()),
        "",
        "| model | weights | exports | coverage | recognized as | errors and warnings | notes |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, weights in dict.fromkeys((row.name, row.weights) for row in rows):
        lines.append(_line([row for row in rows if (row.name, row.weights) == (name, weights)]))
    return lines


def _line(rows: list[Healthy]) -> str:
    """One network over its exports: a count stands behind what not all of them say."""
    there = [row.audit for row in rows if row.audit]
    missing = ", ".join(f"{row.export}: {row.reason}" for row in rows if not row.audit)

    def joined(words: Counter[str]) -> str:
        return ", ".join(word if count == len(there) else f"{word} ({count})" for word, count in words.items()) or "–"

    return (
        f"| {rows[0].name} | {rows[0].weights} | {len(there)}{f' ({missing})' if missing else ''} "
        f"| {min(audit.model.coverage for audit in there):.1%} "
        f"| {joined(Counter(audit.model.weights_state for audit in there))} "
        f"| {joined(Counter(rule for audit in there for rule in loud(audit)))} "
        f"| {joined(Counter(rule for audit in there for rule in noted(audit)))} |"
    )
