"""Curves over steps, rates or layers: lines and dots in one frame, with levels that they are held against, labelled where they stand. Stdlib only."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from math import ceil, isfinite

from trainaudit.frozen import frozen
from trainaudit.report import numbers
from trainaudit.report.charts import linear_axis, log_axis, scale
from trainaudit.report.drawing import (
    NARROW,
    Drawing,
    Mark,
    Path,
    Spot,
    Text,
    box,
    dots,
    left_out,
    line,
    marks_of,
    place_label,
    short,
    thinned,
    width_of,
)
from trainaudit.report.escaping import shortened, visible

Points = Sequence[float | None]
MAX_TABLE = 30
MAX_POINTS = 180
HEIGHT = 236.0
LEFT, RIGHT, TOP, BOTTOM = 52.0, 12.0, 10.0, 40.0
_ROW = 16.0
"""Height of a line of type."""
_DEPTH = ("second", "first", "third")
"""Styles of curves, the lowest first."""
_Placed = list[tuple[float, float]]


@frozen
class Curve:
    """`values` stand at the chart's x values. `style` tells curves apart: "first" is the accent, "second" gray and wide and lies under the others, "third"
    black and dotted and lies over them: so each is seen where all are the same. Dots are for values that are no line."""

    name: str
    values: tuple[float | None, ...]
    style: str = "first"
    is_dots: bool = False


@frozen
class Level:
    """A value that curves are held against, across the whole chart. `tone`: "main" is what the chart is for, "bad" what went wrong."""

    name: str
    at: float
    tone: str = ""


def curve_chart(
    title: str,
    quantity: str,
    x_label: str,
    x_values: Sequence[float],
    curves: Sequence[Curve],
    *,
    x_names: Sequence[str] = (),
    levels: Sequence[Level] = (),
    places: Sequence[Level] = (),
    is_log_x: bool = False,
    is_log: bool | None = None,
    top: float | None = None,
) -> Drawing | None:
    """None where fewer than two values can be drawn. `is_log`: as the values ask for, where it is None. Levels far from all values are left out, so
    that the values fill the chart; `top` holds what is higher at the edge. `levels` lie across the chart, `places` stand upright in it. `x_names` are
    names of layers, in the table, instead of numbers."""
    known = [value for curve in curves for value in curve.values if value is not None and isfinite(value)]
    if len(known) < 2 or not x_values:
        return None
    shown = [min(value, top) for value in known] if top is not None else known
    positive = [value for value in shown if value > 0]
    log = is_log if is_log is not None else len(positive) == len(shown) and max(positive) / min(positive) > 20
    if log:
        if len(positive) < 2:
            return None
        shown = positive
    near = [level for level in levels if _is_near(level.at, shown, log)]
    ends = [*shown, *(level.at for level in near)]
    low, high, ticks = log_axis(min(ends), max(ends)) if log else linear_axis(min(0.0, *ends), max(ends))
    x = scale(min(x_values), max(x_values), is_log_x, LEFT + 4, NARROW - RIGHT)
    upright, rows = _upright([place for place in places if min(x_values) <= place.at <= max(x_values)], x)
    ceiling = TOP + _ROW * rows
    y = scale(low, high, log, HEIGHT - BOTTOM, ceiling)
    drawn = [_stretches(curve.values, x_values, x, y, log) for curve in curves]
    marks: list[Mark] = []
    for tick in ticks:
        marks += [
            line("grid", LEFT, y(tick), NARROW - RIGHT, y(tick)),
            Text("e", LEFT - 6, y(tick) + 4.5, numbers.number(tick)),
        ]
    marks += [Text("m", at, HEIGHT - BOTTOM + 18, word) for at, word in _x_ticks(x_values, x, is_log_x)]
    marks.append(Text("m", (LEFT + NARROW - RIGHT) / 2, HEIGHT - 5, x_label))
    marks += [line(f"level{_dash(level.tone)}", LEFT, y(level.at), NARROW - RIGHT, y(level.at)) for level in near]
    marks += [
        line(f"level{_dash(place.tone)}", x(place.at), ceiling - 2, x(place.at), HEIGHT - BOTTOM)
        for place in places
        if min(x_values) <= place.at <= max(x_values)
    ]
    for curve, runs in sorted(zip(curves, drawn, strict=True), key=lambda pair: _DEPTH.index(pair[0].style)):
        marks += _line(curve, runs)
    marks += upright
    marks += _labels(curves, drawn, near, y, ceiling)
    words = x_names or [numbers.number(value) for value in x_values]
    table = [
        (shortened(words[row], 60), *(_cell(curve.values, row) for curve in curves)) for row in range(len(x_values))
    ]
    kept = thinned(table, MAX_TABLE)
    return Drawing(
        title=title,
        description=_description(quantity, curves, near, places),
        width=NARROW,
        height=HEIGHT,
        marks=marks_of(marks),
        columns=(x_label.split(",")[0], *(curve.name for curve in curves)),
        table=kept,
        note=left_out(len(kept), len(table), "row"),
        subtitle="logarithmic" if log else "",
    )


def _dash(tone: str) -> str:
    return f"-{tone}" if tone else ""


def _upright(places: Sequence[Level], x: Callable[[float], float]) -> tuple[list[Mark], int]:
    """Words of the upright levels over the chart, in as many rows as keep them apart, and that number."""
    rows: list[float] = []
    marks: list[Mark] = []
    for place in sorted(places, key=lambda place: place.at):
        text = shortened(place.name, 46)
        at = max(2.0, min(x(place.at) - width_of(text) / 2, NARROW - 2 - width_of(text)))
        row = next((row for row, end in enumerate(rows) if end + 6 < at), len(rows))
        rows[row : row + 1] = [at + width_of(text)]
        marks.append(Text(_tone(place.tone), at, TOP + 3 + _ROW * row, text))
    return marks, len(rows)


def _tone(tone: str) -> str:
    return {"bad": "bad-text", "main": "main-text"}.get(tone, "ink")


def _labels(
    curves: Sequence[Curve],
    drawn: Sequence[list[_Placed]],
    levels: Sequence[Level],
    y: Callable[[float], float],
    top: float,
) -> list[Mark]:
    """Names at the curves and at the levels, where they cover the least."""
    points = [point for runs in drawn for run in runs for point in _filled(run)]
    points += [point for level in levels for point in _filled([(LEFT, y(level.at)), (NARROW - RIGHT, y(level.at))])]
    frame = (LEFT + 2, top - 2, NARROW - RIGHT, HEIGHT - BOTTOM)
    taken: list[tuple[float, float, float, float]] = []
    marks: list[Mark] = []
    for level in sorted(levels, key=lambda level: -y(level.at)):
        text = f"{level.name} {numbers.number(level.at, 4)}"
        at = y(level.at)
        sides = (NARROW - RIGHT - 4 - width_of(text), LEFT + 6)
        is_under = any(0 < at - y(other.at) < 24 for other in levels)
        bases = (at + 14, at - 5) if is_under else (at - 5, at + 14)
        spots = [Spot(side, base) for base in (*bases, at - 12, at + 21) for side in sides]
        spot = place_label(text, spots, points, taken, frame)
        marks += _label(f"halo {_tone(level.tone)}", spot, text)
    named = [pair for pair in zip(curves, drawn, strict=True) if pair[1]]
    for curve, runs in named if len(named) > 1 else []:
        along = [point for run in runs for point in run]
        chosen = [along[round(share * (len(along) - 1))] for share in (1, 0.75, 0.5, 0.25, 0)]
        width = width_of(curve.name)
        spots = [
            Spot(px + shift, py + rise)
            for rise in (-8, 18, -15, 25, -24, 34)
            for px, py in chosen
            for shift in (-width / 2, -width, 0)
        ]
        spot = place_label(curve.name, spots, points, taken, frame)
        marks += _label(f"halo {_name_css(curve.style)}", spot, curve.name)
    return marks


def _label(css: str, spot: Spot, text: str) -> list[Mark]:
    """Words that keep what lies behind them off: by their halo on a screen, by a ground of their own on paper, where no halo is drawn."""
    return [box("ground", spot.x - 1, spot.y - 10, width_of(text), 12), Text(css, spot.x, spot.y, text)]


def _name_css(style: str) -> str:
    return "main-text" if style == "first" else f"{style}-text"


def _filled(run: _Placed) -> _Placed:
    """The run's points with more between those that lie far apart, so that a label sees the line."""
    found = run[:1]
    for (x0, y0), (x1, y1) in pairwise(run):
        parts = min(40, max(1, int(max(abs(x1 - x0), abs(y1 - y0)) / 6)))
        found += [(x0 + (x1 - x0) * part / parts, y0 + (y1 - y0) * part / parts) for part in range(1, parts + 1)]
    return found


