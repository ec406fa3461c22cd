"""A rule as it stands in its file, checked. Data only. May import `judge.tree`, `judge.template`, `measure.catalog` and `result`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from pathlib import Path

from trainaudit.frozen import frozen
from trainaudit.judge.template import Template
from trainaudit.judge.tree import Node, facts_in
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


@frozen
class FixAdvice:
    """How to repair. `torch` names the layer through placeholders; `recipe` is the list of changes that a machine can make."""

    summary: Template
    safety: str
    torch: Template
    recipe: tuple[Mapping[str, str], ...] = ()


@frozen
class Rule:
    """One rule. `category` is its folder; `thresholds` keep the units and sources of their values."""

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

    @property
    def needs(self) -> tuple[str, ...]:
        """Names of the facts that its conditions read, in order, each once."""
        nodes = [self.when.node] if self.applies_to is None else [self.applies_to.node, self.when.node]
        return tuple(dict.fromkeys(spec.name for node in nodes for spec in facts_in(node)))

    @property
    def limits(self) -> dict[str, float]:
        """Threshold name → number."""
        return {name: threshold.value for name, threshold in self.thresholds.items()}  # type: ignore[misc]

    @property
    def evidence_level(self) -> str:
        """The weakest evidence that can judge it: static, loss, forward, training or data."""
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
    )


def template_text(template: Template) -> str:
    """The text with its placeholders unfilled, as in the file."""
    return "".join(
        piece if isinstance(piece, str) else f"{{{piece[0] if isinstance(piece, tuple) else piece.name}}}"
        for piece in template.pieces
    )
