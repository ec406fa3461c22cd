"""Violations become findings: one cause is one finding, its root first. May import the rest of `judge`, `measure.facts` and `result`.

What one rule finds in one model is one cause, over however many layers, and over however many parameters of one layer.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from trainaudit.frozen import frozen
from trainaudit.judge.changing import changes_of
from trainaudit.judge.evaluation import Columns, evidence
from trainaudit.judge.probed import SILENT, WITHDRAWN, Verdict
from trainaudit.judge.rule import FixAdvice, Rule
from trainaudit.judge.selection import Ignore
from trainaudit.judge.template import fill
from trainaudit.measure.facts import FactScalar, Subject, Unmeasured
from trainaudit.result import Finding, Fix, Location, Occurrence


@frozen
class Violation:
    """A subject on which the rule is violated, the facts as that kind of subject sees them, and the rule in the form that is violated there (a
    file's or a probe's), with what the probe says of the file's finding."""

    subject: Subject
    columns: Columns
    rule: Rule
    verdict: Verdict = SILENT

    def value(self, fact: str) -> FactScalar | None:
        """The fact's value on the subject, None where it has none."""
        value = self.columns[fact].get(self.subject.id)
        return None if isinstance(value, Unmeasured) else value


def findings_of(
    rule: Rule,
    violations: Sequence[Violation],
    target: str,
    locations: Mapping[str, Location],
    ignores: Sequence[Ignore] = (),
) -> tuple[list[Finding], set[Ignore]]:
    """The findings of one rule on one model, each with its occurrences in topological order, and the ignores that matched.

    What an ignore sets aside, and what a probe withdraws, becomes findings of its own: the root of what is left, and the fix that names it, are
    then live ones.
    """
    groups: dict[tuple[Ignore | None, bool], list[Violation]] = {}
    matched: set[Ignore] = set()
    for violation in sorted(violations, key=_order):
        mine = _matching(violation.subject, locations, ignores) if ignores else []
        matched.update(mine)
        key = (mine[0] if mine else None, violation.verdict.probe == WITHDRAWN)
        groups.setdefault(key, []).append(violation)
    return [_finding(rule, group, target, locations, ignore) for (ignore, _), group in groups.items()], matched


def _order(violation: Violation) -> tuple[int, bool, str]:
    """Topological; of one layer's parameters the weight before the bias, so that message and fix name it."""
    subject = violation.subject
    is_bias = subject.kind == "parameter" and str(violation.value("parameter.role")).endswith("bias")
    return subject.position, is_bias, subject.id


def _matching(subject: Subject, locations: Mapping[str, Location], ignores: Sequence[Ignore]) -> list[Ignore]:
    place = _location(subject, locations)
    return [ignore for ignore in ignores if ignore.names_place(place, subject.id)]


def fingerprint(rule: str, target: str, subject: str) -> str:
    """16 hexadecimal digits that stay the same as long as rule, model and subject do, whatever is measured."""
    import hashlib

    text = "\0".join((rule, model_name(target), subject))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def model_name(target: str) -> str:
    """The model by its path as given, in one spelling: "./a//m.onnx" is "a/m.onnx"."""
    return os.path.normpath(target).replace(os.sep, "/")


def _finding(
    rule: Rule, group: Sequence[Violation], target: str, locations: Mapping[str, Location], ignore: Ignore | None
) -> Finding:
    told = next((violation.verdict for violation in group if violation.verdict.probe), SILENT)
    return Finding(
        rule=rule.id,
        name=rule.name,
        category=rule.category,
        severity=max((violation.rule.severity for violation in group), key=lambda severity: severity.rank),
        confidence=rule.confidence,
        kind=rule.subject,
        why=rule.why,
        recipe=rule.recipe,
        fix=None if rule.fix is None else _fix(rule, rule.fix, group[0]),
        occurrences=tuple(_occurrence(violation, target, locations) for violation in group),
        ignored="" if ignore is None else ignore.reason,
        ignored_until="" if ignore is None or ignore.until is None else ignore.until.isoformat(),
        probe=told.probe,
        probe_note=told.note,
    )


def _occurrence(violation: Violation, target: str, locations: Mapping[str, Location]) -> Occurrence:
    rule, subject, limits = violation.rule, violation.subject, violation.rule.limits
    because = {name: threshold.because for name, threshold in rule.thresholds.items()}
    return Occurrence(
        subject=subject.id,
        location=_location(subject, locations),
        message=fill(rule.message, violation.value, limits),
        evidence=evidence(rule.when.node, limits, because, violation.columns, subject.id, rule.message.facts),
        fingerprint=fingerprint(rule.id, target, subject.id),
        changes=changes_of(rule, violation.columns, subject.id),
    )


def _location(subject: Subject, locations: Mapping[str, Location]) -> Location:
    place = Location() if subject.layer is None else locations.get(subject.layer, Location(layer=subject.layer))
    if subject.kind != "parameter":
        return place
    return Location(place.layer, place.op, place.node, place.module, place.file, place.line, subject.id)


def _fix(rule: Rule, advice: FixAdvice, root: Violation) -> Fix:
    return Fix(
        summary=fill(advice.summary, root.value, rule.limits),
        safety=advice.safety,
        code=fill(advice.torch, root.value, rule.limits, plain=True).strip(),
    )
