"""Curves over steps, rates or layers: lines and dots in one frame, with levels that they are held against, and the same numbers as a table. Stdlib only.

Templates draw them; positions are in the units of the SVG's viewBox, 440 × 220 for each panel.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import ceil, isfinite

from trainaudit.frozen import frozen
from trainaudit.report import numbers
from trainaudit.report.charts import WIDTH, linear_axis, log_axis, scale
from trainaudit.report.depth_charts import BOTTOM, HEIGHT, LEFT, MAX_MARKS, RIGHT, TOP, Band, Tick
from trainaudit.report.escaping import shortened

Points = Sequence[float | None]
MAX_TABLE = 40
_LETTERS = "abcdefgh"
_APART = 12.0
"""Least distance between two letters at the edge."""


@frozen
class Curve:
    """`values` stand at the chart's x values. `style` tells curves apart: "first" is blue, "second" brown and dashed, "third" green and dotted. Dots
    are for values that are no line."""

    name: str
    values: tuple[float | None, ...]
    style: str = "first"
    is_dots: bool = False


@frozen
class Drawn:
    name: str
    path: str
    style: str
    is_dots: bool


@frozen
class Level:
    """A value that curves are held against, across the whole chart."""

    name: str
    at: float
    is_bad: bool = False


@frozen
class Mark:
    """A level as it is drawn: where it stands, where its letter stands, and what the legend says of it."""

    at: float
    letter_at: float
    letter: str
    label: str
    is_bad: bool


@frozen
class CurveChart:
    """`levels` lie across it, `places` stand upright in it. `table` holds the same numbers as text, thinned."""

    title: str
    description: str
    x_label: str
    curves: tuple[Drawn, ...]
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    is_log: bool
    columns: tuple[str, ...]
    table: tuple[tuple[str, ...], ...]
    left_out: int
    levels: tuple[Mark, ...] = ()
    places: tuple[Mark, ...] = ()
    band: Band | None = None


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
    band: tuple[float, float] | None = None,
    is_log_x: bool = False,
    is_log: bool | None = None,
    top: float | None = None,
) -> CurveChart | None:
    """None where fewer than two values can be drawn. `is_log`: as the values ask for, where it is None. Levels far from all values are left out, so
    that the values fill the chart; `top` holds what is higher at the edge. `x_names` are names of layers instead of numbers."""
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
    ends = [*shown, *(level.at for level in near), *(band or ())]
    low, high, ticks = log_axis(min(ends), max(ends)) if log else linear_axis(min(0.0, *ends), max(ends))
    y = scale(low, high, log, HEIGHT - BOTTOM, TOP)
    x = scale(min(x_values), max(x_values), is_log_x, LEFT + 6, WIDTH - RIGHT - 6)
    step = ceil(len(x_values) / MAX_TABLE)
    rows = range(0, len(x_values), step)
    words = x_names or [numbers.number(value) for value in x_values]
    first = [value for value in curves[0].values if value is not None and isfinite(value)]
    return CurveChart(
        title=title,
        description=_description(quantity, curves, first, near),
        x_label=x_label,
        curves=tuple(
            Drawn(curve.name, _path(curve, x_values, x, y, log), curve.style, curve.is_dots)
            for curve in curves
            if any(value is not None and isfinite(value) for value in curve.values)
        ),
        x_ticks=tuple(_x_ticks(x_values, x, is_log_x, bool(x_names))),
        y_ticks=tuple(Tick(y(value), numbers.number(value)) for value in ticks),
        is_log=log,
        columns=(x_label.split(",")[0], *(curve.name for curve in curves)),
        table=tuple((shortened(words[row], 60), *(_cell(curve.values, row) for curve in curves)) for row in rows),
        left_out=len(x_values) - len(rows),
        levels=_marks(near, y, 0, "{}: {}"),
        places=_marks([place for place in places if min(x_values) <= place.at <= max(x_values)], x, len(near), "{}"),
        band=_band(band, y),
    )


def _marks(levels: Sequence[Level], position: Callable[[float], float], used: int, words: str) -> tuple[Mark, ...]:
    """Levels with letters behind the `used` ones, whose letters do not cover each other."""
    marks: list[Mark] = []
    last = -_APART
    for level in sorted(levels, key=lambda level: position(level.at)):
        at = position(level.at)
        last = max(at, last + _APART)
        label = words.format(level.name, numbers.number(level.at, 4))
        marks.append(Mark(at, last, _LETTERS[(used + len(marks)) % len(_LETTERS)], label, level.is_bad))
    return tuple(marks)


def _band(band: tuple[float, float] | None, y: Callable[[float], float]) -> Band | None:
    if band is None:
        return None
    words = f"{numbers.number(band[0])} to {numbers.number(band[1])}"
    return Band(y(band[1]), round(y(band[0]) - y(band[1]), 2), words)


def _is_near(value: float, shown: Sequence[float], is_log: bool) -> bool:
    if not isfinite(value) or (is_log and value <= 0):
        return False
    low, high = min(shown), max(shown)
    return low / 10 <= value <= high * 10 if is_log else value <= max(2 * high, high + (high - low))


def _description(quantity: str, curves: Sequence[Curve], first: Sequence[float], levels: Sequence[Level]) -> str:
    if not first:
        return f"{quantity}."
    said = f"{quantity}: {curves[0].name} from {numbers.number(first[0])} to {numbers.number(first[-1])}, "
    said += f"lowest {numbers.number(min(first))}, highest {numbers.number(max(first))}."
    if len(curves) > 1:
        said += f" Beside it: {', '.join(curve.name for curve in curves[1:])}."
    if levels:
        said += " Held against " + ", ".join(f"{level.name} ({numbers.number(level.at, 4)})" for level in levels) + "."
    return said


def _path(
    curve: Curve, x_values: Sequence[float], x: Callable[[float], float], y: Callable[[float], float], is_log: bool
) -> str:
    """Dots, or a line that breaks where a value is not finite and runs on where there is none. Of many values each bin keeps its lowest and highest."""
    runs: list[list[tuple[float, float]]] = [[]]
    for at, value in zip(x_values, curve.values, strict=False):
        if value is None:
            continue
        if not isfinite(value) or (is_log and value <= 0):
            runs.append([])
        else:
            runs[-1].append((at, value))
    paths = []
    for run in filter(None, runs):
        placed = [f"{x(at):.1f} {y(value):.1f}" for at, value in _thinned(run)]
        if curve.is_dots:
            paths.append("".join(f"M{place}h0" for place in placed))
        else:
            paths.append("M" + "L".join(placed) + ("h1" if len(placed) == 1 else ""))
    return "".join(paths)


def _thinned(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    if len(points) <= MAX_MARKS:
        return points
    size = ceil(len(points) / (MAX_MARKS // 2))
    bins = [points[start : start + size] for start in range(0, len(points), size)]
    kept = [sorted({min(part, key=lambda p: p[1]), max(part, key=lambda p: p[1])}) for part in bins]
    return [point for part in kept for point in part]


def _x_ticks(values: Sequence[float], x: Callable[[float], float], is_log: bool, is_named: bool) -> list[Tick]:
    if is_log:
        ticks = log_axis(min(values), max(values))[2]
        return [Tick(x(tick), numbers.number(tick)) for tick in ticks if min(values) <= tick <= max(values)]
    if is_named:
        chosen = (
            range(len(values)) if len(values) <= 12 else sorted({round(i * (len(values) - 1) / 4) for i in range(5)})
        )
        return [Tick(x(values[place]), str(place + 1)) for place in chosen]
    ticks = linear_axis(min(values), max(values))[2]
    return [Tick(x(tick), numbers.number(tick)) for tick in ticks if min(values) <= tick <= max(values)]


def _cell(values: Sequence[float | None], row: int) -> str:
    value = values[row] if row < len(values) else None
    return "" if value is None else numbers.number(value)
