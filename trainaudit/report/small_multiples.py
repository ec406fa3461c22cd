"""Charts one under the other with one axis of layers: panels that line up, with what was found of a layer marked under all of them. Stdlib only."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import ceil, floor, isfinite, log10
from statistics import median

from trainaudit.frozen import frozen
from trainaudit.report import numbers
from trainaudit.report.charts import linear_axis, scale
from trainaudit.report.curves import polyline
from trainaudit.report.drawing import (
    LETTER,
    WIDE,
    Icon,
    Mark,
    Path,
    Text,
    box,
    diamonds,
    dots,
    line,
    short,
    width_of,
)
from trainaudit.report.escaping import shortened, visible

LEFT, RIGHT = 66.0, 6.0
HEAD, PLOT = 30.0, 92.0
"""Heights of a panel's title and of what is under it."""
STRIP, AXIS = 28.0, 52.0
_LINE = 17.0
MAX_WORDS = 4
"""Lines of names of rules under the marks of findings."""
MAX_COLUMNS = 130
"""Layers that are drawn one by one; more are put together."""
MAX_DOTS = 90
_ORDER = ("error", "warning", "note")
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


@frozen
class Columns:
    """The layers as they stand side by side: each alone, or in bins of `size`."""

    count: int
    size: int

    @property
    def number(self) -> int:
        return ceil(self.count / self.size)

    @property
    def width(self) -> float:
        return (WIDE - RIGHT - LEFT) / self.number

    def x(self, layer: int) -> float:
        """The middle of the column in which a layer stands."""
        return LEFT + (layer // self.size + 0.5) * self.width

    def bins(self, values: Sequence[float | None]) -> list[list[float | None]]:
        return [list(values[start : start + self.size]) for start in range(0, self.count, self.size)]


def columns_for(count: int) -> Columns:
    return Columns(count, 1 if count <= MAX_COLUMNS else ceil(count / (MAX_COLUMNS * 0.8)))


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
    for name, at in panel.levels:
        if low <= at <= high:
            base = y(at) - 5 if y(at) - top - HEAD > 16 else y(at) + 14
            marks += [line("level", LEFT, y(at), WIDE - RIGHT, y(at)), Text("halo ink e", WIDE - RIGHT - 4, base, name)]
    for series in panel.series:
        marks += _series(series, columns, y, log, panel.is_share)
    is_zero, is_wild = _edges(panel, log)
    return [*marks, *_head(panel, columns, top, is_zero, is_wild)]


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


def draw_axis(columns: Columns, names: Sequence[str], top: float) -> list[Mark]:
    """Numbers of the layers, and under them the modules in which they stand."""
    marks: list[Mark] = []
    chosen = (
        range(columns.count) if columns.count <= 24 else sorted({round(i * (columns.count - 1) / 8) for i in range(9)})
    )
    is_named = all(width_of(name) < columns.width - 4 for name in names)
    for layer in chosen:
        word = visible(names[layer]) if is_named else numbers.number(layer + 1)
        marks.append(Text("m", min(columns.x(layer), WIDE - 1 - width_of(word) / 2), top + 16, word))
    for first, last, name in stretches(names):
        left, right = columns.x(first) - columns.width / 2, columns.x(last) + columns.width / 2
        room = int((right - left - 6) / LETTER)
        marks.append(Path("axis", f"M{short(left + 1)} {short(top + 23)}v4H{short(right - 1)}v-4"))
        if room >= 3:
            marks.append(Text("m ink", (left + right) / 2, top + 42, shortened(name, room)))
    return marks


def stretches(names: Sequence[str], most: int = 14) -> list[tuple[int, int, str]]:
    """Neighboring layers of one module: the deepest paths that give at most `most` stretches; first, last and the module. Nothing where there is but one."""
    best: list[tuple[int, int, str]] = []
    parts = [name.split(".") for name in names]
    for depth in range(1, 6):
        found: list[tuple[int, int, str]] = []
        for place, part in enumerate(parts):
            module = ".".join(part[:depth])
            if found and found[-1][2] == module:
                found[-1] = (found[-1][0], place, module)
            else:
                found.append((place, place, module))
        if len(found) > min(most, len(names) - 1):
            break
        best = found
    return best if len(best) > 1 else []


@frozen
class Pin:
    """What was found of a layer: its worst severity, and which rule says so."""

    layer: int
    severity: str
    rule: str
    more: int = 0


def draw_strip(columns: Columns, pins: Sequence[Pin], top: float) -> tuple[list[Mark], float]:
    """An icon of the severity under each layer with a finding, with the rule's name under it where there is room, and the height that this takes. Near
    layers with the same finding share an icon and a line."""
    runs: dict[tuple[str, str], list[list[Pin]]] = {}
    for pin in sorted(pins, key=lambda pin: pin.layer):
        same = runs.setdefault((pin.severity, pin.rule), [])
        if same and columns.x(pin.layer) - columns.x(same[-1][-1].layer) <= max(columns.width * 2.01, 16.0):
            same[-1].append(pin)
        else:
            same.append([pin])
    found = sorted((run for same in runs.values() for run in same), key=lambda run: _ORDER.index(run[0].severity))
    marks: list[Mark] = [Text("e", LEFT - 6, top + 18, "findings")]
    marks += [
        line(f"run-{run[0].severity}", columns.x(run[0].layer), top + 13.5, columns.x(run[-1].layer), top + 13.5)
        for run in reversed(found)
        if run[-1].layer > run[0].layer
    ]
    starts: list[float] = []
    ends: list[float] = []
    icons: list[Mark] = []
    words: list[Mark] = []
    for run in found:
        start = columns.x(run[0].layer)
        if any(abs(start - other) < 15.0 for other in starts):
            continue
        starts.append(start)
        icons += [
            Path("back", f"M{short(start - 8)} {short(top + 5.5)}h16v16h-16z"),
            Icon(run[0].severity, start - 7.5, top + 6, 15),
        ]
    for run in sorted(found, key=lambda run: run[0].layer):
        start = columns.x(run[0].layer)
        text = run[0].rule + (f" +{run[0].more}" if run[0].more else "")
        left = min(start - 7, WIDE - RIGHT - width_of(text))
        row = next((row for row, end in enumerate(ends) if end + 8 < left), len(ends))
        if start in starts and row < MAX_WORDS:
            ends[row : row + 1] = [left + width_of(text)]
            base = top + STRIP + 8 + _LINE * row
            marks.append(line("axis", start, top + 22, start, base - 11))
            words.append(Text("halo ink", left, base, text))
    return [*marks, *icons, *words], STRIP + 8 + _LINE * len(ends)