def _is_near(value: float, shown: Sequence[float], is_log: bool) -> bool:
    if not isfinite(value) or (is_log and value <= 0):
        return False
    low, high = min(shown), max(shown)
    return low / 10 <= value <= high * 10 if is_log else value <= max(2 * high, high + (high - low))


def _description(quantity: str, curves: Sequence[Curve], levels: Sequence[Level], places: Sequence[Level]) -> str:
    parts = []
    for curve in curves:
        known = [value for value in curve.values if value is not None and isfinite(value)]
        if known:
            ends = f"from {numbers.number(known[0])} to {numbers.number(known[-1])}"
            parts.append(
                f"{curve.name} {ends}, lowest {numbers.number(min(known))}, highest {numbers.number(max(known))}"
            )
    said = f"{quantity}: {'; '.join(parts)}."
    held = [f"{level.name} ({numbers.number(level.at, 4)})" for level in levels]
    said += f" Held against {', '.join(held)}." if held else ""
    return said + (f" Marked: {', '.join(visible(place.name) for place in places)}." if places else "")


def _stretches(
    values: Points, x_values: Sequence[float], x: Callable[[float], float], y: Callable[[float], float], is_log: bool
) -> list[_Placed]:
    """Stretches of points. A stretch ends where a value is not finite and runs on where there is none. Of many values each bin keeps its lowest and
    highest."""
    runs: list[list[tuple[float, float]]] = [[]]
    for at, value in zip(x_values, values, strict=False):
        if value is None:
            continue
        if not isfinite(value) or (is_log and value <= 0):
            runs.append([])
        else:
            runs[-1].append((at, value))
    return [[(x(at), y(value)) for at, value in _fewer(run)] for run in runs if run]


