"""The map of the layers: what is drawn is what the record says, whatever the record says."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace
from math import inf, log10, nan

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.report import samples, trace_samples
from tests.report.drawings import decoded_dots, panels_of
from trainaudit.report.depth_axis import LEFT, MAX_COLUMNS, columns_for, stretches
from trainaudit.report.drawing import Drawing, Icon, Path, Text
from trainaudit.report.layer_map import layer_map
from trainaudit.report.sections import section
from trainaudit.report.to_html import page, render_html
from trainaudit.report.view import live_findings
from trainaudit.result import Audit, LayerRow, Run

NUMBERS = st.one_of(st.none(), st.just(0.0), st.just(inf), st.just(nan), st.floats(min_value=1e-300, max_value=1e300))


def mapped(run: Run) -> Drawing:
    found = layer_map(run, run.audits[0], live_findings(run.audits[0]))
    assert found is not None
    return found


def with_rows(run: Run, *rows: LayerRow) -> Run:
    return replace(run, audits=(replace(run.audits[0], layers=rows), *run.audits[1:]))


def test_predicted_and_measured_stand_in_one_panel_with_the_healthy_band() -> None:
    run = trace_samples.probed()
    drawing = mapped(run)
    titles = [title for title, _ in panels_of(drawing)]
    assert titles[:2] == ["Activations, rms", "Weight gradients (last layer = 1)"]
    words = {mark.text for mark in drawing.marks if isinstance(mark, Text)}
    assert {"measured", "predicted", "healthy 0.001 to 1,000", "healthy 0.0001 to 10,000"} <= words
    assert (
        sum(isinstance(mark, Path) and mark.css == "band" for mark in drawing.marks) == 4
    )  # two panels and their keys
    assert "Errors begin at layers.0." in drawing.description


@pytest.mark.parametrize(
    ("panel", "css", "field"),
    [
        ("Activations, rms", "dot-first", "measured_rms"),
        ("Activations, rms", "open-second", "predicted_rms"),
        ("Weight gradients (last layer = 1)", "dot-first", "measured_gradient"),
        ("Weight gradients (last layer = 1)", "open-second", "predicted_gradient"),
        ("Update ratio, ‖Δw‖ ÷ ‖w‖ of one step", "dot-first", "update_ratio"),
        ("Standard deviation of the weights", "dot-first", "weight_std"),
        ("Silent units and saturated values", "dot-first", "silent_share"),
    ],
)
def test_the_drawn_numbers_are_the_records(panel: str, css: str, field: str) -> None:
    """Read back from the drawing with the axis that stands in it."""
    run = trace_samples.probed()
    (audit,) = run.audits
    rows = [
        replace(row, update_ratio=10 ** -(2 + index / 8), silent_share=index / 20, weight_std=0.01 * 1.3**index)
        for index, row in enumerate(audit.layers)
    ]
    run = with_rows(run, *rows)
    found = decoded_dots(mapped(run), panel, css)
    wanted = [getattr(row, field) for row in rows]
    assert [round(x) for x, _ in found] == [round(columns_for(len(rows)).x(index)) for index in range(len(rows))]
    for (_, seen), value in zip(found, wanted, strict=True):
        assert seen == pytest.approx(value, rel=0.05, abs=0.01 if panel.startswith("Silent") else 0)


def test_the_table_holds_the_same_numbers_and_the_findings() -> None:
    run = trace_samples.probed()
    drawing = mapped(run)
    assert drawing.columns[0] == "layer"
    assert drawing.columns[-1] == "findings"
    at = drawing.columns.index("gradient, measured")
    assert [row[at] for row in drawing.table[:3]] == ["3.05e-5", "6.1e-5", "0.000122"]
    assert drawing.table[0][-1] == "error predicted-vanishing-gradient"
    assert {len(row) for row in drawing.table} == {len(drawing.columns)}


def test_what_has_no_place_on_the_axis_is_marked_at_its_edge() -> None:
    run = trace_samples.probed()
    rows = list(run.audits[0].layers)
    rows[2] = replace(rows[2], measured_gradient=0.0)
    rows[4] = replace(rows[4], measured_rms=inf)
    rows[5] = replace(rows[5], measured_rms=nan)
    drawing = mapped(with_rows(run, *rows))
    words = [mark.text for mark in drawing.marks if isinstance(mark, Text)]
    assert words.count("exactly 0") == 1
    assert words.count("not finite") == 1
    assert len(decoded_dots(drawing, "Activations, rms", "dot-first")) == len(rows) - 2
    assert [row[drawing.columns.index("activation rms, measured")] for row in drawing.table[4:6]] == ["infinity", "NaN"]


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(NUMBERS, NUMBERS, NUMBERS), max_size=40), st.booleans())
def test_any_numbers_are_drawn_in_their_frame(values: list[tuple[float | None, ...]], is_long: bool) -> None:
    rows = [
        replace(
            samples.row(index, f"part{index % 3}.fc{index}", gain=a, std=b), predicted_rms=a, measured_rms=b, measured_gradient=c, silent_share=c,
            saturated_share=a, update_ratio=b,
        )
        for index, (a, b, c) in enumerate(values * (40 if is_long else 1))
    ]  # fmt: skip
    run = with_rows(trace_samples.probed(), *rows)
    drawing = layer_map(run, run.audits[0], ())
    if drawing is None:
        return
    for mark in drawing.marks:
        if isinstance(mark, Path) and mark.css.startswith(("line", "dot", "area", "open", "fill")):
            assert "nan" not in mark.d
            assert "inf" not in mark.d
            for x, y in re.findall(r"[ML](-?[\d.]+) (-?[\d.]+)", mark.d):
                assert LEFT - 10 <= float(x) <= drawing.width
                assert 0 <= float(y) <= drawing.height


def test_a_thousand_layers_are_put_together_and_that_is_said() -> None:
    rows = [samples.row(index, f"fc{index}", gain=1.0, std=0.1) for index in range(1_000)]
    rows[321] = samples.row(321, "fc321", gain=1.0, std=40.0)
    run = with_rows(samples.faulty(), *rows)
    drawing = mapped(run)
    columns = columns_for(1_000)
    assert columns.number <= MAX_COLUMNS
    assert drawing.subtitle.startswith(f"{columns.size} layers at each place")
    assert len(drawing.table) <= 60
    assert "of 1,000 layers are listed" in drawing.note
    area = next(mark.d for mark in reversed(drawing.marks) if isinstance(mark, Path) and mark.css == "area-first")
    ys = [float(y) for _, y in re.findall(r"[ML](-?[\d.]+) (-?[\d.]+)", area)]
    assert max(ys) - min(ys) > 60  # the one outlier is not averaged away
    assert "highest 40" in drawing.description


def test_layers_with_findings_are_kept_in_a_thinned_table() -> None:
    run = samples.decaying()
    rows = [replace(samples.row(index, f"l{index}"), predicted_rms=1.0) for index in range(500)]
    found = replace(run.audits[0].findings[0], occurrences=(samples.occurrence("l333"),))
    audit = replace(run.audits[0], layers=tuple(rows), findings=(found,))
    drawing = layer_map(run, audit, audit.findings)
    assert drawing is not None
    assert "l333" in [row[0] for row in drawing.table]


def test_severity_has_a_shape_and_a_word() -> None:
    drawing = mapped(trace_samples.probed())
    assert [mark.name for mark in drawing.marks if isinstance(mark, Icon)] == ["error"]
    assert "predicted-vanishing-gradient" in [mark.text for mark in drawing.marks if isinstance(mark, Text)]


def test_the_worst_finding_keeps_its_mark_where_many_stand() -> None:
    run = samples.decaying()
    rows = tuple(replace(samples.row(index, f"l{index}"), predicted_rms=1.0) for index in range(600))
    error = replace(run.audits[0].findings[0], occurrences=(samples.occurrence("l300"),))
    warning = samples.finding("linear-stack", *(samples.occurrence(row.name) for row in rows))
    audit = replace(run.audits[0], layers=rows, findings=(warning, error))
    drawing = layer_map(run, audit, audit.findings)
    assert drawing is not None
    assert next(mark.name for mark in drawing.marks if isinstance(mark, Icon)) == "error"


def test_without_numbers_there_is_no_map() -> None:
    rows = tuple(samples.row(index, f"fc{index}", gain=None, std=None) for index in range(4))
    run = with_rows(samples.clean(), *rows)
    assert layer_map(run, run.audits[0], ()) is None
    assert section(run, run.audits[0], 0, 1, 300, Counter()).layer_map is None


def test_hostile_names_stay_text_in_a_drawing() -> None:
    audit: Audit = samples.hostile().audits[0]
    rows = [
        replace(row, name=f"{samples.HOSTILE}{index}", gain=1.0, weight_std=0.1)
        for index, row in enumerate(audit.layers[:1] * 8)
    ]
    text = render_html(with_rows(samples.hostile(), *rows))
    svg = "".join(re.findall(r'<svg class="chart".*?</svg>', text, re.DOTALL))
    assert "<script" not in svg
    assert "\x1b" not in svg
    assert "\u202e" not in svg


def test_modules_are_named_under_the_layers() -> None:
    names = ["stem", *(f"blocks.{index}.{part}" for index in range(4) for part in ("a", "b")), "head"]
    assert [name for *_, name in stretches(names)] == ["stem", "blocks.0", "blocks.1", "blocks.2", "blocks.3", "head"]
    assert stretches([str(index) for index in range(5)]) == []
    assert [(first, last) for first, last, _ in stretches(names)][:2] == [(0, 0), (1, 2)]


def test_a_printed_drawing_carries_its_style() -> None:
    """The PDF renderer knows neither the page's style sheet nor variables inside a drawing."""
    text = page(trace_samples.probed(), is_print=True)
    drawings = re.findall(r'<svg class="chart" viewBox.*?</svg>', text, re.DOTALL)
    styled = [drawing for drawing in drawings if "<style>" in drawing]
    assert len(styled) >= 6
    used = {name for drawing in styled for css in re.findall(r'class="([^"]+)"', drawing) for name in css.split()} - {
        "chart"
    }
    known = set(re.findall(r"\.chart \.([\w-]+)", styled[0]))
    assert "var(" not in styled[0]
    assert used - known <= {"halo"}
    assert "<style>" not in "".join(
        re.findall(r"<svg.*?</svg>", page(trace_samples.probed(), is_print=False), re.DOTALL)
    )


def test_the_axis_reads_right() -> None:
    """Each tick stands where its number says."""
    for _, ticks in panels_of(mapped(trace_samples.probed()))[:2]:
        (y0, v0), (y1, v1) = ticks[0], ticks[-1]
        for y, value in ticks:
            share = (log10(value) - log10(v0)) / (log10(v1) - log10(v0))
            assert y == pytest.approx(y0 + share * (y1 - y0), abs=0.2)
