"""What stands in a drawing, read back as numbers with the axes that stand in it too."""

from __future__ import annotations

import re
from math import log10

from trainaudit.report.drawing import Drawing, Path, Text
from trainaudit.report.small_multiples import PLOT

Ticks = list[tuple[float, float]]


def number_of(text: str) -> float | None:
    """The number that a tick says, None for words."""
    try:
        return float(text.removesuffix(" %").replace(",", "")) / (100 if text.endswith("%") else 1)
    except ValueError:
        return None


def panels_of(drawing: Drawing) -> list[tuple[str, Ticks]]:
    """Each panel's title with its ticks: position and value, from top to bottom."""
    texts = [mark for mark in drawing.marks if isinstance(mark, Text)]
    found = []
    for title in (mark for mark in texts if mark.css == "strong"):
        top = _plot_top(title)
        inside = [
            (mark.y - 4.5, number_of(mark.text))
            for mark in texts
            if mark.css == "e" and top - 1 <= mark.y - 4.5 <= top + PLOT + 1
        ]
        found.append((title.text, sorted((y, value) for y, value in inside if value is not None)))
    return found


def _plot_top(title: Text) -> float:
    return title.y + 10


def decoded_dots(drawing: Drawing, panel: str, css: str) -> list[tuple[float, float]]:
    """The marks of a class in a panel: position along the axis of layers, and value."""
    top = next(_plot_top(mark) for mark in drawing.marks if isinstance(mark, Text) and mark.text == panel)
    ticks = next(ticks for title, ticks in panels_of(drawing) if title == panel)
    (y0, v0), (y1, v1) = ticks[0], ticks[-1]
    is_log = all(value > 0 for _, value in ticks)
    low, high = (log10(v0), log10(v1)) if is_log else (v0, v1)
    shift = 4.5 if css == "open-second" else 0.0
    places = [
        (float(x), float(y) + shift)
        for mark in drawing.marks
        if isinstance(mark, Path) and mark.css == css
        for x, y in re.findall(r"M(-?[\d.]+) (-?[\d.]+)", mark.d)
    ]
    decoded = [(x, low + (y - y0) / (y1 - y0) * (high - low)) for x, y in places if top - 1 <= y <= top + PLOT + 1]
    return [(x, 10**value if is_log else value) for x, value in decoded]
