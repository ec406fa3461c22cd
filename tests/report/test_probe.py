"""What reports say of a probe: in words, and as curves. A record may come from anywhere, and a run may give any number."""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import combinations

import pytest
from hypothesis import HealthCheck, given, settings

from tests.report import samples, trace_samples
from tests.trace.test_trace_file import TRACES
from trainaudit.report import probe_charts, probe_view, view
from trainaudit.report.curves import MAX_POINTS, Curve, Level, curve_chart
from trainaudit.report.drawing import Path, Text, width_of
from trainaudit.report.formats import FORMATS, render
from trainaudit.resources import templates_folder
from trainaudit.trace.experiments import NAMES, RAN, Experiment
from trainaudit.trace.trace import Trace

CHART_STYLE = (templates_folder() / "html" / "charts.css").read_text("utf-8")


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
@given(TRACES)
def test_every_trace_can_be_shown(trace: Trace) -> None:
    run = samples.run_of(replace(trace_samples.audit(), trace=trace))
    for name in (*FORMATS, "html"):
        assert render(run, name)


@pytest.mark.parametrize("name", NAMES)
def test_every_experiment_has_a_sentence_whatever_it_lacks(name: str) -> None:
    """With all of its numbers, with none, with words in their place."""
    full = dict.fromkeys(NAMES[name], 1.5)
    for values in (full, {}, dict.fromkeys(full, "odd"), dict.fromkeys(full, True), dict.fromkeys(full, float("nan"))):
        trace = replace(trace_samples.trace(), experiments={name: Experiment(RAN, values=values)})
        (row,) = probe_view.experiment_rows(trace)
        assert row.result
        assert row.title == name.replace("-", " ")
    trace = replace(trace_samples.trace(), experiments={name: Experiment(RAN, values=full)})
    assert "?" not in probe_view.experiment_rows(trace)[0].result


def test_the_headline_says_how_the_run_ended() -> None:
    trace = trace_samples.trace()
    for stopped, words in (
        ("completed", "12 s"),
        ("time budget", "ended by the time budget"),
        ("interrupted", "ended by the user"),
        ("out of memory", "ended by memory that ran out"),
        ("non-finite", "ended by a gradient of layers.3 that is not finite, at step 39"),
    ):
        assert probe_view.headline(replace(trace, stopped=stopped)).endswith(words)


def test_what_an_experiment_had_cut_is_said_once() -> None:
    trace = replace(trace_samples.trace(), cuts=("The experiment same-seed was cut: too slow.", "The run was cut."))
    rows = probe_view.rows(replace(trace_samples.audit(), trace=trace))
    assert [text for label, text in rows if label == "cut"] == ["The run was cut."]


def test_a_batch_that_is_learnt_with_standardized_inputs_is_said_to_be() -> None:
    stuck = {"start_loss": 9.0, "final_loss": 8.0, "steps": 300, "sample_count": 16}
    for values, is_said in ((stuck, False), ({**stuck, "is_learnt_standardized": True}, True)):
        trace = replace(trace_samples.trace(), experiments={"overfit-one-batch": Experiment(RAN, values=values)})
        assert ("with standardized inputs it is learnt" in probe_view.experiment_rows(trace)[0].result) == is_said


@pytest.mark.parametrize("one", [1, 1.0])
def test_one_is_not_many(one: float) -> None:
    """Records hold counts as whole numbers or not."""
    said = {
        "overfit-one-batch": {"start_loss": 9.0, "final_loss": 8.0, "steps": one, "sample_count": one},
        "same-seed": {"is_identical": True, "steps": one},
    }
    trace = replace(
        trace_samples.trace(), experiments={name: Experiment(RAN, values=values) for name, values in said.items()}
    )
    results = " ".join(row.result for row in probe_view.experiment_rows(trace))
    assert "in 1 step on 1 example" in results
    assert "the same 1 loss, bit for bit" in results
    assert "1 parameter," in view.model_sentence(replace(samples.clean_audit().model, parameter_count=1))


def test_the_charts_of_a_run() -> None:
    titles = [chart.title for chart in probe_charts.run_charts(trace_samples.trace()).values()]
    assert titles == [
        "Loss of the run",
        "Learning-rate range test",
        "Overfitting one batch",
        "Training with and without the inputs",
    ]
    loss = probe_charts.run_charts(trace_samples.trace())["run"]
    words = [mark.text for mark in loss.marks if isinstance(mark, Text)]
    assert {"expected at the start 2.303", "floor of a second softmax 1.461", "not finite: gradient of layers.3"} <= {
        *words
    }
    assert "Held against expected at the start (2.303)" in loss.description


