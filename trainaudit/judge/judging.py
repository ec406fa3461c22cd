"""Rules held against facts: five outcomes per subject, and findings where a rule is violated. May import the rest of `judge`,
`measure.catalog`, `measure.facts` and `result`.

For each rule and subject, in this order:

* not-applicable: a fact that the rule cannot do without is absent, or `applies_to` is false or hangs on an absent fact;
* clean: `when` is false;
* not-measured: `applies_to` or `when` hangs on an unmeasured fact;
* violated: both hold. A rule that breaks down is failed, and the others go on.

Facts are sparse columns, so a rule looks only at the subjects that stand in the shortest column it needs, and its conditions
narrow that list one after the other: the cost is that of a few list comprehensions for each rule, not of rules × subjects.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from trainaudit.judge.evaluation import ABSENT, COMPARE, Evaluator, evaluator
from trainaudit.judge.grouping import Violation, findings_of
from trainaudit.judge.rule import Rule
from trainaudit.judge.tree import (
    Comparison,
    Fact,
    Literal,
    Membership,
    Node,
    Not,
    Threshold,
    conjuncts,
    required_facts,
)
from trainaudit.judge.view import View
from trainaudit.measure.catalog import BY_NAME, SETTINGS
from trainaudit.measure.facts import FactTable, FactValue, Unmeasured
from trainaudit.result import Finding, Location, RuleOutcome, State

_OVERALL = (State.VIOLATED, State.FAILED, State.NOT_MEASURED, State.CLEAN)


@dataclass(slots=True)
class _Tally:
    """What became of one rule on the subjects of its kind."""

    total: int
    violated: list[str] = field(default_factory=list)
    unmeasured: dict[str, Unmeasured] = field(default_factory=dict)
    clean: int = 0
    not_applicable: int = 0
    absent: str = ""
    """A fact that the rule needs and no subject has."""


def judge(
    rules: Sequence[Rule], table: FactTable, *, target: str, locations: Mapping[str, Location]
) -> tuple[tuple[Finding, ...], tuple[RuleOutcome, ...]]:
    """Findings (most severe first) and one outcome per rule, in the order of the rules.

    `target` names the model in fingerprints and commands; `locations` maps layer names to where they stand.
    """
    views = {kind: View(kind, table) for kind in table.subjects}
    findings: list[Finding] = []
    outcomes: list[RuleOutcome] = []
    for rule in rules:
        view = views.get(rule.subject)
        if view is None:
            view = views[rule.subject] = View(rule.subject, table)
        try:
            tally = _judge_rule(rule, view)
            violations = [Violation(view.subjects[subject], view.columns(rule)) for subject in tally.violated]
            found = findings_of(rule, violations, target, locations)
        except Exception as error:
            # Whatever goes wrong inside one rule (a measurement of the wrong type, say) is that rule's outcome, not the audit's.
            outcomes.append(_failed(rule, len(view.subjects), error))
            continue
        findings.extend(found)
        outcomes.append(_outcome(rule, tally, target))
    order = {rule.id: index for index, rule in enumerate(rules)}
    findings.sort(key=lambda finding: (-finding.severity.rank, order[finding.rule]))
    return tuple(findings), tuple(outcomes)


def _judge_rule(rule: Rule, view: View) -> _Tally:
    subjects = view.subjects
    tally = _Tally(len(subjects))
    gate = () if rule.applies_to is None else conjuncts(rule.applies_to.node)
    body = conjuncts(rule.when.node)
    needed = required_facts(None if rule.applies_to is None else rule.applies_to.node) | required_facts(rule.when.node)
    applicable = view.subjects_with(needed)
    if not applicable and subjects:
        tally.absent = next((name for name in rule.needs if name in needed and view.is_empty(name)), "")
    inside, unknown, outside = _narrow(applicable, gate, view, rule)
    inside = [subject for subject in inside if subject not in outside]
    holds, undecided, absent = _narrow(inside, body, view, rule)
    tally.clean = len(inside) - len(holds)
    tally.not_applicable = tally.total - len(inside) + len(absent)
    for subject in holds:
        if subject in absent:
            continue
        reason = unknown.get(subject) or undecided.get(subject)
        if reason is None:
            tally.violated.append(subject)
        else:
            tally.unmeasured[subject] = reason
    return tally


def _narrow(
    subjects: Collection[str], parts: Iterable[Node], view: View, rule: Rule
) -> tuple[Collection[str], dict[str, Unmeasured], set[str]]:
    """The subjects on which no part is false; among them those that hang on an unmeasured fact, and those on an absent one."""
    unmeasured: dict[str, Unmeasured] = {}
    absent: set[str] = set()
    slow: list[Evaluator] = []
    limits = rule.limits
    columns = view.columns(rule)
    for part in parts:
        quick = _filter(part, limits, view)
        if quick is None:
            slow.append(evaluator(part, limits))
        else:
            subjects = quick(subjects)
    for evaluate in slow:
        kept = []
        for subject in subjects:
            value = evaluate(columns, subject)
            if value is False:
                continue
            kept.append(subject)
            if value is ABSENT:
                absent.add(subject)
            elif isinstance(value, Unmeasured):
                unmeasured.setdefault(subject, value)
        subjects = kept
    if absent or unmeasured:
        kept_set = set(subjects)
        unmeasured = {subject: reason for subject, reason in unmeasured.items() if subject in kept_set}
        absent = {subject for subject in absent & kept_set if subject not in unmeasured}
    return subjects, unmeasured, absent


_Filter = Callable[[Collection[str]], list[str]]


def _filter(part: Node, limits: Mapping[str, float], view: View) -> _Filter | None:
    """A whole-list filter for a part that compares one fully measured fact with a constant; None for every other part.

    Such a fact is one that the rule cannot do without, so every subject that is asked for has it.
    """
    negated = isinstance(part, Not)
    inner = part.operand if isinstance(part, Not) else part
    fact = inner.left if isinstance(inner, Comparison) else inner.operand if isinstance(inner, Membership) else inner
    if not isinstance(fact, Fact) or (negated and not isinstance(inner, Fact)) or not view.is_measured(fact.spec.name):
        return None
    column = view.column(fact.spec.name)
    if isinstance(inner, Fact):
        return lambda subjects: [subject for subject in subjects if column[subject] is not negated]
    if isinstance(inner, Membership):
        values, excluded = frozenset(inner.values), inner.negated
        return lambda subjects: [subject for subject in subjects if (column[subject] in values) is not excluded]
    if not isinstance(inner, Comparison) or not isinstance(inner.right, Literal | Threshold):
        return None
    constant = limits[inner.right.name] if isinstance(inner.right, Threshold) else inner.right.value
    return _comparison(column, inner.operator, constant)


def _comparison(column: Mapping[str, FactValue], operator: str, constant: float | int | bool | str) -> _Filter:
    # The two commonest are written out: a call for each subject would double their time.
    if operator == "==":
        return lambda subjects: [subject for subject in subjects if column[subject] == constant]
    if operator == "!=":
        return lambda subjects: [subject for subject in subjects if column[subject] != constant]
    compare = COMPARE[operator]
    return lambda subjects: [subject for subject in subjects if compare(column[subject], constant)]


def _outcome(rule: Rule, tally: _Tally, target: str) -> RuleOutcome:
    counts = {
        State.VIOLATED: len(tally.violated),
        State.CLEAN: tally.clean,
        State.NOT_APPLICABLE: tally.not_applicable,
        State.NOT_MEASURED: len(tally.unmeasured),
    }
    state = next((state for state in _OVERALL if counts.get(state)), State.NOT_APPLICABLE)
    reason = command = ""
    if tally.unmeasured and state in (State.NOT_MEASURED, State.VIOLATED):
        reason = Counter(item.reason for item in tally.unmeasured.values()).most_common(1)[0][0]
        command = _command(rule, target) if state is State.NOT_MEASURED else ""
    elif state is State.NOT_APPLICABLE:
        reason = _why_not_applicable(rule, tally)
    return RuleOutcome(rule.id, state, {key.value: count for key, count in counts.items() if count}, reason, command)


def _why_not_applicable(rule: Rule, tally: _Tally) -> str:
    if not tally.total:
        return f"the model has no {rule.subject}s"
    if tally.absent:
        return f"nothing here has {tally.absent} ({BY_NAME[tally.absent].meaning})"
    what = "the model" if rule.subject == "model" else f"any {rule.subject}"
    return f"does not apply to {what} here"


def _command(rule: Rule, target: str) -> str:
    """What would run the rule: nothing but the loss can be declared so far."""
    import shlex

    return (
        f"trainaudit {shlex.quote(target)} --loss NAME"
        if any(BY_NAME[name].source == SETTINGS for name in rule.needs)
        else ""
    )


def _failed(rule: Rule, total: int, error: Exception) -> RuleOutcome:
    return RuleOutcome(rule.id, State.FAILED, {State.FAILED.value: total}, f"{type(error).__name__}: {error}")
