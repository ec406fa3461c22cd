"""Quantities of layers drawn over depth: dots and lines, linear or logarithmic, with the same numbers as a table. Stdlib only."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from math import ceil, isfinite

from trainaudit.frozen import frozen
from trainaudit.report import numbers
from trainaudit.report.charts import WIDTH, drawable, linear_axis, log_axis, scale
from trainaudit.report.escaping import shortened
from trainaudit.result import Audit, LayerRow

HEIGHT = 220
LEFT, RIGHT, TOP, BOTTOM = 58, 12, 12, 34
MAX_MARKS = 400


@frozen
class Tick:
    position: float
    label: str


@frozen
class Series:
    """Marks of one kind: the dots' path, the same as a line, and the name in the legend."""

    name: str
    dots: str
    line: str


@frozen
class Band:
    """The stretch of a chart where values are well: its upper edge, its height, and what it is in words."""

    top: float
    height: float
    label: str


@frozen
class DepthChart:
    """One or two quantities over the weighted layers, input to output. `table` holds the same numbers as text, thinned for long models; `places` are
    the layers where damage starts."""

    title: str
    description: str
    series: tuple[Series, ...]
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    is_log: bool
    columns: tuple[str, ...]
    table: tuple[tuple[str, ...], ...]
    left_out: int
    band: Band | None = None
    places: tuple[Tick, ...] = ()


def depth_charts(audit: Audit) -> list[DepthChart]:
    """Gain against wanted gain, and the weights' spread, where there are at least two layers to show."""
    charts = []
    gains = [row for row in audit.layers if drawable(row.gain)]
    if len(gains) >= 2:
        wanted = (
            [("wanted gain", [row.wanted_gain for row in gains])]
            if any(drawable(row.wanted_gain) for row in gains)
            else []
        )
        charts.append(_depth_chart("Gain over depth", "gain", gains, [("gain", [row.gain for row in gains]), *wanted]))
    spread = [row for row in audit.layers if drawable(row.weight_std)]
    if len(spread) >= 2:
        columns = [("weight σ", [row.weight_std for row in spread])]
        charts.append(
            _depth_chart("Standard deviation of the weights over depth", "standard deviation", spread, columns)
        )
    return charts


def _depth_chart(
    title: str, quantity: str, rows: Sequence[LayerRow], columns: Sequence[tuple[str, Sequence[float | None]]]
) -> DepthChart:
    values = [value for _, column in columns for value in column if value is not None and isfinite(value)]
    positive = [value for value in values if value > 0]
    is_log = bool(positive) and len(positive) == len(values) and max(positive) / min(positive) > 20
    low, high, ticks = (
        log_axis(min(positive), max(positive)) if is_log else linear_axis(min([0.0, *values]), max([0.0, *values]))
    )
    y = scale(low, high, is_log, HEIGHT - BOTTOM, TOP)
    return _drawn(title, quantity, rows, columns, columns, y, ticks, is_log)


def _drawn(
    title: str,
    quantity: str,
    rows: Sequence[LayerRow],
    columns: Sequence[tuple[str, Sequence[float | None]]],
    shown: Sequence[tuple[str, Sequence[float | None]]],
    y: Callable[[float], float],
    ticks: Sequence[float],
    is_log: bool,
) -> DepthChart:
    """`shown` are the columns as they are drawn, `columns` as the table has them."""
    x = _place(rows)
    series = tuple(Series(name, *_marks(column, x, y)) for name, column in shown)
    count = numbers.count(len(rows), "layer")
    first = columns[0][1]
    known = [value for value in first if value is not None]
    description = (
        f"{quantity} of {count} with weights, from input to output: from {numbers.number(known[0])} to {numbers.number(known[-1])}, "
        f"lowest {numbers.number(min(known))}, highest {numbers.number(max(known))}."
    )
    step = ceil(len(rows) / 60)
    table = tuple(
        (
            shortened(rows[index].name, 60),
            *("" if column[index] is None else numbers.number(column[index] or 0.0) for _, column in columns),
        )
        for index in range(0, len(rows), step)
    )
    return DepthChart(
        title=title,
        description=description,
        series=series,
        x_ticks=tuple(Tick(x(index), str(index + 1)) for index in _positions(len(rows))),
        y_ticks=tuple(Tick(y(value), numbers.number(value)) for value in ticks),
        is_log=is_log,
        columns=("layer", *(name for name, _ in columns)),
        table=table,
        left_out=len(rows) - len(table),
    )


def log_depth_chart(
    title: str,
    quantity: str,
    rows: Sequence[LayerRow],
    columns: Sequence[tuple[str, Sequence[float | None]]],
    band: tuple[float, float] | None,
    places: Sequence[int],
) -> DepthChart:
    """A chart on a logarithmic axis that holds the band, where there is one. Values that are not positive are left to the table."""
    shown = [(name, [value if value and value > 0 else None for value in column]) for name, column in columns]
    values = [value for _, column in shown for value in column if value is not None and isfinite(value)]
    low, high = (min([*values, band[0]]), max([*values, band[1]])) if band else (min(values), max(values))
    low, high, ticks = log_axis(low, high)
    y = scale(low, high, True, HEIGHT - BOTTOM, TOP)
    chart = _drawn(title, quantity, rows, columns, shown, y, ticks, True)
    x = _place(rows)
    names = ", ".join(shortened(rows[place].name, 40) for place in places)
    description = chart.description + (f" The damage starts at {names}." if names else "")
    if band is None:
        return replace(chart, description=description, places=_ticks(rows, places, x))
    text = f"{numbers.number(band[0])} to {numbers.number(band[1])}"
    return replace(
        chart,
        description=f"{description} Well is {text}.",
        band=Band(y(band[1]), round(y(band[0]) - y(band[1]), 2), text),
        places=_ticks(rows, places, x),
    )


def _ticks(rows: Sequence[LayerRow], places: Sequence[int], x: Callable[[float], float]) -> tuple[Tick, ...]:
    return tuple(Tick(x(place), shortened(rows[place].name, 40)) for place in places)


def _place(rows: Sequence[LayerRow]) -> Callable[[float], float]:
    return scale(0, max(1, len(rows) - 1), False, LEFT + 6, WIDTH - RIGHT - 6)


def _marks(column: Sequence[float | None], x: Callable[[float], float], y: Callable[[float], float]) -> tuple[str, str]:
    """Paths of dots and of a line. Of many values each bin keeps its lowest and highest, so that no outlier is lost."""
    points = [(index, value) for index, value in enumerate(column) if value is not None and isfinite(value)]
    if len(points) > MAX_MARKS:
        size = ceil(len(points) / (MAX_MARKS // 2))
        bins = [points[start : start + size] for start in range(0, len(points), size)]
        extremes = [
            sorted({min(part, key=lambda point: point[1]), max(part, key=lambda point: point[1])}) for part in bins
        ]
        points = [point for part in extremes for point in part]
    placed = [f"{x(index):.1f} {y(value):.1f}" for index, value in points]
    return "".join(f"M{place}h0" for place in placed), "M" + "L".join(placed) if placed else ""


def _positions(count: int) -> list[int]:
    """About five layers to number on the axis, the first and the last among them."""
    if count <= 12:
        return list(range(count))
    return sorted({round(index * (count - 1) / 4) for index in range(5)})
