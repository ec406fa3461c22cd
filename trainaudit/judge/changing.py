"""What a machine can change where a rule is violated: a rule's recipe, filled in with the subject's facts. May import the rest of `judge`, `changes` and
`measure.facts`.

A fact of several lines makes a change of each line, and others with as many lines go in step with it. A change whose facts have no value on the subject (a
layer without bias, the word "none", what was not measured) is left out; where that is the first one, there is no recipe for the subject. An amount without a
value is left to the kind where that has a default. Of two changes of one setting of the training the later one holds.
"""

from __future__ import annotations

import math

from trainaudit.changes import KINDS, Change
from trainaudit.judge.evaluation import Columns, evaluator
from trainaudit.judge.rule import ChangeAdvice, Rule
from trainaudit.judge.template import Template
from trainaudit.measure.facts import FactValue, Unmeasured

_NOTHING = ("", "none")


def changes_of(rule: Rule, columns: Columns, subject: str) -> tuple[Change, ...]:
    """The recipe of a rule on one subject, () where there is none."""
    if rule.fix is None or not rule.fix.recipe:
        return ()
    found: dict[Change | str, Change] = {}
    for advice in rule.fix.recipe:
        made = _changes(advice, rule, columns, subject)
        if not made and not found:
            return ()
        is_setting = not KINDS[advice.kind].subject
        found |= {advice.kind if is_setting else change: change for change in made}
    return tuple(found.values())


def _changes(advice: ChangeAdvice, rule: Rule, columns: Columns, subject: str) -> list[Change]:
    where, to = _lines(advice.where, rule, columns, subject), _lines(advice.to, rule, columns, subject)
    amounts = _amounts(advice, rule, columns, subject)
    if where is None or to is None or amounts is None:
        return []
    count = max(len(where), len(to), len(amounts))
    if any(len(lines) not in (1, count) for lines in (where, to, amounts)):
        return []
    kind = KINDS[advice.kind]
    made = []
    for place in range(count):
        name, word = (lines[place if len(lines) > 1 else 0] for lines in (where, to))
        amount = amounts[place if len(amounts) > 1 else 0]
        if (kind.subject and name in _NOTHING) or (kind.words and word not in kind.words):
            continue
        made.append(Change(advice.kind, name, word, amount))
    return made


def _lines(template: Template, rule: Rule, columns: Columns, subject: str) -> list[str] | None:
    """The text as it is after its facts are put in, a line each; None where one has no value."""
    parts = []
    for piece in template.pieces:
        if isinstance(piece, str):
            parts.append(piece)
            continue
        value: FactValue | None = (
            rule.limits[piece[0]] if isinstance(piece, tuple) else columns[piece.name].get(subject)
        )
        if value is None or isinstance(value, Unmeasured):
            return None
        parts.append(str(value))
    return "".join(parts).split("\n")


def _amounts(advice: ChangeAdvice, rule: Rule, columns: Columns, subject: str) -> list[float | None] | None:
    if advice.amount is None:
        return [None]
    value = evaluator(advice.amount, rule.limits)(columns, subject)
    if isinstance(value, str):
        numbers: list[float | None] = [float(line) for line in value.split("\n")]
        return numbers
    if isinstance(value, bool | int | float) and math.isfinite(value):
        return [float(value)]
    return [None] if KINDS[advice.kind].has_default else None
