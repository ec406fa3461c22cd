"""What a condition comes to on one subject: a value, `Unmeasured(reason)` or `ABSENT`. Kleene's logic with two ways not to know.

* A comparison or sum with an absent operand is absent; else with an unmeasured operand it is unmeasured.
* `False and x` is False and `True or x` is True, whatever x is. Where and / or hang on operands without a value, an unmeasured
  one wins over an absent one, since measuring it could still decide.

Trees become closures over columns; no source is generated. May import `judge.tree`, `measure` and `result`.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from enum import Enum
from itertools import repeat
from typing import Any, Final

from trainaudit.judge.tree import (
    NUMBER,
    And,
    Arithmetic,
    Comparison,
    Fact,
    Literal,
    Membership,
    Negative,
    Node,
    Not,
    Or,
    Threshold,
    thresholds_in,
    unparse,
)
from trainaudit.measure.catalog import FactSpec
from trainaudit.measure.facts import FactScalar, FactValue, Unmeasured
from trainaudit.result import Evidence, Scalar


class Absence(Enum):
    """The one value of a fact that does not apply."""

    ABSENT = "absent"


ABSENT: Final = Absence.ABSENT

Result = FactValue | Absence
Columns = Mapping[str, Mapping[str, FactValue]]
Evaluator = Callable[[Columns, str], Result]
"""(fact → subject id → value, subject id) → result."""

COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge, "==": operator.eq, "!=": operator.ne,
}  # fmt: skip
_COMPUTE: dict[str, Callable[[float, float], float]] = {
    "+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv,
}  # fmt: skip
_OPPOSITE = {"<": ">=", "<=": ">", ">": "<=", ">=": "<", "==": "!=", "!=": "=="}
_MIRROR = {"<": ">", "<=": ">=", ">": "<", ">=": "<=", "==": "==", "!=": "!="}


def evaluator(node: Node, thresholds: Mapping[str, float]) -> Evaluator:
    """The tree as a closure, thresholds filled in."""
    match node:
        case Literal():
            constant = node.value
            return lambda _columns, _subject: constant
        case Threshold():
            limit = thresholds[node.name]
            return lambda _columns, _subject: limit
        case Fact():
            name = node.spec.name
            return lambda columns, subject: columns[name].get(subject, ABSENT)
        case Negative():
            return _strict(operator.neg, [evaluator(node.operand, thresholds)])
        case Arithmetic():
            return _arithmetic(node, evaluator(node.left, thresholds), evaluator(node.right, thresholds))
        case Comparison(left=Fact(spec=spec), right=Literal() | Threshold()):  # what most conditions are
            compare, bound = COMPARE[node.operator], evaluator(node.right, thresholds)({}, "")
            return _of_fact(spec.name, lambda value: compare(value, bound))
        case Comparison():
            return _strict(
                COMPARE[node.operator], [evaluator(node.left, thresholds), evaluator(node.right, thresholds)]
            )
        case Membership():
            values, negated = node.values, node.negated
            return _strict(lambda value: (value in values) != negated, [evaluator(node.operand, thresholds)])
        case Not():
            return _strict(operator.not_, [evaluator(node.operand, thresholds)])
        case And():
            return _joined([evaluator(operand, thresholds) for operand in node.operands], False)
        case Or():
            return _joined([evaluator(operand, thresholds) for operand in node.operands], True)


def _of_fact(name: str, function: Callable[[FactScalar], FactScalar]) -> Evaluator:
    """What `_strict` gives for one fact, in a third of the calls."""

    def apply_fact(columns: Columns, subject: str) -> Result:
        value = columns[name].get(subject, ABSENT)
        return value if value is ABSENT or isinstance(value, Unmeasured) else function(value)

    return apply_fact


def _strict(function: Callable[..., FactScalar], operands: list[Evaluator]) -> Evaluator:
    if len(operands) == 1:
        (only,) = operands

        def apply_one(columns: Columns, subject: str) -> Result:
            value = only(columns, subject)
            return value if value is ABSENT or isinstance(value, Unmeasured) else function(value)

        return apply_one

    left, right = operands

    def apply_two(columns: Columns, subject: str) -> Result:
        first, second = left(columns, subject), right(columns, subject)
        if first is ABSENT or second is ABSENT:
            return ABSENT
        if isinstance(first, Unmeasured):
            return first
        return second if isinstance(second, Unmeasured) else function(first, second)

    return apply_two


def _arithmetic(node: Arithmetic, left: Evaluator, right: Evaluator) -> Evaluator:
    compute = _COMPUTE[node.operator]

    def function(first: float, second: float) -> FactValue:
        # In floats throughout: whole numbers of any length would be a way to make a small file cost much.
        try:
            value = compute(float(first), float(second))
        except ZeroDivisionError:
            return Unmeasured(f"{unparse(node)} divides by zero")
        except OverflowError:
            value = math.inf
        return value if math.isfinite(value) else Unmeasured(f"{unparse(node)} is too large for a number")

    return _strict(function, [left, right])  # type: ignore[arg-type]


def _joined(operands: list[Evaluator], decisive: bool) -> Evaluator:
    """`and` (decisive False) or `or` (decisive True)."""

    def apply(columns: Columns, subject: str) -> Result:
        undecided: Result = not decisive
        for operand in operands:
            value = operand(columns, subject)
            if value is decisive:
                return decisive
            if isinstance(value, Unmeasured):
                if not isinstance(undecided, Unmeasured):
                    undecided = value
            elif value is ABSENT and not isinstance(undecided, Unmeasured):
                undecided = ABSENT
        return undecided

    return apply


class NoValueError(Exception):
    """A computation in a stream has no result on some subject."""


def stream(node: Node, thresholds: Mapping[str, float], columns: Columns, subjects: Collection[str]) -> Iterable[Any]:
    """The results on many subjects in order, for facts that have a value on all of them: what `evaluator` gives one by one, at the
    speed of `map`. Raises KeyError where a fact is absent after all, and `NoValueError` where a computation has no result."""

    def of(part: Node) -> Iterable[Any]:
        return stream(part, thresholds, columns, subjects)

    match node:
        case Literal():
            return repeat(node.value)
        case Threshold():
            return repeat(thresholds[node.name])
        case Fact():
            return map(columns[node.spec.name].__getitem__, subjects)
        case Negative():
            return map(operator.neg, of(node.operand))
        case Arithmetic():
            return map(_computed(node), of(node.left), of(node.right))
        case Comparison():
            return map(COMPARE[node.operator], of(node.left), of(node.right))
        case Membership():
            held = map(frozenset(node.values).__contains__, of(node.operand))
            return map(operator.not_, held) if node.negated else held
        case Not():
            return map(operator.not_, of(node.operand))
        case And():
            return map(all, zip(*(of(operand) for operand in node.operands), strict=False))
        case Or():
            return map(any, zip(*(of(operand) for operand in node.operands), strict=False))


def _computed(node: Arithmetic) -> Callable[[float, float], float]:
    compute = _COMPUTE[node.operator]

    def function(first: float, second: float) -> float:
        try:
            value = compute(float(first), float(second))
        except ArithmeticError:
            raise NoValueError from None
        if value - value != 0:  # infinite or not a number
            raise NoValueError
        return value

    return function


Because = Mapping[str, str]
"""Threshold name → its source."""


def evidence(
    node: Node,
    thresholds: Mapping[str, float],
    because: Because,
    columns: Columns,
    subject: str,
    told: Iterable[FactSpec] = (),
) -> tuple[Evidence, ...]:
    """The numbers behind a condition that holds on the subject: comparisons with a number first, then the other facts, each once.

    `comparison` is the one that held (so what was wanted is its opposite), with the fact on its left. Of an `or`, only operands that
    hold are given. A side that is computed from several facts is one line with the computation as its name, and then each fact.

    Where the condition compares no number, the facts that the message tells of (`told`) follow. Left out is what would say nothing:
    truth values, the word "none", and the subject's own name.
    """

    def value_of(part: Node) -> Result:
        return evaluator(part, thresholds)(columns, subject)

    found = list(_evidence(node, True, value_of, because))
    found.sort(key=lambda line: line.threshold is None)
    unique: dict[tuple[str, str, Scalar | None], Evidence] = {}
    for line in found:
        unique.setdefault((line.fact, line.comparison, line.threshold), line)
    compared = {line.fact for line in unique.values() if line.threshold is not None}
    if not compared:
        for spec in told:
            value = columns[spec.name].get(subject, ABSENT)
            unique.setdefault((spec.name, "", None), Evidence(spec.name, _scalar(value), spec.unit))
    return tuple(
        line for line in unique.values() if line.threshold is not None or (line.fact not in compared and _informs(line))
    )


def _informs(line: Evidence) -> bool:
    is_name = line.fact.rsplit(".", 1)[-1] in ("name", "code", "module")
    return not (is_name or line.value is None or isinstance(line.value, bool) or line.value == "none")


def _evidence(node: Node, wanted: bool, value_of: Callable[[Node], Result], because: Because) -> Iterator[Evidence]:
    match node:
        case Not():
            yield from _evidence(node.operand, not wanted, value_of, because)
        case And() | Or():
            for operand in node.operands:
                if value_of(operand) is wanted:
                    yield from _evidence(operand, wanted, value_of, because)
        case Comparison() if node.left.type == NUMBER:
            yield from _compared(node, wanted, value_of, because)
        case _:
            yield from _facts(node, value_of)


def _compared(
    node: Comparison, wanted: bool, value_of: Callable[[Node], Result], because: Because
) -> Iterator[Evidence]:
    left, right = node.left, node.right
    sign = node.operator if wanted else _OPPOSITE[node.operator]
    if not any(True for _ in _facts(left, value_of)):
        left, right, sign = right, left, _MIRROR[sign]
    measured, limit = value_of(left), value_of(right)
    source = " ".join(because[name] for name in dict.fromkeys(thresholds_in(node)) if because.get(name))
    if not isinstance(right, (Threshold, Literal)):
        source = f"{unparse(right)}. {source}" if source else unparse(right)
    unit = left.spec.unit if isinstance(left, Fact) else ""
    name = left.spec.name if isinstance(left, Fact) else unparse(left)
    yield Evidence(name, _scalar(measured), unit, sign, _scalar(limit), source)
    if not isinstance(left, Fact):
        yield from _facts(left, value_of)
    yield from _facts(right, value_of)


def _facts(node: Node, value_of: Callable[[Node], Result]) -> Iterator[Evidence]:
    match node:
        case Fact():
            yield Evidence(node.spec.name, _scalar(value_of(node)), node.spec.unit)
        case Arithmetic() | Comparison():
            yield from _facts(node.left, value_of)
            yield from _facts(node.right, value_of)
        case Negative() | Membership() | Not():
            yield from _facts(node.operand, value_of)
        case And() | Or():
            for operand in node.operands:
                yield from _facts(operand, value_of)


def _scalar(result: Result) -> Scalar | None:
    return None if result is ABSENT or isinstance(result, Unmeasured) else result
