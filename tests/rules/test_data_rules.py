"""The rules on data, each against its pair: `<rule-id>/bad.py` defines a healthy model and data with one fault, `good.py` the same data without it.

What a probe would read is described and judged; nothing is trained, since these rules look at the data alone.
"""

from __future__ import annotations

import runpy
from functools import cache
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

from trainaudit.judge.judging import judge
from trainaudit.judge.rulefile import load_rules
from trainaudit.load.target import Target
from trainaudit.load.torch.opening import open_object
from trainaudit.measure.dynamic.measuring import measure_trace
from trainaudit.measure.measuring import measure
from trainaudit.probe.data_statistics import describe
from trainaudit.probe.making import make_trainee
from trainaudit.probe.plan import ProbePlan
from trainaudit.resources import rules_folder
from trainaudit.result import Finding
from trainaudit.settings import LOSSES
from trainaudit.trace.trace import ProbeSettings, Trace

FOLDER = Path(__file__).parent
OF_DATA = {path.stem for path in (rules_folder() / "data").glob("*.toml")} | {"label-out-of-range"}
RULES = {rule.id: rule for rule in load_rules([rules_folder()]) if rule.id in OF_DATA}


@cache
def findings(rule: str, side: str) -> tuple[Finding, ...]:
    """What all rules on data find in a spec."""
    trainee = make_trainee(Target(f"{FOLDER / rule / side}.py:build_model"), ProbePlan(seed=3), None)
    graph = open_object(trainee.model, trainee.train[0].args, (), rule)
    static = measure(graph, loss=trainee.loss, expects=LOSSES)
    trace = Trace(ProbeSettings("training", trainee.data), data=describe(trainee, seed=3))
    judgment = judge(list(RULES.values()), measure_trace(trace, static), target=rule, locations={}, ignores=())
    assert [outcome for outcome in judgment.outcomes if outcome.state == "failed"] == []
    return judgment.findings


def violated(rule: str, side: str) -> Any:
    return runpy.run_path(str(FOLDER / rule / f"{side}.py"))["VIOLATES"]


def test_every_rule_on_data_has_a_pair() -> None:
    assert {
        rule for rule in RULES if (FOLDER / rule / "bad.py").is_file() and (FOLDER / rule / "good.py").is_file()
    } == OF_DATA


@pytest.mark.parametrize("rule", sorted(RULES))
def test_fires_on_its_bad_data_and_alone(rule: str) -> None:
    found = findings(rule, "bad")
    assert {finding.rule for finding in found} == {rule}
    subjects = {occurrence.subject for finding in found for occurrence in finding.occurrences}
    assert subjects == set(violated(rule, "bad"))


@pytest.mark.parametrize("rule", sorted(RULES))
def test_is_silent_on_its_good_data(rule: str) -> None:
    assert findings(rule, "good") == ()


@pytest.mark.parametrize("rule", sorted(RULES))
def test_the_finding_says_its_numbers(rule: str) -> None:
    for finding in findings(rule, "bad"):
        assert "{" not in finding.root.message
        assert finding.root.evidence
        assert finding.fix is not None
        assert finding.fix.code


def test_nothing_is_said_of_synthetic_data() -> None:
    from tests.models.small_data import classifier
    from trainaudit.probe.making import make_trainee_of

    trainee = make_trainee_of(classifier(), None, ProbePlan(), None)
    graph = open_object(trainee.model, trainee.train[0].args, (), "model")
    trace = Trace(ProbeSettings("training", trainee.data), data=describe(trainee, seed=0))
    table = measure_trace(trace, measure(graph, loss=trainee.loss, expects=LOSSES))
    judgment = judge(list(RULES.values()), table, target="model", locations={}, ignores=())
    assert judgment.findings == ()
    states = {outcome.rule: (outcome.state, outcome.reason) for outcome in judgment.outcomes}
    reason = "the data is synthetic: give your own with --data"
    for rule in ("unnormalized-input", "duplicate-examples", "label-out-of-range", "unshuffled-batches"):
        assert states[rule] == ("not-measured", reason), (rule, states[rule])