def _line(curve: Curve, runs: Sequence[_Placed]) -> list[Mark]:
    if not runs:
        return []
    if curve.is_dots:
        return [dots(f"dot-{curve.style}", [point for run in runs for point in run])]
    parts = "".join(polyline(run) for run in runs if len(run) > 1)
    alone = [run[0] for run in runs if len(run) == 1]
    return [
        Path(f"line-{'under' if curve.style == 'second' else curve.style}", parts),
        dots(f"dot-{curve.style}", alone),
    ]


def polyline(points: Sequence[tuple[float, float]]) -> str:
    """A line as a path."""
    return "M" + "L".join(f"{short(x)} {short(y)}" for x, y in points)


def _fewer(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    if len(points) <= MAX_POINTS:
        return points
    size = ceil(len(points) / (MAX_POINTS // 2))
    bins = [points[start : start + size] for start in range(0, len(points), size)]
    kept = [sorted({min(part, key=lambda p: p[1]), max(part, key=lambda p: p[1])}) for part in bins]
    return [point for part in kept for point in part]


def _x_ticks(values: Sequence[float], x: Callable[[float], float], is_log: bool) -> list[tuple[float, str]]:
    low, high = min(values), max(values)
    if is_log:
        ticks = log_axis(low, high)[2]
    else:
        ticks = linear_axis(low, high)[2]
        if all(value == int(value) for value in values):
            ticks = [tick for tick in ticks if tick == int(tick)]
    return [(x(tick), numbers.number(tick)) for tick in ticks if low <= tick <= high]


def _cell(values: Points, row: int) -> str:
    value = values[row] if row < len(values) else None
    return "" if value is None else numbers.number(value)
