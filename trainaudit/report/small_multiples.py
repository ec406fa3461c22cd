"""Charts one under the other that share one axis of layers. Stdlib only."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from math import ceil, floor, isfinite, log10
from statistics import median

from trainaudit.frozen import frozen
from trainaudit.report import numbers
from trainaudit.report.charts import linear_axis, scale
from trainaudit.report.curves import polyline
from trainaudit.report.depth_axis import LEFT, RIGHT, Columns
from trainaudit.report.drawing import (
    WIDE,
    Mark,
    Path,
    Spot,
    Text,
    box,
    diamonds,
    dots,
    line,
    place_label,
    short,
    width_of,
)

HEAD, PLOT = 30.0, 92.0
"""Heights of a panel's title and of what is under it."""
MAX_DOTS = 90
_Places = list[tuple[float, float]]


@frozen
class Series:
    """A quantity of each layer, None where it has none. `style`: "first", "second" or "third"."""

    name: str
    values: tuple[float | None, ...]
    style: str = "first"


@frozen
class Panel:
    """`band` is where values are well, `band_words` says so; `levels` are limits with their names. `is_log` None: as the values ask for. `is_share`: from
    0 to 1, drawn as stems."""

    title: str
    series: tuple[Series, ...]
    band: tuple[float, float] | None = None
    band_words: str = ""
    levels: tuple[tuple[str, float], ...] = ()
    is_log: bool | None = None
    is_share: bool = False


def draw_panel(panel: Panel, columns: Columns, top: float) -> list[Mark]:
    """A panel whose title begins at `top`."""
    values = [value for series in panel.series for value in series.values if value is not None and isfinite(value)]
    log = not panel.is_share and (_asks_for_log(values) if panel.is_log is None else panel.is_log)
    shown = [value for value in values if value > 0] if log else values
    low, high, ticks = _axis(panel, shown, log)
    bottom = top + HEAD + PLOT
    y = scale(low, high, log, bottom, top + HEAD)
    marks: list[Mark] = []
    if panel.band is not None:
        upper, lower = y(min(max(panel.band[1], low), high)), y(max(min(panel.band[0], high), low))
        if lower > upper:
            marks.append(box("band", LEFT, upper, WIDE - RIGHT - LEFT, lower - upper))
    for tick in ticks:
        word = numbers.share(tick) if panel.is_share else numbers.number(tick)
        marks += [line("grid", LEFT, y(tick), WIDE - RIGHT, y(tick)), Text("e", LEFT - 6, y(tick) + 4.5, word)]
    for series in panel.series:
        marks += _series(series, columns, y, log, panel.is_share)
    taken: list[tuple[float, float, float, float]] = []
    points = _points(panel, columns, y, log)
    for name, at in panel.levels:
        if low <= at <= high:
            sides = (WIDE - RIGHT - 4 - width_of(name), LEFT + 4)
            spots = [Spot(side, y(at) + rise) for rise in (-5, 14) for side in sides]
            spot = place_label(name, spots, points, taken, (LEFT, top + HEAD, WIDE - RIGHT, bottom))
            marks += [line("level", LEFT, y(at), WIDE - RIGHT, y(at)), Text("halo ink", spot.x, spot.y, name)]
    is_zero, is_wild = _edges(panel, log)
    return [*marks, *_head(panel, columns, top, is_zero, is_wild)]


def _points(panel: Panel, columns: Columns, y: Callable[[float], float], log: bool) -> _Places:
    """What is drawn, and the middles between: what a label should not cover."""
    found: _Places = []
    for series in panel.series:
        known = [
            (columns.x(layer), y(value))
            for layer, value in enumerate(series.values)
            if value is not None and isfinite(value) and (value > 0 or not log)
        ]
        found += known
        for (x0, y0), (x1, y1) in pairwise(known):
            parts = min(8, max(1, int((x1 - x0) / 12)))
            found += [(x0 + (x1 - x0) * part / parts, y0 + (y1 - y0) * part / parts) for part in range(1, parts)]
    return found


def _asks_for_log(values: Sequence[float]) -> bool:
    return bool(values) and min(values) > 0 and max(values) / min(values) > 20


def _axis(panel: Panel, shown: Sequence[float], log: bool) -> tuple[float, float, list[float]]:
    if panel.is_share:
        return 0.0, 1.0, [0.0, 0.5, 1.0]
    if not log:
        return linear_axis(min([0.0, *shown]), max([0.0, *shown]))
    low, high = (min(shown), max(shown)) if shown else panel.band or (0.1, 10.0)
    near = [at for at in (*(panel.band or ()), *(at for _, at in panel.levels)) if low / 30 <= at <= high * 30]
    if panel.band is not None and not near:
        near = [panel.band[0]] if high < panel.band[0] else [panel.band[1]] if low > panel.band[1] else []
    first = min(max(floor(log10(min([low, *near])) + 1e-9), -300), 299)
    last = max(min(ceil(log10(max([high, *near])) - 1e-9), 300), first + 1)
    step = ceil((last - first) / 3)
    return 10.0**first, 10.0**last, [10.0**power for power in range(first, last + 1, step)]


