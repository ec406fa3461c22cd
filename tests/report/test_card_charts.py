"""A finding's chart: its number over depth, or the experiment that gave it; none where the record has nothing to draw."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.report import samples, trace_samples
from trainaudit.report.card_charts import card_chart
from trainaudit.report.drawing import Icon
from trainaudit.report.probe_charts import run_charts
from trainaudit.report.to_html import render_html
from trainaudit.result import Audit, Evidence, Finding

SHARE = Evidence("layer.measured_silent_share", 0.9, "share", ">", 0.4, "Karpathy names 40 %.")


def audit_with(facts: dict[str, dict[str, float | str | None]]) -> Audit:
    return replace(samples.clean_audit(), facts=facts)


def silent(*names: str) -> Finding:
    return samples.finding("unfireable-relu", *(samples.occurrence(name, evidence=(SHARE,)) for name in names))


def test_the_number_is_drawn_over_depth_with_its_limit_and_the_layers_found() -> None:
    facts = {SHARE.fact: {f"relu_{index}": index / 10 for index in range(10)}}
    chart = card_chart(audit_with(facts), silent("relu_9", "relu_5"), {})
    assert chart is not None
    assert chart.title == "Measured silent share over depth"
    assert chart.description == (
        "measured silent share from input to output, lowest 0 %, highest 90 %, against a limit of 40 %; "
        "2 of 10 are marked as found."
    )
    assert [row for row in chart.table if row[2]] == [("relu_5", "50 %", "found"), ("relu_9", "90 %", "found")]
    assert len([mark for mark in chart.marks if isinstance(mark, Icon)]) == 2


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"relu_9": 0.9, "relu": 0.0},
        {"relu_9": 0.9, "relu": 0.9, "relu_1": 0.9, "relu_2": 0.9},
        {"relu_9": None, "relu": None, "relu_1": None},
        {"relu_9": "all", "relu": "none", "relu_1": "none"},
        {"a": 0.1, "b": 0.2, "c": 0.3},
        {"relu_9": float("inf"), "relu": float("nan"), "relu_1": 0.1},
    ],
)
def test_nothing_is_drawn_where_there_is_no_course(values: dict[str, float | str | None]) -> None:
    assert card_chart(audit_with({SHARE.fact: values}), silent("relu_9"), {}) is None


def test_a_weight_is_drawn_among_weights() -> None:
    names = [f"fc{index}.weight" for index in range(4)]
    facts: dict[str, dict[str, float | str | None]] = {
        "parameter.zero_share": {**{name: float(name == names[2]) for name in names}, "fc0.bias": 1.0},
        "parameter.role": {**dict.fromkeys(names, "weight"), "fc0.bias": "bias"},
    }
    found = samples.finding(
        "zero-init-hidden", samples.occurrence(names[2], evidence=(samples.ZERO,)), kind="parameter"
    )
    chart = card_chart(audit_with(facts), found, {})
    assert chart is not None
    assert [row[0] for row in chart.table] == names


@pytest.mark.parametrize(
    ("fact", "title"),
    [
        ("training.overfit_ratio", "Overfitting one batch"),
        ("training.input_effect", "Training with and without the inputs"),
        ("training.stability_ratio", "Learning-rate range test"),
        ("training.loss_ratio", "Loss of the run"),
        ("training.step_count", None),
    ],
)
def test_a_finding_of_the_run_shows_its_experiment(fact: str, title: str | None) -> None:
    evidence = Evidence(fact, 0.98, "ratio", ">", 0.3)
    found = samples.finding("unfireable-relu", samples.occurrence("training", evidence=(evidence,)), kind="training")
    chart = card_chart(trace_samples.audit(), found, run_charts(trace_samples.trace()))
    assert (None if chart is None else chart.title) == title


def test_cards_of_twenty_thousand_layers_stay_small() -> None:
    values: dict[str, float | str | None] = {f"blocks.{index}.relu": index / 20_000 for index in range(20_000)}
    found = silent(*(f"blocks.{index}.relu" for index in range(8_000, 20_000)))
    run = samples.run_of(replace(audit_with({SHARE.fact: values}), findings=(found,)))
    text = render_html(run)
    assert "Measured silent share over depth" in text
    assert len(text.encode()) < 1_000_000
