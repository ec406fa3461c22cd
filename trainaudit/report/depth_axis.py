"""The axis of layers under charts that line up: the columns, their numbers and modules, and what was found of each layer. Stdlib only."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil

from trainaudit.frozen import frozen
from trainaudit.report import numbers
from trainaudit.report.drawing import LETTER, WIDE, Icon, Mark, Path, Text, line, short, width_of, without_shared
from trainaudit.report.escaping import shortened, visible

LEFT, RIGHT = 66.0, 6.0
AXIS = 52.0
"""Height of the axis."""
MAX_COLUMNS = 130
"""Layers that are drawn one by one; more are put together."""
MAX_WORDS = 4
"""Lines of names of rules under the marks of findings."""
_STRIP, _LINE = 36.0, 17.0
_ORDER = ("error", "warning", "note")


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


def draw_axis(columns: Columns, names: Sequence[str], top: float) -> list[Mark]:
    """Numbers of the layers, and under them the modules in which they stand."""
    marks: list[Mark] = []
    chosen = (
        range(columns.count) if columns.count <= 24 else sorted({round(i * (columns.count - 1) / 8) for i in range(9)})
    )
    names = without_shared(names)
    is_named = all(width_of(name) < columns.width - 4 for name in names)
    for layer in chosen:
        word = visible(names[layer]) if is_named else numbers.number(layer + 1)
        marks.append(Text("m", min(columns.x(layer), WIDE - 1 - width_of(word) / 2), top + 16, word))
    for first, last, name in stretches(names):
        left, right = columns.x(first) - columns.width / 2, columns.x(last) + columns.width / 2
        room = int((right - left - 6) / LETTER)
        marks.append(Path("axis", f"M{short(left + 1)} {short(top + 23)}v4H{short(right - 1)}v-4"))
        if room >= min(len(name), 8):
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
    said: set[str] = set()
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
        is_new = text not in said
        if start in starts and row < (MAX_WORDS if is_new else 1):
            said.add(text)
            ends[row : row + 1] = [left + width_of(text)]
            base = top + _STRIP + _LINE * row
            marks.append(line("axis", start, top + 22, start, base - 11))
            words.append(Text("halo ink", left, base, text))
    return [*marks, *icons, *words], _STRIP + _LINE * len(ends)
