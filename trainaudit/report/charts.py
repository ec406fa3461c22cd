"""Where the marks of a chart stand. Templates draw them; positions are in the units of the SVG's viewBox. Stdlib only."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import ceil, floor, isfinite, log10

from trainaudit.frozen import frozen
from trainaudit.report import numbers
from trainaudit.report.escaping import shortened
from trainaudit.result import Audit, Evidence, LayerRow

WIDTH = 440
HEIGHT = 220
LEFT, RIGHT, TOP, BOTTOM = 58, 12, 12, 34
MAX_MARKS = 400
MAX_BARS = 8


@frozen
class Tick:
    position: float
    label: str


@frozen
class EvidenceBar:
    """A value against its limit on a line of length `WIDTH`: the stretch where it would be well, the limit, the value."""

    value_at: float
    limit_at: float
    good_from: float
    good_to: float
    value: str
    expected: str
    is_log: bool


@frozen
class Series:
    """Marks of one kind: the dots' path, the same as a line, and the name in the legend."""

    name: str
    dots: str
    line: str


@frozen
class DepthChart:
    """One or two quantities over the weighted layers, input to output. `table` holds the same numbers as text, thinned for long models."""

    title: str
    description: str
    series: tuple[Series, ...]
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    is_log: bool
    columns: tuple[str, ...]
    table: tuple[tuple[str, ...], ...]
    left_out: int


@frozen
class ShareBar:
    name: str
    share: str
    count: str
    width: float


def evidence_bar(evidence: Evidence) -> EvidenceBar | None:
    """None where the evidence is not a number held against a number, or either is not finite."""
    value, limit = evidence.value, evidence.threshold
    if not (numbers.is_number(value) and numbers.is_number(limit)) or evidence.comparison not in ("<", "<=", ">", ">="):
        return None
    value, limit = float(value), float(limit)  # type: ignore[arg-type]
    if not (isfinite(value) and isfinite(limit)):
        return None
    is_log = min(value, limit) > 0 and max(value, limit) / min(value, limit) > 20
    if evidence.unit == "share" and min(value, limit) >= 0 and max(value, limit) <= 1 and not is_log:
        low, high = 0.0, 1.0
    elif is_log:
        low, high = min(value, limit) / 4, max(value, limit) * 4
    else:
        low, high = min(0.0, 1.25 * value, 1.25 * limit), max(0.0, 1.25 * value, 1.25 * limit)
        high = high if high > low else low + 1.0
    scale = _scale(low, high, is_log, 0, WIDTH)
    measured, expected = numbers.measured_and_expected(evidence)
    limit_at = scale(limit)
    is_upper = evidence.comparison in (">", ">=")
    good_from, good_to = (0.0, limit_at) if is_upper else (limit_at, float(WIDTH))
    return EvidenceBar(scale(value), limit_at, good_from, good_to, measured, expected, is_log)


def depth_charts(audit: Audit) -> list[DepthChart]:
    """Gain against wanted gain, and the weights' spread, where there are at least two layers to show."""
    charts = []
    gains = [row for row in audit.layers if _drawable(row.gain)]
    if len(gains) >= 2:
        wanted = (
            [("wanted gain", [row.wanted_gain for row in gains])]
            if any(_drawable(row.wanted_gain) for row in gains)
            else []
        )
        charts.append(_depth_chart("Gain over depth", "gain", gains, [("gain", [row.gain for row in gains]), *wanted]))
    spread = [row for row in audit.layers if _drawable(row.weight_std)]
    if len(spread) >= 2:
        columns = [("weight σ", [row.weight_std for row in spread])]
        charts.append(
            _depth_chart("Standard deviation of the weights over depth", "standard deviation", spread, columns)
        )
    return charts


