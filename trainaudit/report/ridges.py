"""How the values of activations and gradients lie, layer under layer: the first sampled step as an outline, the last one filled. Stdlib only."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import isfinite

from trainaudit.report import numbers
from trainaudit.report.charts import linear_axis, scale
from trainaudit.report.drawing import NARROW, Drawing, Mark, Path, Text, line, marks_of, short, width_of, without_shared
from trainaudit.report.escaping import shortened, tail
from trainaudit.trace.trace import ActivationSeries, Histogram, Trace

MAX_RIDGES = 16
ROW, PEAK = 24.0, 34.0
"""From ridge to ridge, and the height of the highest bin: ridges may overlap."""
LEFT, RIGHT, TOP, BOTTOM = 118.0, 8.0, 48.0, 44.0
_Pair = tuple[str, Histogram | None, Histogram | None]


def ridge_charts(trace: Trace) -> list[Drawing]:
    """Of activations and of gradients, where at least two layers have histograms."""
    found = [
        _ridges(
            "Activations over depth", "value of the layer's output",
            [(_name(one), one.histogram_first, one.histogram_last) for one in trace.activations], is_log=False,
        ),
        _ridges(
            "Gradients over depth", "gradient by the layer's output, size as a power of ten",
            [(_name(one), one.gradient_histogram_first, one.gradient_histogram_last) for one in trace.activations], is_log=True,
        ),
    ]  # fmt: skip
    return [drawing for drawing in found if drawing is not None]


def _name(series: ActivationSeries) -> str:
    return series.tap.layer or series.tap.name


def _ridges(title: str, quantity: str, pairs: Sequence[_Pair], *, is_log: bool) -> Drawing | None:
    known = [(name, _usable(first), _usable(last)) for name, first, last in pairs]
    known = [(name, first, last) for name, first, last in known if first or last]
    if len(known) < 2:
        return None
    chosen = sorted({round(index * (len(known) - 1) / (MAX_RIDGES - 1)) for index in range(MAX_RIDGES)})
    shown = [known[index] for index in chosen] if len(known) > MAX_RIDGES else known
    low, high = _range([histogram for _, first, last in shown for histogram in (first, last) if histogram])
    low, high, ticks = linear_axis(low, high)
    x = scale(low, high, False, LEFT, NARROW - RIGHT)
    height = TOP + ROW * len(shown) + BOTTOM
    foot = height - BOTTOM
    marks: list[Mark] = [line("grid", x(tick), TOP - 8, x(tick), foot + 4) for tick in ticks]
    labels = without_shared([name for name, _, _ in shown])
    for place, (_, first, last) in enumerate(shown):
        base = TOP + ROW * (place + 1) - 4
        marks += [Path("ridge", _outline(last, x, base, closed=True))] if last else []
        marks += [Path("ridge-first", _outline(first, x, base, closed=False))] if first else []
        marks.append(Text("e", LEFT - 8, base, tail(labels[place], int((LEFT - 10) / 7.2))))
    every = 2 if sum(width_of(_tick(tick, is_log)) + 8 for tick in ticks) > NARROW - LEFT else 1
    marks += [
        Text("m", _inside(x(tick), _tick(tick, is_log)), foot + 20, _tick(tick, is_log)) for tick in ticks[::every]
    ]
    marks.append(Text("m", (LEFT + NARROW - RIGHT) / 2, height - 4, quantity if not is_log else "size of the gradient"))
    marks += [
        Path("ridge-first", f"M{short(LEFT)} 12h24"), Text("", LEFT + 30, 16, "first step"),
        Path("ridge", f"M{short(LEFT + 120)} 17v-10h24v10z"), Text("", LEFT + 150, 16, "last step"),
    ]  # fmt: skip
    none = len(pairs) - len(known)
    left = "" if len(shown) == len(known) else f"{len(shown)} of {numbers.count(len(known), 'layer')}"
    return Drawing(
        title=title,
        description=_description(quantity, shown, is_log),
        width=NARROW,
        height=height,
        marks=marks_of(marks),
        columns=(
            "layer",
            *(f"{word} of values, {step}" for step in ("first", "last") for word in ("middle half", "range")),
        ),
        table=tuple(
            (shortened(name, 60), *_cells(first, is_log), *_cells(last, is_log)) for name, first, last in shown
        ),
        note=" ".join(
            [f"{left} are shown, evenly chosen; the JSON record holds all."] * bool(left)
            + [f"{numbers.count(none, 'more layer')} had nothing to count."] * bool(none)
        ),
        subtitle=left,
    )


def _usable(histogram: Histogram | None) -> Histogram | None:
    """Histograms that can be drawn: finite ends, and something counted."""
    if (
        histogram is None
        or not (isfinite(histogram.low) and isfinite(histogram.high))
        or histogram.high < histogram.low
    ):
        return None
    return (
        histogram
        if any(count > 0 for count in histogram.counts) and abs(histogram.low) + abs(histogram.high) < 1e300
        else None
    )


def _range(histograms: Sequence[Histogram]) -> tuple[float, float]:
    """From the lowest to the highest of the layers' 0.5 and 99.5 percentiles: a few wild values do not press all others together."""
    return min(quantile(one, 0.005) for one in histograms), max(quantile(one, 0.995) for one in histograms)


