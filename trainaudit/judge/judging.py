"""Rules held against facts: five outcomes per subject, and findings where a rule is violated. May import the rest of `judge`,
`measure.catalog`, `measure.facts` and `result`.

For each rule and subject, in this order:

* not-applicable: a fact that the rule cannot do without is absent, or `applies_to` is false or hangs on an absent fact;
* clean: `when` is false;
* not-measured: `applies_to` or `when` hangs on an unmeasured fact;
* violated: both hold. A rule that breaks down is failed, and the others go on.

A rule whose file declares evidence that was not gathered is not measured, and is not looked at. Where a probe was run, rules that stand on the file
are judged in their measured form too, and what the probe says of the file's findings is written beside them (`judge.probed`).

Facts are sparse columns, so a rule looks only at the subjects that stand in the shortest column it needs, and its conditions
narrow that list one after the other: the cost is that of a few list comprehensions for each rule, not of rules × subjects.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import field, replace
from itertools import compress

from trainaudit.frozen import frozen, slotted
from trainaudit.judge.evaluation import ABSENT, Evaluator, NoValueError, Result, evaluator, stream
from trainaudit.judge.grouping import Violation, findings_of
from trainaudit.judge.probed import SILENT, measured_form, reached_levels, verdicts
from trainaudit.judge.rule import Rule
from trainaudit.judge.selection import Ignore
from trainaudit.judge.tree import Node, conjuncts, facts_in, required_facts
from trainaudit.judge.view import NOT_RUN, View
from trainaudit.measure.catalog import BY_NAME, DATA, FORWARD, SETTINGS, SINGLE_KINDS, TRAINING, FactSpec
from trainaudit.measure.facts import FactTable, Unmeasured
from trainaudit.result import Finding, Location, RuleOutcome, State

_OVERALL = (State.VIOLATED, State.NOT_MEASURED, State.IGNORED, State.WITHDRAWN, State.CLEAN)


@slotted
class _Tally:
    """What became of one rule on the subjects of its kind."""

    total: int
    violated: list[str] = field(default_factory=list)
    unmeasured: dict[str, Unmeasured] = field(default_factory=dict)
    inside: Collection[str] = ()
    holds: Collection[str] = ()
    """Subjects to which the rule applies, and those of them on which it is not clean."""
    clean: int = 0
    not_applicable: int = 0
    absent: str = ""
    """A fact that the rule needs and no subject has."""


@frozen
class Judgment:
    """Findings (live ones before ignored ones, most severe first), and one outcome per rule in the order of the rules. `matched` are the
    ignores that set something aside here, `covered` those that name a rule which was judged here."""

    findings: tuple[Finding, ...]
    outcomes: tuple[RuleOutcome, ...]
    matched: frozenset[Ignore] = frozenset()
    covered: frozenset[Ignore] = frozenset()


def judge(
    rules: Sequence[Rule],
    table: FactTable,
    *,
    target: str,
    locations: Mapping[str, Location],
    ignores: Sequence[Ignore] = (),
    given: Sequence[str] = (),
) -> Judgment:
    """All rules against all facts of one model.

    `target` names the model in fingerprints and commands, where `given` (options with their values) stands behind it; `locations` maps layer
    names to where they stand; `ignores` are those that hold for this model (see `selection.active_ignores`).
    """
    import shlex

    reached = reached_levels(table)
    asked = shlex.join((target, *given))
    views = {kind: View(kind, table) for kind in table.subjects}
    findings: list[Finding] = []
    outcomes: list[RuleOutcome] = []
    matched: set[Ignore] = set()
    covered: set[Ignore] = set()
    for rule in rules:
        view = views.get(rule.subject)
        if view is None:
            view = views[rule.subject] = View(rule.subject, table)
        if rule.evidence and rule.evidence not in reached:
            outcomes.append(_not_run(rule, len(view.subjects), asked))
            continue
        mine = [ignore for ignore in ignores if ignore.names_rule(rule)]
        try:
            tally, violations = _judged(rule, view) if reached and rule.probe else _judged_alone(rule, view)
            found, used = findings_of(rule, violations, target, locations, mine)
        except Exception as error:
            # Whatever goes wrong inside one rule (a measurement of the wrong type, say) is that rule's outcome, not the audit's.
            outcomes.append(_failed(rule, len(view.subjects), error))
            continue
        findings.extend(found)
        outcome = _outcome(rule, tally, asked, found)
        outcomes.append(outcome)
        matched |= used
        if outcome.state is not State.NOT_MEASURED:
            covered.update(mine)
    findings.sort(key=lambda finding: (not finding.is_live, -finding.severity.rank))
    return Judgment(tuple(findings), tuple(outcomes), frozenset(matched), frozenset(covered))


def _judged_alone(rule: Rule, view: View) -> tuple[_Tally, list[Violation]]:
    tally = _judge_rule(rule, view)
    return tally, [Violation(view.subjects[subject], view.columns, rule) for subject in tally.violated]


def _judged(rule: Rule, view: View) -> tuple[_Tally, list[Violation]]:
    """In both of its forms: what either finds is found, and what one leaves open the other may answer."""
    stored, violations = _judged_alone(rule, view)
    form = measured_form(rule)
    measured, more = (_Tally(stored.total), []) if form is None else _judged_alone(form, view)
    said = verdicts(rule, view, stored.violated, measured.violated)
    worse = rule if form is None or form.severity.rank < rule.severity.rank else replace(rule, severity=form.severity)
    both = set(measured.violated)
    violations = [
        replace(item, rule=worse if item.subject.id in both else rule, verdict=said.get(item.subject.id, SILENT))
        for item in violations
    ]
    violations += [item for item in more if item.subject.id not in set(stored.violated)]
    violated = {*stored.violated, *measured.violated}
    clean = (set(stored.inside) - set(stored.holds)) | (set(measured.inside) - set(measured.holds))
    clean -= violated
    unmeasured = {**measured.unmeasured, **stored.unmeasured}
    unmeasured = {subject: reason for subject, reason in unmeasured.items() if subject not in violated | clean}
    rest = stored.total - len(violated) - len(clean) - len(unmeasured)
    return _Tally(stored.total, sorted(violated), unmeasured, (), (), len(clean), rest, stored.absent), violations


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
    if outside:
        inside = [subject for subject in inside if subject not in outside or subject in unknown]
    holds, undecided, absent = _narrow(inside, body, view, rule)
    tally.inside, tally.holds = inside, holds
    tally.clean = len(inside) - len(holds)
    for subject in holds:
        if subject in absent and subject not in undecided:
            continue
        reason = unknown.get(subject) or undecided.get(subject)
        if reason is None:
            tally.violated.append(subject)
        else:
            tally.unmeasured[subject] = reason
    tally.not_applicable = tally.total - tally.clean - len(tally.violated) - len(tally.unmeasured)
    return tally


def _narrow(
    subjects: Collection[str], parts: Sequence[Node], view: View, rule: Rule
) -> tuple[Collection[str], dict[str, Unmeasured], set[str]]:
    """The subjects on which no part is false; and of all subjects, those with a part that hangs on an unmeasured fact, and those with
    one that hangs on an absent fact."""
    unmeasured: dict[str, Unmeasured] = {}
    absent: set[str] = set()
    columns, limits = view.columns, rule.limits
    slow: list[tuple[Evaluator, Collection[str], list[FactSpec]]] = []
    read = [(part, list({spec.name: spec for spec in facts_in(part)}.values())) for part in parts]
    # Whatever is decided for the whole model or for a whole column at once comes first: it leaves less to look at one by one.
    for part, facts in sorted(read, key=lambda one: not _are_of_all(one[1])):
        if not subjects:
            break
        evaluate = evaluator(part, limits)
        if _are_of_all(facts):
            value = evaluate(columns, next(iter(subjects)))
            if isinstance(value, Unmeasured):
                unmeasured = {**dict.fromkeys(subjects, value), **unmeasured}
            elif value is ABSENT:
                absent.update(subjects)
            elif value is False:
                subjects = ()
            continue
        unknown = view.without_value(facts, subjects)
        try:
            if len(facts) == 1 and not unknown and facts[0].has_few_values:
                subjects = _of_values(evaluate, facts[0].name, subjects, view)
            else:
                known = [subject for subject in subjects if subject not in unknown] if unknown else subjects
                held = list(compress(known, stream(part, limits, columns, known)))
                subjects = _in_order(subjects, unknown, held) if unknown else held
        except NoValueError:  # a division has no result: one by one, then
            unknown = subjects
        if unknown:
            slow.append((evaluate, unknown, facts))
    for evaluate, unknown, facts in slow:
        kept = []
        column = columns[facts[0].name] if len(facts) == 1 else None
        given: object = slow  # no fact's value
        told: Result = True
        for subject in subjects:
            value = True
            if subject in unknown:
                # layers in a row often share the reason why nothing was measured on them
                if column is None or column.get(subject) is not given:
                    given = None if column is None else column.get(subject)
                    told = evaluate(columns, subject)
                value = told
            if value is False:
                continue
            kept.append(subject)
            if value is ABSENT:
                absent.add(subject)
            elif isinstance(value, Unmeasured):
                unmeasured.setdefault(subject, value)
        subjects = kept
    return subjects, unmeasured, absent


def _are_of_all(facts: Iterable[FactSpec]) -> bool:
    """Every one is the same for all subjects."""
    return all(spec.kind in SINGLE_KINDS for spec in facts)


def _in_order(subjects: Collection[str], *chosen: Collection[str]) -> list[str]:
    kept = set().union(*chosen)
    return [subject for subject in subjects if subject in kept]


def _of_values(evaluate: Evaluator, fact: str, subjects: Collection[str], view: View) -> Collection[str]:
    """The subjects on which a condition on one fact of few values holds: it is decided once for each value. Raises `NoValueError` where it
    cannot be for one of them."""
    values = view.values(fact)
    decided = {value: evaluate({fact: {"": value}}, "") for value in values}
    if not all(isinstance(holds, bool) for holds in decided.values()):
        raise NoValueError
    held = frozenset(value for value, holds in decided.items() if holds)
    if not held:
        return ()
    column = view.columns[fact]
    if len(subjects) == len(column):  # all that have the fact
        return subjects if len(held) == len(values) else view.having(fact, held)
    return [subject for subject in subjects if column[subject] in held]


def _outcome(rule: Rule, tally: _Tally, asked: str, found: Sequence[Finding]) -> RuleOutcome:
    ignored = sum(len(finding.occurrences) for finding in found if finding.ignored)
    withdrawn = sum(len(finding.occurrences) for finding in found if not finding.ignored and not finding.is_live)
    counts = {
        State.VIOLATED: len(tally.violated) - ignored - withdrawn,
        State.IGNORED: ignored,
        State.WITHDRAWN: withdrawn,
        State.CLEAN: tally.clean,
        State.NOT_APPLICABLE: tally.not_applicable,
        State.NOT_MEASURED: len(tally.unmeasured),
    }
    state = next((state for state in _OVERALL if counts.get(state)), State.NOT_APPLICABLE)
    reason = command = ""
    if tally.unmeasured and state in (State.NOT_MEASURED, State.VIOLATED):
        reason = Counter(item.reason for item in tally.unmeasured.values()).most_common(1)[0][0]
        command = _command(rule, asked, reason) if state is State.NOT_MEASURED else ""
    elif state is State.NOT_APPLICABLE:
        reason = _why_not_applicable(rule, tally)
    return RuleOutcome(rule.id, state, {key.value: count for key, count in counts.items() if count}, reason, command)


def _why_not_applicable(rule: Rule, tally: _Tally) -> str:
    if not tally.total:
        return f"the model has no {rule.subject}s"
    if tally.absent:
        return f"no {BY_NAME[tally.absent].kind} here has {tally.absent}"
    what = "the model" if rule.subject == "model" else f"any {rule.subject}"
    return f"does not apply to {what} here"


def _not_run(rule: Rule, total: int, asked: str) -> RuleOutcome:
    """Of a rule that needs what was not gathered."""
    reason = NOT_RUN[rule.evidence]
    counts = {State.NOT_MEASURED.value: max(total, 1)}
    return RuleOutcome(rule.id, State.NOT_MEASURED, counts, reason, _command(rule, asked, reason))


def _command(rule: Rule, asked: str, reason: str) -> str:
    """What would run the rule: a probe where nothing was run, data where none was read, the name of the loss where that is missing."""
    if reason in (NOT_RUN[FORWARD], NOT_RUN[TRAINING]):
        return f"trainaudit probe {asked}"
    if rule.evidence_level == DATA and (reason == NOT_RUN[DATA] or "synthetic" in reason):
        return f"trainaudit probe {asked} --data MODULE:NAME"
    is_loss = "loss is not" in reason and any(BY_NAME[name].source == SETTINGS for name in rule.needs)
    return f"trainaudit {asked} --loss NAME" if is_loss else ""


def _failed(rule: Rule, total: int, error: Exception) -> RuleOutcome:
    return RuleOutcome(rule.id, State.FAILED, {State.FAILED.value: total}, f"{type(error).__name__}: {error}")
