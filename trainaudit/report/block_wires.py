"""How the signal runs between the boxes of a map: down a spine, and beside it where it passes boxes. Stdlib only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from trainaudit.frozen import frozen, slotted
from trainaudit.report.blocks import Block
from trainaudit.report.drawing import Mark, Path, short
from trainaudit.result import LayerRow

HEIGHT, GAP = 46.0, 34.0
"""Of a box, and of the space under it."""
JOIN = 13.0
"""From the foot of a box to where a skip connection joins."""
LEFT = 104.0
"""Where boxes begin."""
SPINE = 156.0
"""Where the signal runs from box to box."""
_LANE = 11.0
_LANES = 8


@slotted(eq=False)
class Placed:
    """A box where it stands."""

    block: Block
    top: float
    left: float
    title: str


@frozen
class Edge:
    """From box to box, by their places in the order. `is_joined`: it is added to what the second box gives; else the second box reads it."""

    start: int
    end: int
    is_joined: bool


def edges_of(layers: Sequence[LayerRow], home: Mapping[int, int]) -> list[Edge]:
    """Between different boxes, forward; a record without edges is a chain."""
    index = {layer.name: place for place, layer in enumerate(layers)}
    found = {
        Edge(home[index[name]], home[place], is_joined)
        for place, layer in enumerate(layers)
        for is_joined, names in ((False, layer.inputs), (True, layer.joined))
        for name in names
        if name in index and home[index[name]] < home[place]
    }
    if not any(layer.inputs for layer in layers):
        found = {Edge(place, place + 1, False) for place in range(max(home.values(), default=0))}
    joins = {(edge.start, edge.end) for edge in found if edge.is_joined}
    kept = [
        edge for edge in found if edge.is_joined or edge.end == edge.start + 1 or (edge.start, edge.end) not in joins
    ]
    return sorted(kept, key=lambda edge: (edge.end - edge.start, edge.start, edge.is_joined))


def wires(placed: Sequence[Placed], edges: Sequence[Edge], top: float, bottom: float) -> tuple[list[Mark], int]:
    """The spine from box to box, and at the left lines that pass boxes, each in a lane where it crosses no other; and how many found no lane. Skip
    connections come first."""
    steps = {edge.start for edge in edges if edge.end == edge.start + 1 and not edge.is_joined}
    marks: list[Mark] = [_arrow(top - GAP, top)]
    marks += [_arrow(placed[start].top + HEIGHT, placed[start + 1].top) for start in sorted(steps)]
    passing = [edge for edge in edges if edge.is_joined or edge.end > edge.start + 1]
    feet = {edge.end: placed[edge.end].top + HEIGHT for edge in edges if edge.is_joined}
    lanes: list[list[tuple[float, float]]] = []
    joins: set[float] = set()
    lost = 0
    for edge in sorted(passing, key=lambda edge: not edge.is_joined):
        foot = placed[edge.start].top + HEIGHT
        start = foot + (JOIN + 11 if edge.start in feet else JOIN - 4)
        end = placed[edge.end].top + (HEIGHT + JOIN if edge.is_joined else -6)
        lane = next((n for n, taken in enumerate(lanes) if all(end < a or start > b for a, b in taken)), len(lanes))
        if lane >= _LANES:
            lost += 1
            continue
        lanes += [[]] * (lane == len(lanes))
        lanes[lane] = [*lanes[lane], (start, end)]
        stem = "" if edge.start in steps else f"M{short(SPINE)} {short(foot)}V{short(start)}"
        over = f"V{short(end)}H{short(SPINE - 8)}" if edge.is_joined else f"V{short(end)}H{short(SPINE)}v6"
        path = f"{stem}M{short(SPINE)} {short(start)}H{short(LEFT - 16 - _LANE * lane)}{over}"
        marks.append(Path("skip" if edge.is_joined else "branch", path))
        joins |= {feet[edge.end]} if edge.is_joined else set()
    marks.append(Path("spine", "".join(f"M{short(SPINE)} {short(at)}v{short(JOIN - 8)}" for at in sorted(joins))))
    for at in sorted(joins):
        marks.append(
            Path("join", f"M{short(SPINE - 8)} {short(at + JOIN)}a8 8 0 1 0 16 0a8 8 0 1 0-16 0zm0 0h16m-8-8v16")
        )
    last = placed[-1].top + HEIGHT
    marks.append(_arrow(last, max(bottom, last + 10)))
    return marks, lost


def _arrow(start: float, end: float) -> Path:
    return Path("spine", f"M{short(SPINE)} {short(start)}V{short(end - 1)}m-4-5l4 5 4-5")