def _series(series: Series, columns: Columns, y: Callable[[float], float], log: bool, is_share: bool) -> list[Mark]:
    """A line with dots, or stems of shares; of bins the line of their medians over the area from the lowest to the highest. Under the axis and over
    the edge stand values that have no place on it."""
    style = series.style
    if columns.size > 1:
        return [*_binned(series, columns, y, log), *_off_scale(series, columns, y, log)]
    runs: list[_Places] = [[]]
    for layer, value in enumerate(series.values):
        if value is None:
            continue
        if not isfinite(value) or (log and value <= 0):
            runs.append([])
        else:
            runs[-1].append((columns.x(layer), y(value)))
    places = [place for run in runs for place in run]
    marks: list[Mark] = []
    if is_share:
        foot = y(0.0)
        marks.append(Path(f"line-{style}", "".join(f"M{short(px)} {short(foot)}V{short(py)}" for px, py in places)))
    elif any(len(run) > 1 for run in runs):
        marks.append(Path(f"line-{style}", "".join(polyline(run) for run in runs if len(run) > 1)))
    if len(places) <= MAX_DOTS:
        marks += _dots(style, places)
    return [*marks, *_off_scale(series, columns, y, log)]


def _dots(style: str, places: _Places) -> list[Mark]:
    """Shapes tell series apart as well as colors do."""
    if style == "third":
        return []
    return [dots("dot-first", places) if style == "first" else diamonds("open-second", places, 4.5)]


def _binned(series: Series, columns: Columns, y: Callable[[float], float], log: bool) -> list[Mark]:
    upper: _Places = []
    lower: _Places = []
    middle: _Places = []
    for index, values in enumerate(columns.bins(series.values)):
        known = [value for value in values if value is not None and isfinite(value) and (not log or value > 0)]
        if known:
            x = LEFT + (index + 0.5) * columns.width
            upper.append((x, y(max(known))))
            lower.append((x, y(min(known))))
            middle.append((x, y(median(known))))
    if not middle:
        return []
    area = polyline([*upper, *reversed(lower)]) + "z"
    curve = Path(f"line-{series.style}", polyline(middle))
    return [curve] if series.style == "third" else [Path(f"area-{series.style}", area), curve]


def _off_scale(series: Series, columns: Columns, y: Callable[[float], float], log: bool) -> list[Mark]:
    """Crosses at the upper edge for what is not finite, small triangles at the lower one for what is exactly 0 (or less) on a logarithmic axis."""
    foot, head = y(0.0), y(float(10**300))
    wild = sorted(
        {columns.x(layer) for layer, value in enumerate(series.values) if value is not None and not isfinite(value)}
    )
    none = sorted(
        {columns.x(layer) for layer, value in enumerate(series.values) if log and value is not None and value <= 0}
    )
    marks: list[Mark] = []
    if none:
        marks.append(Path(f"fill-{series.style}", "".join(zero_at(x, foot) for x in none)))
    if wild:
        marks.append(Path("edge", "".join(cross_at(x, head) for x in wild)))
    return marks


def zero_at(x: float, foot: float) -> str:
    return f"M{short(x - 4)} {short(foot - 7)}h8l-4 7z"


def cross_at(x: float, head: float) -> str:
    return f"M{short(x - 4)} {short(head)}l8 8m0-8l-8 8"


def _edges(panel: Panel, log: bool) -> tuple[bool, bool]:
    values = [value for series in panel.series for value in series.values if value is not None]
    return log and any(value <= 0 for value in values), any(not isfinite(value) for value in values)


def _head(panel: Panel, columns: Columns, top: float, is_zero: bool, is_wild: bool) -> list[Mark]:
    """The title at the left, what the marks are at the right."""
    base = top + HEAD - 10
    keys = [(series.name, _sample(series, columns, base - 4.5)) for series in panel.series]
    if panel.band is not None and panel.band_words:
        keys.append((panel.band_words, lambda x: [box("band", x, base - 9, 24, 10)]))
    if is_zero:
        keys.append(("exactly 0", lambda x: [Path("fill-first", zero_at(x + 12, base))]))
    if is_wild:
        keys.append(("not finite", lambda x: [Path("edge", cross_at(x + 12, base - 9))]))
    marks: list[Mark] = [Text("strong", LEFT, base, panel.title)]
    x = WIDE - RIGHT
    for name, sample in reversed(keys):
        x -= width_of(name)
        marks.append(Text("", x, base, name))
        x -= 30
        marks += sample(x)
        x -= 16
    return marks


def _sample(series: Series, columns: Columns, middle: float) -> Callable[[float], list[Mark]]:
    """What draws a sample of the series for the key, 24 wide, at x."""

    def draw(x: float) -> list[Mark]:
        marks: list[Mark] = [line(f"line-{series.style}", x, middle, x + 24, middle)]
        if columns.size == 1 and columns.count <= MAX_DOTS:
            at = [(x + 12, middle)]
            marks += _dots(series.style, at)
        return marks

    return draw
