"""What a probe adds to a rule that stands on the file alone: its measured form, and what becomes of the file's findings.

A finding that the probe confirms or contradicts says so, with the number that was predicted and the one that was measured. May import the rest of
`judge`, `measure.catalog`, `measure.facts` and `result`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from trainaudit.frozen import frozen
from trainaudit.judge.evaluation import evaluator
from trainaudit.judge.rule import Condition, ProbeClauses, Rule
from trainaudit.judge.template import fill
from trainaudit.judge.view import View
from trainaudit.measure.catalog import FORWARD, PROBED
from trainaudit.measure.facts import FactTable, Unmeasured

CONFIRMED, WITHDRAWN = "confirmed", "withdrawn"


@frozen
class Verdict:
    """What the probe says of one finding of the file: "confirmed" or "withdrawn", and in which words; both "" where it says nothing."""

    probe: str = ""
    note: str = ""


SILENT = Verdict()


def reached_levels(table: FactTable) -> frozenset[str]:
    """The levels of evidence beyond the file's that were gathered."""
    evidence = table.columns.get("training.evidence", {}).get("training")
    if evidence is None:
        return frozenset()
    return frozenset({FORWARD}) if evidence == FORWARD else PROBED


def measured_form(rule: Rule) -> Rule | None:
    """The rule as a probe judges it, None where it has no such form."""
    clauses = rule.probe
    if clauses is None or clauses.when is None or clauses.message is None:
        return None
    return replace(
        rule,
        applies_to=clauses.applies_to,
        when=clauses.when,
        message=clauses.message,
        severity=clauses.severity or rule.severity,
        probe=None,
    )


def verdicts(rule: Rule, view: View, violated: Iterable[str], measured: Iterable[str]) -> dict[str, Verdict]:
    """Subject → what the probe says of the file's finding there. `measured` are the subjects on which the rule's measured form holds.

    What confirms weighs more than what withdraws; where the numbers lie between the two, or there are none, nothing is said.
    """
    clauses = rule.probe
    if clauses is None:
        return {}
    measured = set(measured)
    found = {}
    for subject in violated:
        if subject in measured or _holds(clauses.confirmed_when, rule, view, subject):
            found[subject] = Verdict(CONFIRMED, _words(clauses, rule, view, subject))
        elif _holds(clauses.withdrawn_when, rule, view, subject):
            found[subject] = Verdict(WITHDRAWN, _words(clauses, rule, view, subject))
    return found


def _holds(condition: Condition | None, rule: Rule, view: View, subject: str) -> bool:
    return condition is not None and evaluator(condition.node, rule.limits)(view.columns, subject) is True


def _words(clauses: ProbeClauses, rule: Rule, view: View, subject: str) -> str:
    template = clauses.says or clauses.message
    if template is None:
        return ""
    columns = view.columns

    def value(fact: str) -> float | int | bool | str | None:
        found = columns[fact].get(subject)
        return None if isinstance(found, Unmeasured) else found

    return fill(template, value, rule.limits)
