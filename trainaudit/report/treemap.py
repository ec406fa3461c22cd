"""Where the parameters are: a tile for each layer, as large as its share, the layers of one module side by side. Stdlib only."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil

from trainaudit.frozen import frozen
from trainaudit.report import numbers
from trainaudit.report.drawing import WIDE, Drawing, Mark, Text, box, marks_of, width_of, without_shared
from trainaudit.report.escaping import shortened
from trainaudit.result import Audit

HEIGHT = 380.0
MAX_MODULES = 12
MAX_TILES = 60
_MAX_TABLE = 40
_SMALL = 60.0
"""Area under which a tile cannot be seen, in square units."""


@frozen
class Tile:
    """`count` layers with so many parameters, and where they stand."""

    name: str
    size: int
    count: int
    x: float
    y: float
    width: float
    height: float


@frozen
class _Part:
    name: str
    size: int
    count: int = 1


def treemap(audit: Audit) -> Drawing | None:
    """None where fewer than two layers have parameters."""
    owners = [(row.name, row.parameters) for row in audit.layers if row.parameters > 0]
    if len(owners) < 2:
        return None
    total = sum(size for _, size in owners)
    labels = without_shared([name for name, _ in owners])
    tiles = tiles_of([(label, size) for label, (_, size) in zip(labels, owners, strict=True)])
    marks: list[Mark] = []
    for _, module, inside in tiles:
        marks += [box("tile", tile.x, tile.y, tile.width, tile.height) for tile in inside]
        if len(inside) > 1:
            marks.append(box("tile-group", module.x, module.y, module.width, module.height))
    for name, _, inside in tiles:
        for tile in inside:
            label = (
                tile.name.removeprefix(f"{name}.") if len(inside) > 1 and tile is not _largest(inside) else tile.name
            )
            marks += _words(label, tile, total)
    ranked = sorted(owners, key=lambda owner: -owner[1])
    table = [(shortened(name, 60), numbers.share(size / total), numbers.number(size)) for name, size in ranked]
    kept = table[:_MAX_TABLE]
    return Drawing(
        title="Where the parameters are",
        description=f"{numbers.number(total)} parameters in {numbers.count(len(owners), 'layer')}; the largest: "
        + ", ".join(f"{name} {share}" for name, share, _ in table[:5])
        + ".",
        width=WIDE,
        height=HEIGHT,
        marks=marks_of(marks),
        columns=("layer", "share", "parameters"),
        table=tuple(kept),
        note=f"The {len(kept)} largest of {numbers.count(len(table), 'layer')} are listed; the JSON record holds all."
        if len(kept) < len(table)
        else "",
        subtitle="area is the share of all parameters; a frame holds one module",
    )


def _largest(tiles: Sequence[Tile]) -> Tile:
    return max(tiles, key=lambda tile: tile.size)


def tiles_of(owners: Sequence[tuple[str, int]]) -> list[tuple[str, Tile, list[Tile]]]:
    """Modules with their tiles. What is too small to be seen is one tile of others, in its module or beside the modules."""
    total = sum(size for _, size in owners)
    scale = WIDE * HEIGHT / total
    groups = modules(owners)
    placed = squarified(
        [_Part(name, sum(size for _, size in inside), len(inside)) for name, inside in groups.items()],
        0.0,
        0.0,
        WIDE,
        HEIGHT,
    )
    room = max(2, MAX_TILES // max(1, len(placed)))
    found = []
    for module in placed:
        inside = sorted(groups[module.name], key=lambda owner: -owner[1])
        if 2 * sum(size for _, size in inside[:room]) < module.size:  # many alike: neighbors are put together instead
            found.append((module.name, module, squarified(_stretches(groups[module.name], room), *place_of(module))))
            continue
        large = [_Part(name, size) for name, size in inside[:room] if size * scale >= _SMALL]
        rest = inside[len(large) :]
        if len(rest) == 1:
            large.append(_Part(*rest[0]))
        elif rest:
            large.append(_Part(f"{len(rest)} others", sum(size for _, size in rest), len(rest)))
        found.append((module.name, module, squarified(large, *place_of(module))))
    return found


def _stretches(owners: Sequence[tuple[str, int]], room: int) -> list[_Part]:
    """Neighboring layers as one part each, in as many parts as there is room for."""
    size = ceil(len(owners) / min(room, 24))
    parts = [owners[start : start + size] for start in range(0, len(owners), size)]
    return [_Part(f"{part[0][0]} to {part[-1][0]}", sum(count for _, count in part), len(part)) for part in parts]


def place_of(tile: Tile) -> tuple[float, float, float, float]:
    return tile.x, tile.y, tile.width, tile.height


def modules(owners: Sequence[tuple[str, int]]) -> dict[str, list[tuple[str, int]]]:
    """Layers by the deepest common module paths that give at most `MAX_MODULES` groups, largest first; all of them in one where none does."""
    best: dict[str, list[tuple[str, int]]] = {"": list(owners)}
    for depth in range(1, 7):
        groups: dict[str, list[tuple[str, int]]] = {}
        for name, size in owners:
            groups.setdefault(".".join(name.split(".")[:depth]), []).append((name, size))
        if len(groups) > MAX_MODULES or len(groups) == len(owners):
            break
        best = groups
    return best


def squarified(parts: Sequence[_Part], x: float, y: float, width: float, height: float) -> list[Tile]:
    """Tiles that fill a rectangle, largest first, each as near to a square as can be (Bruls, Huizing and van Wijk 2000)."""
    ordered = sorted((part for part in parts if part.size > 0), key=lambda part: -part.size)
    left = float(sum(part.size for part in ordered))
    tiles: list[Tile] = []
    at = 0
    while at < len(ordered):
        side = min(width, height)
        scale = width * height / left if left > 0 else 0.0
        end, area = at, 0.0
        worst = float("inf")
        while end < len(ordered):
            grown = area + ordered[end].size * scale
            largest, smallest = ordered[at].size * scale, ordered[end].size * scale
            ratio = (
                max(side * side * largest / grown**2, grown**2 / (side * side * smallest))
                if smallest > 0 and grown > 0
                else float("inf")
            )
            if end > at and ratio > worst:
                break
            worst, area, end = ratio, grown, end + 1
        thick = area / side if side > 0 else 0.0
        along = 0.0
        for part in ordered[at:end]:
            long = part.size * scale / thick if thick > 0 else 0.0
            place = (x, y + along, thick, long) if width >= height else (x + along, y, long, thick)
            tiles.append(Tile(part.name, part.size, part.count, *place))
            along += long
        if width >= height:
            x, width = x + thick, width - thick
        else:
            y, height = y + thick, height - thick
        left -= sum(part.size for part in ordered[at:end])
        at = end
    return tiles


def _words(label: str, tile: Tile, total: int) -> list[Mark]:
    """Name and share, as far as the tile has room for them."""
    room = int((tile.width - 12) / 8.2)
    if tile.height < 22 or room < min(len(label), 6):  # "s…2" says nothing
        return []
    text = shortened(label, room)
    marks: list[Mark] = [Text("strong", tile.x + 7, tile.y + 17, text)]
    share = numbers.share(tile.size / total)
    if tile.height >= 38 and width_of(share) < tile.width - 12:
        marks.append(Text("ink", tile.x + 7, tile.y + 34, share))
    return marks
