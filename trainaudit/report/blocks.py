"""The model as a few blocks: neighboring layers put together by their modules, repeated ones folded, opened as far as a page has room. Stdlib only."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import field
from math import ceil

from trainaudit.frozen import slotted
from trainaudit.result import LayerRow

MAX_BLOCKS = 16
"""Boxes that a page shows."""
_MAX_PERIOD = 24
"""Neighbors that are looked at as one repeated pattern."""
_MAX_DEPTH = 12
_FEW = 9
"""Layers that are read in one box, and need not be shown apart."""


@slotted(eq=False)
class Block:
    """Neighboring layers that stand together. `copies` are the rows of each copy, of one length and with the same operations. `depth` is the number of
    parts of their names by which they were told from their neighbors. `parts` are the blocks in the first copy, where they are shown; a block without
    parts is one box. `pieces` counts the blocks that were put together for want of room; it is 0 where plain layers follow each other."""

    copies: tuple[tuple[int, ...], ...]
    depth: int
    parts: tuple[Block, ...] = field(default=())
    pieces: int = 1

    @property
    def rows(self) -> tuple[int, ...]:
        return self.copies[0]

    @property
    def size(self) -> int:
        return sum(map(len, self.copies))


class Names:
    """The layers' names in parts, their operations, and where skip connections begin and end."""

    def __init__(self, layers: Sequence[LayerRow]) -> None:
        self.parts = [tuple(layer.name.split(".", _MAX_DEPTH)) for layer in layers]
        index = {layer.name: place for place, layer in enumerate(layers)}
        starts = {index[name] for layer in layers for name in layer.joined if name in index}
        self.ends = {place for place, layer in enumerate(layers) if layer.joined} | starts
        self.kinds: list[Hashable] = [(layer.op, bool(layer.joined)) for layer in layers]


def blocks_of(layers: Sequence[LayerRow]) -> tuple[Block, ...]:
    """At most `MAX_BLOCKS` boxes, counted where blocks are opened. The one with most layers is opened first, as long as there is room."""
    if not layers:
        return ()
    names = Names(layers)
    found = _split(range(len(layers)), names)
    if len(found) > MAX_BLOCKS:
        size = ceil(len(found) / MAX_BLOCKS)
        found = [_together(found[start : start + size]) for start in range(0, len(found), size)]
    closed = [block for block in found if _can_open(block)]
    room = MAX_BLOCKS - len(found)
    while closed:
        block = max(closed, key=lambda block: block.size)
        closed.remove(block)
        parts = _split(block.rows, names)
        if len(parts) == 1 and len(parts[0].copies) > 1:  # a folder of siblings: its own name says nothing
            block.copies = tuple(copy for rows in block.copies for copy in _cut(rows, len(parts[0].copies)))
            block.depth = parts[0].depth
            closed += [block] * _can_open(block)
        elif 1 < len(parts) <= room + 1:
            block.parts = tuple(parts)
            room -= len(parts) - 1
            closed += [part for part in parts if _can_open(part)]
    return tuple(found)


def boxes(blocks: Sequence[Block]) -> dict[int, Block]:
    """The box in which each layer stands: that of the first copy, where its block is folded."""
    found: dict[int, Block] = {}
    for block in blocks:
        if not block.parts:
            found |= {row: block for rows in block.copies for row in rows}
            continue
        inside = boxes(block.parts)
        found |= inside
        for rows in block.copies[1:]:
            found |= {row: inside[twin] for row, twin in zip(rows, block.rows, strict=True)}
    return found


def _can_open(block: Block) -> bool:
    return len(block.rows) > _FEW and block.pieces == 1


def _cut(rows: tuple[int, ...], count: int) -> list[tuple[int, ...]]:
    size = len(rows) // count
    return [rows[start : start + size] for start in range(0, len(rows), size)]


def _together(blocks: Sequence[Block]) -> Block:
    if len(blocks) == 1:
        return blocks[0]
    rows = tuple(row for block in blocks for copy in block.copies for row in copy)
    return Block((rows,), blocks[0].depth, pieces=sum(len(block.copies) for block in blocks))


def _split(rows: Sequence[int], names: Names) -> list[Block]:
    """The blocks among these layers, by the first part of their names in which they differ; plain layers that follow each other are one block."""
    runs: list[list[int]] = []
    depth = 0
    while len(runs) < 2 and depth <= _MAX_DEPTH:
        depth += 1
        runs = []
        for row in rows:
            if runs and names.parts[runs[-1][-1]][:depth] == names.parts[row][:depth]:
                runs[-1].append(row)
            else:
                runs.append([row])
    return _joined(_folded(runs, depth, names), names)


def _folded(runs: Sequence[list[int]], depth: int, names: Names) -> list[Block]:
    """Each stretch of runs that repeats itself as one block: of several ways to see it, the one that covers most, in the shortest pattern."""
    kinds = [tuple(names.kinds[row] for row in run) for run in runs]
    found: list[Block] = []
    at = 0
    while at < len(runs):
        best, copies = 1, 1
        for period in range(1, min(_MAX_PERIOD, (len(runs) - at) // 2) + 1):
            count = 1
            while kinds[at + count * period : at + (count + 1) * period] == kinds[at : at + period]:
                count += 1
                if at + (count + 1) * period > len(runs):
                    break
            if count > 1 and count * period > best * copies:
                best, copies = period, count
        parts = [runs[at + copy * best : at + (copy + 1) * best] for copy in range(copies)]
        found.append(Block(tuple(tuple(row for run in part for row in run) for part in parts), depth))
        at += best * copies
    return found


def _joined(blocks: Sequence[Block], names: Names) -> list[Block]:
    """Single layers that follow each other as one block, which ends where a skip connection begins or ends."""
    found: list[Block] = []
    for block in blocks:
        before = found[-1] if found else None
        is_single = len(block.copies) == 1 and len(block.rows) == 1
        if (
            before is not None
            and is_single
            and len(before.copies) == 1
            and before.pieces == 0
            and before.rows[-1] not in names.ends
        ):
            found[-1] = Block(((*before.rows, *block.rows),), block.depth, pieces=0)
        elif is_single:
            found.append(Block(block.copies, block.depth, pieces=0))
        else:
            found.append(block)
    return found