def quantile(histogram: Histogram, share: float) -> float:
    """Values are taken to lie evenly in their bin."""
    counts = [max(0, count) for count in histogram.counts]
    width = (histogram.high - histogram.low) / len(counts)
    wanted = share * sum(counts)
    seen = 0.0
    for place, count in enumerate(counts):
        if count and seen + count >= wanted:
            return histogram.low + width * (place + (wanted - seen) / count)
        seen += count
    return histogram.high


def _outline(histogram: Histogram, x: Callable[[float], float], base: float, *, closed: bool) -> str:
    """Steps over the bins, the highest `PEAK` high; one upright line where all values are the same."""
    counts = histogram.counts
    most = max(counts)
    width = (histogram.high - histogram.low) / len(counts)
    if x(histogram.high) - x(histogram.low) < 1.0:
        return f"M{short(x(histogram.low))} {short(base)}v-{short(PEAK)}h1.5v{short(PEAK)}" + ("z" if closed else "")
    at, height, wide = round(x(histogram.low), 1), 0, 0.0
    parts = [f"M{short(at)} {short(base)}"]
    for place, count in enumerate([*counts, 0]):
        higher = round(PEAK * max(0, count) / most)
        if higher != height or place == len(counts):
            parts.append((f"h{short(wide)}" if wide else "") + (f"v{height - higher}" if higher != height else ""))
            at, height, wide = round(at + wide, 1), higher, 0.0
        wide = round(x(histogram.low + width * (place + 1)) - at, 1)
    return "".join(parts) + ("z" if closed else "")


def _tick(value: float, is_log: bool) -> str:
    return f"1e{numbers.number(value)}" if is_log and value == int(value) else "" if is_log else numbers.number(value)


def _inside(at: float, text: str) -> float:
    return min(at, NARROW - 2 - width_of(text) / 2)


def _cells(histogram: Histogram | None, is_log: bool) -> tuple[str, str]:
    if histogram is None:
        return "", ""

    def words(low: float, high: float) -> str:
        if is_log:
            low, high = 10 ** max(-300.0, min(300.0, low)), 10 ** max(-300.0, min(300.0, high))
        return f"{numbers.number(low)} to {numbers.number(high)}"

    return words(quantile(histogram, 0.25), quantile(histogram, 0.75)), words(histogram.low, histogram.high)


def _description(quantity: str, shown: Sequence[_Pair], is_log: bool) -> str:
    def said(place: int) -> str:
        name, first, last = shown[place]
        return f"{shortened(name, 40)} has the middle half of its values at {_cells(last or first, is_log)[0]}"

    return f"{quantity[:1].upper()}{quantity[1:]}, of {numbers.count(len(shown), 'layer')} from input to output: {said(0)}, {said(-1)}."
