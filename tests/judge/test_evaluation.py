"""Evaluation against a slow reference that knows logic only as written-out truth tables, and the evidence of a condition that holds."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainaudit.judge.evaluation import ABSENT, Absence, NoValueError, evaluator, evidence, stream
from trainaudit.judge.expression import parse
from trainaudit.judge.tree import required_facts, unparse
from trainaudit.measure.catalog import BY_NAME
from trainaudit.measure.facts import Unmeasured

LIMITS = {"limit": 2.0, "floor": 0.5}
SUBJECTS = ("l0", "l1", "l2")

# ---- the reference: conditions are nested tuples, values are one of T F U A or a plain value ----

AND = {
    "TT": "T", "TF": "F", "TU": "U", "TA": "A", "FT": "F", "FF": "F", "FU": "F", "FA": "F",
    "UT": "U", "UF": "F", "UU": "U", "UA": "U", "AT": "A", "AF": "F", "AU": "U", "AA": "A",
}  # fmt: skip
OR = {
    "TT": "T", "TF": "T", "TU": "T", "TA": "T", "FT": "T", "FF": "F", "FU": "U", "FA": "A",
    "UT": "T", "UF": "U", "UU": "U", "UA": "U", "AT": "T", "AF": "A", "AU": "U", "AA": "A",
}  # fmt: skip
NOT = {"T": "F", "F": "T", "U": "U", "A": "A"}
STRICT = {"": "", "U": "U", "A": "A", "UU": "U", "UA": "A", "AU": "A", "AA": "A"}

Value = Any


def letter(value: Value) -> str:
    """The letter of a value that is unknown, "" of one that is known."""
    return "A" if value is ABSENT else "U" if isinstance(value, Unmeasured) else ""


def reference(tree: tuple[Any, ...], facts: dict[str, Value]) -> Value:
    """T, F, U or A for a condition; a number, word, U or A for an operand."""
    kind = tree[0]
    if kind == "literal":
        return tree[1]
    if kind == "threshold":
        return LIMITS[tree[1]]
    if kind == "fact":
        value = facts[tree[1]]
        return letter(value) or ({True: "T", False: "F"}[value] if isinstance(value, bool) else value)
    operands = [reference(part, facts) for part in tree[2:]]
    if kind == "logic":
        result = operands[0]
        for operand in operands[1:]:
            result = {"and": AND, "or": OR}[tree[1]][result + operand]
        return NOT[result] if tree[1] == "not" else result
    unknown = STRICT["".join(operand for operand in operands if operand in ("U", "A"))]
    if unknown:
        return unknown
    first, second = operands[0], operands[-1]
    if kind == "arithmetic":
        if tree[1] == "/" and second == 0:
            return "U"
        return {"+": first + second, "-": first - second, "*": first * second, "/": first / (second or 1)}[tree[1]]
    held = {
        "<": lambda: first < second, "<=": lambda: first <= second, ">": lambda: first > second, ">=": lambda: first >= second,
        "==": lambda: first == second, "!=": lambda: first != second, "in": lambda: first in tree[3][1],
        "not in": lambda: first not in tree[3][1],
    }[tree[1]]()  # fmt: skip
    return "T" if held else "F"


def written(tree: tuple[Any, ...]) -> str:
    """The tree in the language of conditions."""
    kind = tree[0]
    if kind == "literal":
        return repr(list(tree[1])) if isinstance(tree[1], tuple) else repr(tree[1])
    if kind in ("threshold", "fact"):
        return str(tree[1])
    parts = [written(part) for part in tree[2:]]
    return f"(not {parts[0]})" if tree[1] == "not" else "(" + f" {tree[1]} ".join(parts) + ")"


NUMBERS = ("layer.gain", "layer.depth", "layer.wanted_gain")
BOOLEANS = ("layer.has_bias", "layer.reaches_output")
WORDS = ("layer.role", "layer.softmax_use")
small = st.sampled_from([0, 1, 2, 3, 0.5, 1.5])
numbers = st.recursive(
    st.one_of(
        st.tuples(st.just("fact"), st.sampled_from(NUMBERS)),
        st.tuples(st.just("literal"), small),
        st.tuples(st.just("threshold"), st.sampled_from(sorted(LIMITS))),
    ),
    lambda inner: st.tuples(st.just("arithmetic"), st.sampled_from("+-*/"), inner, inner),
    max_leaves=4,
)
comparisons = st.one_of(
    st.tuples(st.just("compare"), st.sampled_from(["<", "<=", ">", ">=", "==", "!="]), numbers, numbers),
    st.tuples(
        st.just("compare"),
        st.sampled_from(["in", "not in"]),
        st.tuples(st.just("fact"), st.just("layer.depth")),
        st.tuples(st.just("literal"), st.lists(st.sampled_from([0, 1, 2]), min_size=1, max_size=3).map(tuple)),
    ),
    st.tuples(
        st.just("compare"),
        st.sampled_from(["==", "!="]),
        st.tuples(st.just("fact"), st.just("layer.role")),
        st.tuples(st.just("literal"), st.sampled_from(["hidden", "gate"])),
    ),
    st.tuples(
        st.just("compare"),
        st.sampled_from(["in", "not in"]),
        st.tuples(st.just("fact"), st.just("layer.softmax_use")),
        st.tuples(st.just("literal"), st.sampled_from([("gate",), ("hidden", "gate")])),
    ),
)
conditions = st.recursive(
    st.one_of(comparisons, st.tuples(st.just("fact"), st.sampled_from(BOOLEANS))),
    lambda inner: st.one_of(
        st.tuples(st.just("logic"), st.sampled_from(["and", "or"]), inner, inner),
        st.tuples(st.just("logic"), st.sampled_from(["and", "or"]), inner, inner, inner),
        st.tuples(st.just("logic"), st.just("not"), inner),
    ),
    max_leaves=6,
).filter(lambda tree: "layer." in written(tree))

unknown = st.sampled_from([ABSENT, Unmeasured("first reason"), Unmeasured("second reason")])


def rows(known: bool) -> st.SearchStrategy[dict[str, Value]]:
    """Facts of one subject; with `known`, all of them have a value."""
    either = (lambda values: values) if known else (lambda values: st.one_of(values, unknown))
    return st.fixed_dictionaries(
        {
            **dict.fromkeys(NUMBERS, either(small)),
            **dict.fromkeys(BOOLEANS, either(st.booleans())),
            **dict.fromkeys(WORDS, either(st.sampled_from(["hidden", "gate"]))),
            "layer.depth": either(st.sampled_from([0, 1, 2])),
        }
    )


def columns_of(table: dict[str, dict[str, Value]]) -> dict[str, dict[str, Value]]:
    """Subject → fact → value as sparse columns."""
    names = next(iter(table.values()))
    return {name: {subject: row[name] for subject, row in table.items() if row[name] is not ABSENT} for name in names}


def as_letter(result: Value) -> str:
    return letter(result) or {True: "T", False: "F"}[result]


@settings(max_examples=400, deadline=None)
@given(tree=conditions, row=rows(known=False))
def test_evaluation_agrees_with_the_truth_tables(tree: tuple[Any, ...], row: dict[str, Value]) -> None:
    node = parse(written(tree), "layer", LIMITS)
    result = evaluator(node, LIMITS)(columns_of({"l0": row}), "l0")
    assert as_letter(result) == reference(tree, row), unparse(node)


@settings(max_examples=200, deadline=None)
@given(tree=conditions, row=rows(known=False))
def test_a_condition_never_holds_without_a_required_fact(tree: tuple[Any, ...], row: dict[str, Value]) -> None:
    node = parse(written(tree), "layer", LIMITS)
    for name in required_facts(node):
        assert reference(tree, {**row, name: ABSENT}) != "T"
    for name in required_facts(node, wanted=False):
        assert reference(tree, {**row, name: ABSENT}) != "F"


@settings(max_examples=200, deadline=None)
@given(tree=conditions, table=st.tuples(*[rows(known=True)] * 3))
def test_whole_columns_give_what_single_subjects_give(
    tree: tuple[Any, ...], table: tuple[dict[str, Value], ...]
) -> None:
    node = parse(written(tree), "layer", LIMITS)
    columns = columns_of(dict(zip(SUBJECTS, table, strict=True)))
    one_by_one = [evaluator(node, LIMITS)(columns, subject) for subject in SUBJECTS]
    try:
        at_once = [value for value, _ in zip(stream(node, LIMITS, columns, SUBJECTS), SUBJECTS, strict=False)]
    except NoValueError:
        # only a computation without a result may give up
        assert "/" in written(tree)
    else:
        assert at_once == one_by_one


@settings(max_examples=200, deadline=None)
@given(tree=conditions, row=rows(known=False))
def test_evidence_of_a_condition_that_holds_is_true(tree: tuple[Any, ...], row: dict[str, Value]) -> None:
    node = parse(written(tree), "layer", LIMITS)
    columns = columns_of({"l0": row})
    if reference(tree, row) != "T":
        return
    lines = evidence(node, LIMITS, {}, columns, "l0")
    for line in lines:
        if line.threshold is not None:
            compare = {
                "<": lambda a, b: a < b, "<=": lambda a, b: a <= b, ">": lambda a, b: a > b,
                ">=": lambda a, b: a >= b, "==": lambda a, b: a == b, "!=": lambda a, b: a != b,
            }[line.comparison]  # fmt: skip
            assert compare(line.value, line.threshold)
        elif line.fact in row:
            assert line.value == row[line.fact] or row[line.fact] is ABSENT or isinstance(row[line.fact], Unmeasured)


def test_reasons_survive() -> None:
    columns = {"layer.gain": {"l0": Unmeasured("the shape is not known")}, "layer.has_bias": {"l0": True}}
    node = parse("layer.has_bias and layer.gain > 1", "layer", {})
    assert evaluator(node, {})(columns, "l0") == Unmeasured("the shape is not known")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("layer.gain / layer.depth > 1", "layer.gain / layer.depth divides by zero"),
        ("layer.gain * 1e300 * 1e300 > 1", "(layer.gain * 1e+300) * 1e+300 is too large for a number"),
    ],
)
def test_a_computation_without_a_result_is_unmeasured(text: str, reason: str) -> None:
    columns: dict[str, dict[str, Any]] = {"layer.gain": {"l0": 3.0}, "layer.depth": {"l0": 0}}
    node = parse(text, "layer", {})
    assert evaluator(node, {})(columns, "l0") == Unmeasured(reason)
    with pytest.raises(NoValueError):
        next(iter(stream(node, {}, columns, ["l0"])))


def lines_of(text: str, because: dict[str, str] | None = None, **facts: Any) -> list[tuple[Any, ...]]:
    columns = {name.replace("__", "."): {"l0": value} for name, value in facts.items()}
    found = evidence(parse(text, "layer", LIMITS), LIMITS, because or {}, columns, "l0")
    return [(line.fact, line.value, line.unit, line.comparison, line.threshold, line.because) for line in found]


def test_evidence_gives_value_unit_threshold_and_source() -> None:
    assert lines_of(
        "layer.role == 'hidden' and layer.gain > limit", {"limit": "He 2015"}, layer__role="hidden", layer__gain=3.0
    ) == [
        ("layer.gain", 3.0, "ratio", ">", 2.0, "He 2015"),
        ("layer.role", "hidden", "", "", None, ""),
    ]


def test_evidence_of_a_limit_on_the_left_of_a_negation_and_of_alternatives() -> None:
    assert lines_of("limit < layer.gain", layer__gain=3.0) == [("layer.gain", 3.0, "ratio", ">", 2.0, "")]
    assert lines_of("not layer.gain < limit", layer__gain=3.0) == [("layer.gain", 3.0, "ratio", ">=", 2.0, "")]
    assert lines_of("layer.gain < floor or layer.gain > limit", layer__gain=3.0) == [
        ("layer.gain", 3.0, "ratio", ">", 2.0, "")
    ]


def test_evidence_of_a_computation_names_it_and_its_facts() -> None:
    assert lines_of("layer.gain / layer.wanted_gain > limit", layer__gain=3.0, layer__wanted_gain=1.0) == [
        ("layer.gain / layer.wanted_gain", 3.0, "", ">", 2.0, ""),
        ("layer.gain", 3.0, "ratio", "", None, ""),
        ("layer.wanted_gain", 1.0, "ratio", "", None, ""),
    ]


def test_evidence_that_would_say_nothing_is_left_out() -> None:
    assert lines_of("layer.has_bias", layer__has_bias=True) == []
    assert lines_of("layer.linear_idiom == 'none'", layer__linear_idiom="none") == []
    assert lines_of("layer.name != 'x'", layer__name="fc") == []


def test_where_nothing_is_compared_the_message_gives_the_facts() -> None:
    columns: dict[str, dict[str, Any]] = {
        "layer.has_bias": {"l0": True},
        "layer.gain": {"l0": 3.0},
        "layer.width": {"l0": 32},
        "layer.activation": {"l0": "relu"},
        "layer.name": {"l0": "fc"},
        "layer.epsilon": {},
    }
    told = [BY_NAME[name] for name in ("layer.name", "layer.width", "layer.activation", "layer.epsilon", "layer.width")]

    def found(text: str) -> list[tuple[str, Any, str]]:
        lines = evidence(parse(text, "layer", LIMITS), LIMITS, {}, columns, "l0", told)
        return [(line.fact, line.value, line.unit) for line in lines]

    assert found("layer.has_bias") == [("layer.width", 32, "units"), ("layer.activation", "relu", "")]
    assert found("layer.gain > limit") == [("layer.gain", 3.0, "ratio")]


def test_a_computed_limit_keeps_its_source() -> None:
    lines = lines_of(
        "layer.gain > limit * layer.wanted_gain", {"limit": "He 2015"}, layer__gain=3.0, layer__wanted_gain=1.0
    )
    assert lines[0] == ("layer.gain", 3.0, "ratio", ">", 2.0, "limit * layer.wanted_gain. He 2015")


def test_absence_is_one_value() -> None:
    assert list(Absence) == [ABSENT]
