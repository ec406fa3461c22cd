"""Histograms over depth: drawn and listed as they were counted, whatever was counted."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.report import trace_samples
from trainaudit.report.drawing import NARROW, Drawing, Path, Text
from trainaudit.report.ridges import MAX_RIDGES, PEAK, quantile, ridge_charts
from trainaudit.trace.trace import ActivationSeries, Histogram, Tap, Trace


def traced(*histograms: tuple[Histogram | None, Histogram | None]) -> Trace:
    series = tuple(
        ActivationSeries(Tap(f"block.{index}.fc", f"block.{index}.fc"), histogram_first=first, histogram_last=last)
        for index, (first, last) in enumerate(histograms)
    )
    return replace(trace_samples.trace(), activations=series)


def drawn(*histograms: tuple[Histogram | None, Histogram | None]) -> Drawing:
    (drawing,) = ridge_charts(traced(*histograms))
    return drawing


BELL = Histogram(-2.0, 2.0, (0, 25, 50, 25))
FLAT = Histogram(-2.0, 2.0, (10, 10, 10, 10))


def test_the_heights_are_the_counts() -> None:
    drawing = drawn((BELL, FLAT), (BELL, FLAT))
    for css, counts in (("ridge-first", BELL.counts), ("ridge", FLAT.counts)):
        paths = [
            mark.d for mark in drawing.marks if isinstance(mark, Path) and mark.css == css and mark.d.count("h") >= 1
        ]
        paths = [path for path in paths if not path.endswith("h24") and "v-10" not in path]
        assert len(paths) == 2
        heights = heights_of(paths[0], len(counts))
        assert heights == pytest.approx([count / max(counts) for count in counts], abs=0.02)


def heights_of(path: str, bins: int) -> list[float]:
    """The outline's height over the middle of each of equal bins, as a share of the peak."""
    steps = [(kind, float(size)) for kind, size in re.findall(r"([hv])(-?[\d.]+)", path)]
    whole = sum(size for kind, size in steps if kind == "h")
    height, x = 0.0, 0.0
    found: list[tuple[float, float]] = []
    for kind, size in steps:
        if kind == "v":
            height -= size
        else:
            x += size
            found.append((x, height))
    return [next(high for end, high in found if end >= whole * (place + 0.5) / bins) / PEAK for place in range(bins)]


def test_the_table_holds_quartiles_and_ends() -> None:
    drawing = drawn((BELL, FLAT), (None, FLAT))
    assert drawing.table[0] == ("block.0.fc", "0 to 1", "-2 to 2", "-1 to 1", "-2 to 2")
    assert drawing.table[1][1:3] == ("", "")
    assert quantile(BELL, 0.25) == pytest.approx(0.0)
    assert quantile(BELL, 0.75) == pytest.approx(1.0)
    assert quantile(FLAT, 0.5) == pytest.approx(0.0)


def test_many_layers_are_chosen_from_and_that_is_said() -> None:
    drawing = drawn(*[(BELL, BELL)] * 1_000)
    assert len(drawing.table) == MAX_RIDGES
    assert drawing.subtitle == f"{MAX_RIDGES} of 1,000 layers"
    assert "evenly chosen" in drawing.note
    assert [drawing.table[0][0], drawing.table[-1][0]] == ["block.0.fc", "block.999.fc"]


def test_fewer_than_two_histograms_give_nothing() -> None:
    assert ridge_charts(traced()) == []
    assert ridge_charts(traced((BELL, None), (None, None))) == []
    assert ridge_charts(traced((Histogram(0.0, float("inf"), (1,)), None), (Histogram(0.0, 1.0, (0, 0)), BELL))) == []


def test_one_value_alone_is_a_line() -> None:
    drawing = drawn((Histogram(1.0, 1.0, (5,)), BELL), (Histogram(0.0, 0.0, (5, 0)), BELL))
    assert all("nan" not in mark.d for mark in drawing.marks if isinstance(mark, Path))


FLOATS = st.floats(min_value=-1e30, max_value=1e30)


@settings(deadline=None, max_examples=100)
@given(st.lists(st.tuples(FLOATS, FLOATS, st.lists(st.integers(-1, 10**12), max_size=12)), min_size=2, max_size=8))
def test_any_histogram_is_drawn_in_its_frame(found: list[tuple[float, float, list[int]]]) -> None:
    histograms = [
        (Histogram(low, high, tuple(counts)), Histogram(high, low, tuple(counts))) for low, high, counts in found
    ]
    for drawing in ridge_charts(traced(*histograms)):
        for mark in drawing.marks:
            if isinstance(mark, Path):
                for x, y in re.findall(r"M(\S+?) (-?[\d.]+)", mark.d):
                    assert 0 <= float(x) <= NARROW
                    assert 0 <= float(y) <= drawing.height
            elif isinstance(mark, Text):
                assert 0 <= mark.y <= drawing.height