def test_nothing_measured_gives_no_charts() -> None:
    assert probe_charts.run_charts(replace(trace_samples.trace(), run=None, experiments={})) == {}


def test_lines_break_where_a_value_is_not_finite_and_run_on_where_there_is_none() -> None:
    values = (1.0, None, 2.0, float("nan"), 3.0, 4.0)
    chart = curve_chart("t", "q", "step", range(6), [Curve("c", values)])
    assert chart is not None
    paths = [mark.d for mark in chart.marks if isinstance(mark, Path) and mark.css == "line-first"]
    assert [path.count("M") for path in paths] == [2]
    assert [path.count("L") for path in paths] == [2]


def test_labels_do_not_cover_each_other() -> None:
    levels = [Level(f"l{index}", 1.0 + index / 1000) for index in range(4)]
    chart = curve_chart("t", "q", "step", range(3), [Curve("c", (0.5, 1.0, 1.5))], levels=levels)
    assert chart is not None
    labels = [mark for mark in chart.marks if isinstance(mark, Text) and mark.text.startswith("l")]
    assert len(labels) == 4
    for one, other in combinations(labels, 2):
        assert abs(one.y - other.y) >= 13 or abs(one.x - other.x) >= width_of(one.text)


def test_the_words_of_a_flat_run_stand_clear_of_its_lines() -> None:
    """A curve that keeps to its level, as of a network that learns nothing: what is said of both is above and below them."""
    curves = [Curve("training loss", (2.3,) * 40), Curve("validation loss", (2.3,) * 40, "second")]
    levels = [Level("expected at the start", 2.303), Level("best constant output", 2.291)]
    chart = curve_chart("t", "q", "step", range(40), curves, levels=levels)
    assert chart is not None
    lines = [float(y) for mark in chart.marks if isinstance(mark, Path) and mark.css in ("line-first", "level")
             for y in re.findall(r"[ML]-?[\d.]+ (-?[\d.]+)", mark.d)]  # fmt: skip
    labels = [mark for mark in chart.marks if isinstance(mark, Text) and mark.css.startswith("halo")]
    assert len(labels) == 4
    for label in labels:
        assert not any(label.y - 10 < y < label.y + 2 for y in lines), label.text
    assert [mark.css for mark in chart.marks].count("ground") == 4


def test_a_curve_below_another_shows_where_both_are_the_same() -> None:
    values = (3.0, 2.0, 1.0)
    curves = [Curve("after", values), Curve("before", values, "second"), Curve("other", values, "third")]
    chart = curve_chart("t", "q", "step", range(3), curves)
    assert chart is not None
    drawn = [mark for mark in chart.marks if isinstance(mark, Path) and mark.css.startswith("line")]
    assert [mark.css for mark in drawn] == ["line-under", "line-first", "line-third"]
    assert len({mark.d for mark in drawn}) == 1
    widths = dict(re.findall(r"\.chart \.(line-\w+) \{[^}]*stroke-width: (\d+)", CHART_STYLE))
    assert int(widths["line-under"]) > int(widths["line-first"]) + 2
    assert "stroke-dasharray" in CHART_STYLE.split(".line-third {")[1].split("}")[0]


def test_levels_far_away_do_not_flatten_a_curve() -> None:
    chart = curve_chart(
        "t", "q", "step", range(2), [Curve("c", (1.0, 2.0))], levels=[Level("far", 1e6), Level("near", 1.5)]
    )
    assert chart is not None
    words = [mark.text for mark in chart.marks if isinstance(mark, Text)]
    assert "near 1.5" in words
    assert not any("far" in word for word in words)


def test_a_long_run_is_thinned_and_keeps_its_peaks() -> None:
    values = tuple(1e3 if step == 7_777 else 1.0 + step % 2 for step in range(20_000))
    chart = curve_chart("t", "q", "step", range(20_000), [Curve("c", values)])
    assert chart is not None
    assert (
        sum(mark.d.count("L") for mark in chart.marks if isinstance(mark, Path) and mark.css == "line-first")
        <= MAX_POINTS
    )
    assert len(chart.table) <= 30
    assert chart.note == "30 of 20,000 rows are listed; the JSON record holds all."
    assert "highest 1,000" in chart.description
