"""Rules against facts: the five outcomes, findings and their roots, and the same answers from whole columns as one by one."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.judge.samples import make_rule, make_table
from tests.judge.test_evaluation import LIMITS, conditions, reference, rows, written
from trainaudit.judge import judging
from trainaudit.judge.evaluation import ABSENT
from trainaudit.judge.grouping import fingerprint
from trainaudit.judge.judging import Judgment, judge
from trainaudit.judge.rule import Rule
from trainaudit.judge.selection import Ignore
from trainaudit.judge.tree import required_facts
from trainaudit.measure.facts import FactTable, Subject, Unmeasured
from trainaudit.result import Location, RuleOutcome, State


def judged(rule: Rule, table: FactTable, **options: Any) -> Judgment:
    return judge([rule], table, **{"target": "m.onnx", "locations": {}, **options})


def outcome(rule: Rule, table: FactTable) -> RuleOutcome:
    (only,) = judged(rule, table).outcomes
    return only


def test_the_four_outcomes_of_subjects() -> None:
    rule = make_rule(applies_to="layer.role == 'hidden'")
    table = make_table(
        5,
        layer__gain={"l0": 3.0, "l1": 1.0, "l2": Unmeasured("the shape is not known"), "l3": 9.0},
        layer__role={"l0": "hidden", "l1": "hidden", "l2": "hidden", "l3": "gate", "l4": "hidden"},
    )
    result = judged(rule, table)
    assert result.outcomes == (
        RuleOutcome(
            "sample-state",
            State.VIOLATED,
            {"violated": 1, "clean": 1, "not-measured": 1, "not-applicable": 2},
            "the shape is not known",
        ),
    )
    (finding,) = result.findings
    assert finding.root.message == "l0 has a gain of 3, above 2."
    assert finding.root.evidence[0].because == "A source that says so, 2017."


@pytest.mark.parametrize(
    ("gain", "state"),
    [
        ({"l0": 1.0}, State.CLEAN),
        ({"l0": 1.0, "l1": Unmeasured("x")}, State.NOT_MEASURED),
        ({}, State.NOT_APPLICABLE),
        ({"l0": 3.0, "l1": Unmeasured("x")}, State.VIOLATED),
    ],
)
def test_overall_state(gain: dict[str, Any], state: State) -> None:
    assert outcome(make_rule(), make_table(layer__gain=gain)).state is state


UNSETTLED = "(layer.has_bias or layer.depth > limit) and (layer.has_bias or layer.width > limit)"
"""Absent in one part and unmeasured in the other, where layer.depth is absent and layer.width unmeasured."""


@pytest.mark.parametrize(("applies_to", "when"), [("", UNSETTLED), (UNSETTLED, "layer.gain > limit")])
def test_what_hangs_on_an_absent_and_an_unmeasured_fact_was_not_measured(applies_to: str, when: str) -> None:
    rule = make_rule(applies_to=applies_to, when=when)
    table = make_table(
        layer__gain={"l0": 3.0},
        layer__has_bias={"l0": False},
        layer__width={"l0": Unmeasured("the shape is not known")},
    )
    assert outcome(rule, table).counts == {"not-measured": 1, "not-applicable": 2}


def test_the_commonest_reason_is_given() -> None:
    gain = {"l0": Unmeasured("rare"), "l1": Unmeasured("common"), "l2": Unmeasured("common")}
    assert outcome(make_rule(), make_table(layer__gain=gain)).reason == "common"


def test_why_a_rule_does_not_apply() -> None:
    assert outcome(make_rule(), make_table()).reason == "no layer here has layer.gain"
    assert outcome(make_rule(), make_table(layers=0)).reason == "the model has no layers"
    never = make_rule(applies_to="layer.role == 'gate'")
    table = make_table(layer__gain={"l0": 3.0}, layer__role={"l0": "hidden"})
    assert outcome(never, table).reason == "does not apply to any layer here"
    blocks = make_rule(subject="block", when="block.sibling_count > limit")
    assert outcome(blocks, make_table()).reason == "the model has no blocks"


def test_a_rule_that_needs_the_loss_names_the_command() -> None:
    rule = make_rule(
        subject="output", when="output.final_activation == 'softmax' and model.loss_expects == 'logits'", thresholds={}
    )
    assert rule.evidence_level == "loss"
    for columns in ({}, {"model__loss_expects": {"model": Unmeasured("the loss is not known")}}):
        table = make_table(output__final_activation={"y": "softmax"}, **columns)
        (result,) = judge([rule], table, target="my model.onnx", locations={}).outcomes
        assert result.state is State.NOT_MEASURED
        assert result.reason.startswith("the loss is not")
        assert result.command == "trainaudit 'my model.onnx' --loss NAME"
    relu = make_table(output__final_activation={"y": "relu"})
    assert outcome(rule, relu).state is State.CLEAN


def test_a_rule_that_breaks_down_fails_alone() -> None:
    table = make_table(layer__gain={"l0": "not a number", "l1": 3.0}, layer__depth={"l0": 5})
    broken, sound = make_rule("broken-state"), make_rule("sound-state", when="layer.depth > limit")
    result = judge([broken, sound], table, target="m.onnx", locations={})
    assert [item.state for item in result.outcomes] == [State.FAILED, State.VIOLATED]
    assert result.outcomes[0].counts == {"failed": 3}
    assert "TypeError" in result.outcomes[0].reason


def test_numbers_of_numpy_are_numbers_and_nan_is_not() -> None:
    gain: dict[str, Any] = {"l0": np.float32(3.0), "l1": np.float64("nan"), "l2": float("inf")}
    result = judged(make_rule(), make_table(layer__gain=gain))
    assert result.outcomes[0].counts == {"violated": 1, "not-measured": 2}
    assert type(result.findings[0].root.evidence[0].value) is float
    flags = make_table(layer__has_bias={"l0": np.bool_(True), "l1": np.bool_(False)})
    assert judged(
        make_rule(when="not layer.has_bias", thresholds={}, message="{layer.name} has no bias at all, which is bad."),
        flags,
    ).outcomes[0].counts == {"violated": 1, "clean": 1, "not-applicable": 1}


def test_one_cause_is_one_finding_with_its_root_first() -> None:
    table = make_table(12, layer__gain={"l10": 9.0, "l9": 3.0, "l2": 1.0})
    (finding,) = judged(make_rule(), table).findings
    assert [item.subject for item in finding.occurrences] == ["l9", "l10"]
    assert finding.fix is not None
    assert finding.fix.code == "nn.init.zeros_(model.l9.bias)"
    assert finding.fix.summary == "Repair l9."


def test_weight_and_bias_of_one_layer_are_one_finding() -> None:
    rule = make_rule(
        subject="parameter",
        when="parameter.mean > limit",
        message="{parameter.mean} is the mean of this parameter, too high.",
    )
    table = make_table(
        parameter__mean={"p0": 3.0, "p1": 3.0, "p2": 3.0},
        parameter__role={"p0": "bias", "p1": "weight", "p2": "weight"},
    )
    table = replace(
        table,
        subjects={
            **table.subjects,
            "parameter": {name: Subject("parameter", name, "l0", 0) for name in ("p0", "p1", "p2")},
        },
    )
    (finding,) = judged(rule, table).findings
    assert [item.subject for item in finding.occurrences] == ["p1", "p2", "p0"]


def test_a_parameter_sees_its_layer_and_stands_where_it_does() -> None:
    rule = make_rule(
        subject="parameter",
        when="parameter.mean > limit and layer.has_bias",
        message="{layer.name} owns a parameter with mean {parameter.mean}.",
    )
    table = make_table(parameter__mean={"p0": 3.0, "p1": 3.0}, layer__has_bias={"l1": True})
    place = Location("l1", "linear", "/fc/Gemm", "fc", "model.py", 7)
    (finding,) = judged(rule, table, locations={"l1": place}).findings
    assert finding.root.location == Location("l1", "linear", "/fc/Gemm", "fc", "model.py", 7, "p1")
    assert finding.root.message == "l1 owns a parameter with mean 3."


def test_severe_findings_come_first() -> None:
    rules = [make_rule(f"{severity}-state", severity=severity) for severity in ("note", "error", "warning")]
    result = judge(rules, make_table(layer__gain={"l0": 3.0}), target="m.onnx", locations={})
    assert [finding.rule for finding in result.findings] == ["error-state", "warning-state", "note-state"]
    assert [item.rule for item in result.outcomes] == ["note-state", "error-state", "warning-state"]


def test_fingerprints_know_rule_model_and_subject_and_no_numbers() -> None:
    one = judged(make_rule(), make_table(layer__gain={"l0": 3.0})).findings[0].root
    other = judged(make_rule(thresholds={"limit": 5}), make_table(layer__gain={"l0": 99.0, "l1": 9.0})).findings[0].root
    assert one.fingerprint == other.fingerprint == fingerprint("sample-state", "m.onnx", "l0")
    assert len({fingerprint(a, b, c) for a in "xy" for b in "xy" for c in "xy"}) == 8
    assert fingerprint("ab", "c", "d") != fingerprint("a", "bc", "d")
    assert fingerprint("r", "./a//m.onnx", "s") == fingerprint("r", "a/m.onnx", "s")
    assert len(one.fingerprint) == 16
    assert int(one.fingerprint, 16) >= 0


def test_a_name_from_a_file_cannot_break_out_of_the_fix() -> None:
    table = make_table(layer__gain={"l0": 3.0}, layer__code={"l0": "x\nimport os  # {layer.name}"})
    fix = judged(make_rule(), table).findings[0].fix
    assert fix is not None
    assert fix.code == "nn.init.zeros_(x import os  # {layer.name}.bias)"


def test_ignored_findings_keep_their_reason_and_leave_a_live_root() -> None:
    table = make_table(layer__gain={"l0": 3.0, "l1": 3.0})
    ignore = Ignore("init*", "a reason", layer="l0", until=date(2030, 1, 1))
    idle = Ignore("sample-state", "another", layer="l9")
    stranger = Ignore("output", "not this category")
    result = judged(make_rule(), table, ignores=[ignore, idle, stranger])
    live, ignored = result.findings
    assert (live.root.subject, live.ignored) == ("l1", "")
    assert live.fix is not None
    assert live.fix.summary == "Repair l1."
    assert (ignored.root.subject, ignored.ignored, ignored.ignored_until) == ("l0", "a reason", "2030-01-01")
    assert result.outcomes[0].counts == {"violated": 1, "ignored": 1, "not-applicable": 1}
    assert {item.reason for item in result.matched} == {"a reason"}
    assert {item.reason for item in result.covered} == {"a reason", "another"}


def test_a_rule_with_all_findings_ignored_is_ignored() -> None:
    result = judged(
        make_rule(), make_table(layer__gain={"l0": 3.0, "l1": 1.0}), ignores=[Ignore("sample-state", "why")]
    )
    assert result.outcomes[0].state is State.IGNORED


def test_a_rule_that_was_not_run_covers_no_ignore() -> None:
    table = make_table(layer__gain={"l0": Unmeasured("x")})
    assert judged(make_rule(), table, ignores=[Ignore("sample-state", "why")]).covered == frozenset()


def slow_state(applies_to: Any, when: Any, rule: Rule, row: dict[str, Any]) -> str:
    """The outcome of one subject, from the description of the outcomes alone."""
    assert rule.applies_to is not None
    needed = required_facts(rule.applies_to.node) | required_facts(rule.when.node)
    gate, body = reference(applies_to, row), reference(when, row)
    if any(row[name] is ABSENT for name in needed) or gate in "FA":
        return "not-applicable"
    if body == "F":
        return "clean"
    if body == "A":
        return "not-applicable"
    return "not-measured" if "U" in (gate, body) else "violated"


@settings(max_examples=300, deadline=None)
@given(applies_to=conditions, when=conditions, table=st.tuples(*[st.booleans().flatmap(rows)] * 4))
def test_columns_give_the_outcomes_of_the_description(
    applies_to: Any, when: Any, table: tuple[dict[str, Any], ...]
) -> None:
    rule = make_rule(
        applies_to=written(applies_to),
        when=written(when),
        thresholds=LIMITS,
        message="{layer.name} is judged by {limit} here, at random.",
    )
    columns = {
        name.replace(".", "__"): {f"l{i}": row[name] for i, row in enumerate(table) if row[name] is not ABSENT}
        for name in table[0]
    }
    counts: dict[str, int] = {}
    for row in table:
        state = slow_state(applies_to, when, rule, row)
        counts[state] = counts.get(state, 0) + 1
    assert outcome(rule, make_table(4, **columns)).counts == counts


def test_a_rule_looks_only_at_subjects_that_have_its_rarest_fact(monkeypatch: pytest.MonkeyPatch) -> None:
    looked_at: list[int] = []

    def spying(*arguments: Any) -> Any:
        looked_at.append(len(arguments[-1]))
        return real(*arguments)

    real = judging.stream
    monkeypatch.setattr(judging, "stream", spying)
    count = 2_000
    table = make_table(
        count,
        layer__op={f"l{index}": "linear" for index in range(count)},
        layer__gain={f"l{index}": 1.0 for index in range(0, count, 500)},
    )
    outcome(make_rule(applies_to="layer.op == 'linear'"), table)
    assert looked_at == [4]  # the kind of layer is decided once for all layers of that kind