def share_bars(audit: Audit) -> list[ShareBar]:
    """The modules or layers with most parameters, and the rest as one bar."""
    owners = {row.name: row.parameters for row in audit.layers if row.parameters > 0}
    if len(owners) < 2:
        return []
    groups = sorted(_modules(owners).items(), key=lambda item: -item[1])
    bars = [(shortened(name, 44), size) for name, size in groups[:MAX_BARS]]
    rest = groups[MAX_BARS:]
    if rest:
        bars.append((f"{len(rest)} others", sum(size for _, size in rest)))
    total, largest = sum(owners.values()), max(size for _, size in bars)
    return [
        ShareBar(name, numbers.share(size / total), numbers.large(size), WIDTH * size / largest) for name, size in bars
    ]


def _modules(owners: dict[str, int]) -> dict[str, int]:
    """Sizes summed over the deepest common module paths that give at most `MAX_BARS` groups; by layer where none does."""
    best = owners
    for depth in range(1, 6):
        groups: dict[str, int] = {}
        for name, size in owners.items():
            module = ".".join(name.split(".")[:depth])
            groups[module] = groups.get(module, 0) + size
        if len(groups) > MAX_BARS:
            break
        if len(groups) >= 2:
            best = groups
    return best


def gain_bar(row: LayerRow) -> tuple[float, float] | None:
    """Start and length of a bar from the middle of a line of length 80 to gain / wanted gain, logarithmic from 1/10 to 10."""
    if (
        not (_drawable(row.gain) and _drawable(row.wanted_gain))
        or not row.wanted_gain
        or row.gain is None
        or row.gain < 0
    ):
        return None
    at = _scale(0.1, 10.0, True, 0, 80)(row.gain / row.wanted_gain)
    return min(at, 40.0), round(abs(at - 40.0), 1)


def _depth_chart(
    title: str, quantity: str, rows: Sequence[LayerRow], columns: Sequence[tuple[str, Sequence[float | None]]]
) -> DepthChart:
    values = [value for _, column in columns for value in column if value is not None and isfinite(value)]
    positive = [value for value in values if value > 0]
    is_log = bool(positive) and len(positive) == len(values) and max(positive) / min(positive) > 20
    low, high, ticks = (
        _log_axis(min(positive), max(positive)) if is_log else _linear_axis(min([0.0, *values]), max([0.0, *values]))
    )
    y = _scale(low, high, is_log, HEIGHT - BOTTOM, TOP)
    x = _scale(0, max(1, len(rows) - 1), False, LEFT + 6, WIDTH - RIGHT - 6)
    series = tuple(Series(name, *_marks(column, x, y)) for name, column in columns)
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


def _scale(low: float, high: float, is_log: bool, start: float, end: float) -> Callable[[float], float]:
    """A function from values to positions, held within the ends."""
    if is_log:
        low, high = log10(low), log10(high)
    span = (high - low) or 1.0

    def position(value: float) -> float:
        at = (log10(value) if value > 0 else low) if is_log else value
        return round(start + (end - start) * min(1.0, max(0.0, (at - low) / span)), 2)

    return position


def _linear_axis(low: float, high: float) -> tuple[float, float, list[float]]:
    """Ends and about five ticks at round numbers."""
    high = high if high > low else low + 1.0
    rough = (high - low) / 4
    unit = 10.0 ** floor(log10(rough))
    step = next(unit * factor for factor in (1, 2, 2.5, 5, 10) if unit * factor >= rough)
    first, last = floor(low / step), ceil(high / step)
    ticks = [float(f"{index * step:.6g}") for index in range(first, last + 1)]
    return ticks[0], ticks[-1], ticks


def _log_axis(low: float, high: float) -> tuple[float, float, list[float]]:
    """Ends and at most six ticks at powers of ten."""
    first, last = floor(log10(low)), ceil(log10(high))
    last = max(last, first + 1)
    step = ceil((last - first) / 5)
    return 10.0**first, 10.0**last, [10.0**power for power in range(first, last + 1, step)]


def _positions(count: int) -> list[int]:
    """About five layers to number on the axis, the first and the last among them."""
    if count <= 12:
        return list(range(count))
    return sorted({round(index * (count - 1) / 4) for index in range(5)})


def _drawable(value: float | None) -> bool:
    return value is not None and isfinite(value)
