"""What a chart is made of: marks in the units of an SVG's viewBox, and the same numbers as a table. One template draws them all. Stdlib only.

Colors, widths and dashes belong to the classes of `templates/html/charts.css`; nothing here but places and words.
"""

from __future__ import annotations

from collections.abc import Sequence

from trainaudit.frozen import frozen
from trainaudit.report import numbers

NARROW, WIDE = 400, 880
"""Widths of drawings that stand side by side, and of those that take the page. Their type is 13 units high."""
LETTER = 7.5
"""Width of a letter of that type, taken wide: which face a reader has is not known."""


@frozen
class Path:
    css: str
    d: str


@frozen
class Text:
    """`css`: "m" is centered at x and "e" ends there."""

    css: str
    x: float
    y: float
    text: str


@frozen
class Icon:
    """One of the page's icons, its upper left corner at x and y."""

    name: str
    x: float
    y: float
    size: float


Mark = Path | Text | Icon


@frozen
class Drawing:
    """`description` says in words what is to be seen, with its numbers. `table` holds the numbers as text, thinned where there are many; `note` says
    of what. `subtitle` stands beside the title: the scale of an axis, what was put together."""

    title: str
    description: str
    width: int
    height: float
    marks: tuple[Mark, ...]
    columns: tuple[str, ...]
    table: tuple[tuple[str, ...], ...]
    note: str = ""
    subtitle: str = ""

    @property
    def is_wide(self) -> bool:
        return self.width > NARROW

    @property
    def view(self) -> str:
        return f"0 0 {self.width} {short(self.height)}"


def short(value: float) -> str:
    """A coordinate, to a tenth of a unit."""
    text = f"{value:.1f}"
    return text[:-2] if text.endswith(".0") else text


def box(css: str, x: float, y: float, width: float, height: float) -> Path:
    return Path(css, f"M{short(x)} {short(y)}h{short(width)}v{short(height)}h{short(-width)}z")


def line(css: str, x: float, y: float, to_x: float, to_y: float) -> Path:
    return Path(css, f"M{short(x)} {short(y)}L{short(to_x)} {short(to_y)}")


def dots(css: str, places: Sequence[tuple[float, float]]) -> Path:
    """Lines of no length with round ends."""
    return Path(css, "".join(f"M{short(x)} {short(y)}h0" for x, y in places))


def diamonds(css: str, places: Sequence[tuple[float, float]], size: float = 4.0) -> Path:
    step = short(size)
    return Path(
        css, "".join(f"M{short(x)} {short(y - size)}l{step} {step}-{step} {step}-{step}-{step}z" for x, y in places)
    )


def without_shared(names: Sequence[str]) -> list[str]:
    """Names without the modules that all of them begin with, for labels with little room."""
    parts = [name.split(".") for name in names]
    shared = 0
    while parts and all(len(part) > shared + 1 and part[shared] == parts[0][shared] for part in parts):
        shared += 1
    return [".".join(part[shared:]) for part in parts]


def width_of(text: str) -> float:
    return LETTER * len(text)


def thinned(rows: Sequence[tuple[str, ...]], most: int, kept: Sequence[int] = ()) -> tuple[tuple[str, ...], ...]:
    """At most about `most` rows: every so many, and the `kept` ones among them (half of `most` at most)."""
    if len(rows) <= most:
        return tuple(rows)
    chosen = {*list(kept)[: most // 2]}
    room = most - len(chosen)
    chosen |= {round(index * (len(rows) - 1) / (room - 1)) for index in range(room)}
    return tuple(rows[index] for index in sorted(chosen))


def left_out(shown: int, of: int, noun: str) -> str:
    """What a table says of rows that it does not hold."""
    return f"{shown} of {numbers.count(of, noun)} are listed; the JSON record holds all." if shown < of else ""


def marks_of(marks: Sequence[Mark]) -> tuple[Mark, ...]:
    """Without the paths that hold nothing."""
    return tuple(mark for mark in marks if not isinstance(mark, Path) or mark.d)


@frozen
class Spot:
    """Where a label may stand: its left edge and its base line."""

    x: float
    y: float


def place_label(
    text: str,
    spots: Sequence[Spot],
    points: Sequence[tuple[float, float]],
    taken: list[tuple[float, float, float, float]],
    frame: tuple[float, float, float, float],
) -> Spot:
    """The spot at which a label covers the fewest points and no other label, the earlier of equal ones; it is added to `taken`. Boxes are left, top,
    right, bottom."""
    width = width_of(text) + 6

    def box_at(spot: Spot) -> tuple[float, float, float, float]:
        x = min(max(spot.x, frame[0]), frame[2] - width)
        return x, spot.y - 11, x + width, spot.y + 3

    def cost(spot: Spot) -> float:
        left, top, right, bottom = box_at(spot)
        covered = sum(left - 2 < x < right + 2 and top < y < bottom for x, y in points)
        crossed = sum(left < b[2] and right > b[0] and top < b[3] and bottom > b[1] for b in taken)
        return covered + 1000 * crossed + (500 if top < frame[1] or bottom > frame[3] else 0)

    best = min(spots, key=cost)
    taken.append(box_at(best))
    return Spot(taken[-1][0], best.y)
