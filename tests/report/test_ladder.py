"""The recipe's ladder and the charts' geometry."""

from __future__ import annotations

from dataclasses import replace
from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.report import samples
from trainaudit.recipe import STEPS
from trainaudit.report import charts, view
from trainaudit.report.ladder import ladder
from trainaudit.result import Audit, Evidence, RuleOutcome, State


def states(*outcomes: RuleOutcome, audit: Audit | None = None) -> dict[str, str]:
    """Step → state of the tip."""
    audit = replace(audit or samples.clean_audit(), outcomes=outcomes)
    return {tip.step.id: tip.state for rung in ladder(samples.run_of(audit), audit) for tip in rung.tips}


def test_every_tip_has_a_state() -> None:
    found = states()
    assert set(found) == set(STEPS)
    assert {found[step.id] for step in STEPS.values() if step.auto == "by-hand"} == {"by-hand"}
    assert {found[step.id] for step in STEPS.values() if step.auto != "by-hand"} == {"not-run"}


@pytest.mark.parametrize(
    ("outcomes", "state"),
    [
        ([State.CLEAN, State.CLEAN], "clean"),
        ([State.CLEAN, State.NOT_MEASURED], "partly"),
        ([State.CLEAN, State.FAILED], "partly"),
        ([State.CLEAN, State.NOT_APPLICABLE], "clean"),
        ([State.NOT_APPLICABLE, State.NOT_APPLICABLE], "not-applicable"),
        ([State.NOT_MEASURED, State.NOT_APPLICABLE], "not-run"),
        ([State.FAILED, State.NOT_APPLICABLE], "not-run"),
        ([State.IGNORED, State.CLEAN], "ignored"),
    ],
)
def test_a_tip_is_as_its_rules_are(outcomes: list[State], state: str) -> None:
    """Two rules name "init well"; not run is never clean."""
    rules = ("zero-init-hidden", "half-overflow")
    found = states(*(samples.outcome(rule, outcome) for rule, outcome in zip(rules, outcomes, strict=True)))
    assert found["2.init-well"] == state


def test_violated_wins_and_a_baseline_finding_does_not_violate() -> None:
    audit = samples.faulty_audit()
    assert states(*audit.outcomes, audit=audit)["2.init-well"] == "violated"
    known = replace(audit, findings=tuple(replace(finding, is_new=False) for finding in audit.findings))
    assert states(*audit.outcomes, audit=known)["2.init-well"] == "ignored"


def test_a_stage_is_no_better_than_what_was_run() -> None:
    run = samples.clean()
    rungs = {rung.number: rung for rung in ladder(run, run.audits[0])}
    assert rungs[1].state == "not-run"
    assert rungs[2].state == "partly"
    assert rungs[2].summary == "2 clean, 9 not run, 2 by hand"


def test_counts_add_up() -> None:
    run = samples.several()
    total = view.counts(run)
    assert sum(total.states.values()) == sum(len(audit.outcomes) for audit in run.audits)
    assert view.rules_sentence(total).startswith("7 rules on 2 models: 5 clean, 3 violated")


def test_the_hint_takes_the_command_that_runs_most() -> None:
    assert view.next_hint(samples.several()) == ("2 rules need a probe", samples.PROBE)
    nothing = replace(samples.clean_audit(), outcomes=())
    assert view.next_hint(samples.run_of(nothing)) == ("", "")


NUMBERS = st.floats(min_value=-1e12, max_value=1e12, allow_subnormal=False)


@given(NUMBERS, NUMBERS, st.sampled_from(["<", "<=", ">", ">="]), st.sampled_from(["", "share", "ratio"]))
def test_a_bar_shows_a_broken_limit_as_broken(value: float, limit: float, comparison: str, unit: str) -> None:
    bar = charts.evidence_bar(Evidence("layer.gain", value, unit, comparison, limit))
    assert bar is not None
    for position in (bar.value_at, bar.limit_at, bar.good_from, bar.good_to):
        assert 0 <= position <= charts.WIDTH
    if comparison in (">", ">="):
        assert bar.value_at >= bar.limit_at or value <= limit
    else:
        assert bar.value_at <= bar.limit_at or value >= limit


@pytest.mark.parametrize("value", [inf, -inf, float("nan"), None, "relu", True])
def test_what_is_no_number_is_not_drawn(value: float | str | None) -> None:
    assert charts.evidence_bar(Evidence("layer.gain", value, "", ">", 1.0)) is None
    assert charts.evidence_bar(Evidence("layer.gain", 1.0, "", ">", value)) is None


@pytest.mark.parametrize(
    ("gain", "wanted", "expected"),
    [
        (1.0, 1.0, (40.0, 0.0)),
        (0.1, 1.0, (0.0, 40.0)),
        (10.0, 1.0, (40.0, 40.0)),
        (0.0, 1.0, (0.0, 40.0)),
        (None, 1.0, None),
        (1.0, None, None),
    ],
)
def test_gain_bars(gain: float | None, wanted: float | None, expected: tuple[float, float] | None) -> None:
    assert charts.gain_bar(replace(samples.row(0, "fc"), gain=gain, wanted_gain=wanted)) == expected
