"""A rule as it stands in its file, checked. Data only. May import `judge.tree`, `judge.template`, `measure.catalog` and `result`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from pathlib import Path

from trainaudit.changes import worded
from trainaudit.frozen import frozen
from trainaudit.judge.template import Template
from trainaudit.judge.tree import BOOLEAN, Literal, Node, facts_in, unparse
from trainaudit.measure.catalog import BY_NAME, DATA, FORWARD, SETTINGS, TRAINING
from trainaudit.result import Reference, RuleInfo, Severity, ThresholdInfo

STATIC, LOSS = "static", "loss"
_LEVELS = {SETTINGS: LOSS, FORWARD: FORWARD, TRAINING: TRAINING, DATA: DATA}
_ORDER = (STATIC, LOSS, FORWARD, TRAINING, DATA)


@frozen
class Condition:
    """A condition as its author wrote it, and the checked tree."""

    text: str
    node: Node


NEVER = Condition("", Literal(False, BOOLEAN))
"""Of a rule that was not read."""


@frozen
class ChangeAdvice:
    """A change that a machine can make, before it is known where: see `changes.KINDS` for its parts and `changing` for how they are filled in."""

    kind: str
    where: Template
    to: Template
    amount: Node | None = None


@frozen
class FixAdvice:
    """How to repair. `torch` names the layer through placeholders; `recipe` is what a machine can change, () where only a person can."""

    summary: Template
    safety: str
    torch: Template
    recipe: tuple[ChangeAdvice, ...] = ()


@frozen
class ProbeClauses:
    """What a rule that stands on the file alone says where a probe was run.

    `when` is its measured form, with a message of its own: what holds it violates the rule, whatever the file said. A finding of the file is
    confirmed where `confirmed_when` holds (or `when`), and withdrawn where `withdrawn_when` does; `says` gives both numbers.
    """

    applies_to: Condition | None = None
    when: Condition | None = None
    message: Template | None = None
    severity: Severity | None = None
    confirmed_when: Condition | None = None
    withdrawn_when: Condition | None = None
    says: Template | None = None

    @property
    def conditions(self) -> tuple[Condition, ...]:
        found = (self.applies_to, self.when, self.confirmed_when, self.withdrawn_when)
        return tuple(condition for condition in found if condition is not None)


@frozen
class Rule:
    """One rule. `category` is its folder; `thresholds` keep the units and sources of their values.

    `follows` are the ids of rules whose violation may bring this one about. `evidence` is the level that its file declares, "" where there is none. Where nothing of that level was gathered the rest of the file
    need not be read: `is_outline` is True and the conditions, texts and thresholds are empty.
    """

    id: str
    name: str
    category: str
    severity: Severity
    confidence: str
    status: str
    since: str
    recipe: str
    subject: str
    applies_to: Condition | None
    when: Condition
    message: Template
    why: str
    thresholds: Mapping[str, ThresholdInfo]
    fix: FixAdvice | None
    references: tuple[Reference, ...]
    path: Path = field(compare=False)
    evidence: str = ""
    follows: tuple[str, ...] = ()
    probe: ProbeClauses | None = None
    is_outline: bool = False

    @property
    def needs(self) -> tuple[str, ...]:
        """Names of the facts that its conditions read, in order, each once."""
        nodes = [self.when.node] if self.applies_to is None else [self.applies_to.node, self.when.node]
        return tuple(dict.fromkeys(spec.name for node in nodes for spec in facts_in(node)))

    @property
    def probe_needs(self) -> tuple[str, ...]:
        """Names of the facts that its clauses for a probe read, in conditions and texts."""
        if self.probe is None:
            return ()
        found = [spec for condition in self.probe.conditions for spec in facts_in(condition.node)]
        found += [spec for text in (self.probe.message, self.probe.says) if text is not None for spec in text.facts]
        return tuple(dict.fromkeys(spec.name for spec in found))

    @property
    def limits(self) -> dict[str, float]:
        """Threshold name → number."""
        return {name: threshold.value for name, threshold in self.thresholds.items()}  # type: ignore[misc]

    @property
    def evidence_level(self) -> str:
        """The weakest evidence that can judge it: static, loss, forward, training or data."""
        if self.is_outline:
            return self.evidence
        levels = [_LEVELS.get(BY_NAME[name].source, STATIC) for name in self.needs]
        return max(levels, key=_ORDER.index, default=STATIC)


def rule_info(rule: Rule) -> RuleInfo:
    """What reports say about the rule."""
    return RuleInfo(
        id=rule.id,
        name=rule.name,
        category=rule.category,
        severity=rule.severity,
        confidence=rule.confidence,
        status=rule.status,
        since=rule.since,
        recipe=rule.recipe,
        why=rule.why,
        fix_summary="" if rule.fix is None else template_text(rule.fix.summary),
        needs=rule.needs,
        evidence_level=rule.evidence_level,
        thresholds=tuple(rule.thresholds.values()),
        references=rule.references,
        follows=rule.follows,
    )


def change_text(advice: ChangeAdvice) -> str:
    """In one line, placeholders unfilled: "initialize {layer.weight}: kaiming_normal, gain layer.wanted_gain"."""
    amount = "" if advice.amount is None else unparse(advice.amount)
    return worded(advice.kind, template_text(advice.where), template_text(advice.to), amount)


def template_text(template: Template) -> str:
    """The text with its placeholders unfilled, as in the file."""
    return "".join(
        piece if isinstance(piece, str) else f"{{{piece[0] if isinstance(piece, tuple) else piece.name}}}"
        for piece in template.pieces
    )
