"""The model drawn as a map of blocks: repeated ones folded, skip connections beside them, and what was found of each. Stdlib only."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import groupby

from trainaudit.report import numbers
from trainaudit.report.block_wires import GAP, HEIGHT, JOIN, LEFT, SPINE, Placed, edges_of, wires
from trainaudit.report.blocks import Block, blocks_of, boxes
from trainaudit.report.drawing import WIDE, Drawing, Icon, Mark, Text, box, marks_of, width_of
from trainaudit.report.escaping import shortened, visible
from trainaudit.report.view import SINGLE_KINDS
from trainaudit.result import Audit, Finding, LayerRow

HEADER = 28.0
EDGE, BESIDE = 574.0, 590.0
"""Where boxes end, and where the findings stand beside them."""
_INDENT = 14.0
_LINE = 17.0
_PLUMBING = frozenset({"range", "logical", "compare", "triangle", "constant", "shape", "where", "cumsum"})
"""Operations that make masks and positions, not signals."""
_Said = Counter[tuple[str, str]]
_RANK = {"error": 0, "warning": 1, "note": 2}


def block_map(audit: Audit, findings: Sequence[Finding]) -> Drawing | None:
    """None where there are fewer than two layers to draw. `findings` are those that are shown."""
    layers = [row for row in audit.layers if row.op not in _PLUMBING]
    if len(layers) < 2:
        return None
    blocks = blocks_of(layers)
    marks: list[Mark] = []
    placed: list[Placed] = []
    frames: list[Mark] = []
    whole = _whole(findings)
    top = _ends(audit.model.inputs, "input", max(0.0, _LINE * min(3, len(whole)) - 32.0), marks)
    bottom = _place(blocks, layers, top, 0, _module([row.name for row in layers]), placed, frames)
    where = {id(item.block): order for order, item in enumerate(placed)}
    home = {row: where[id(block)] for row, block in boxes(blocks).items()}
    edges = edges_of(layers, home)
    said = _said(layers, home, findings)
    lines, lost = wires(placed, edges, top, bottom)
    marks = [*frames, *lines, *marks]
    rows: list[list[int]] = [[] for _ in placed]
    for row, order in home.items():
        rows[order].append(row)
    for order, item in enumerate(placed):
        marks += _box(item, layers, rows[order], said.get(order, Counter()))
    if whole:
        marks += [Text("", BESIDE, 14, "the model as a whole"), *_listed(whole, 18.0)]
    end = _ends(audit.model.outputs, "output", bottom, marks)
    drawn_skips = sum(edge.is_joined for edge in edges)
    folded = [item for item in _all(blocks) if len(item.copies) > 1]
    return Drawing(
        title="The model as blocks",
        description=_description(layers, placed, folded, drawn_skips, said, whole),
        width=WIDE,
        height=end,
        marks=marks_of(marks),
        columns=("block", "layers", "parameters", "output", "operations", "findings"),
        table=tuple(_row(item, layers, rows[order], said.get(order, Counter())) for order, item in enumerate(placed)),
        note=f"{numbers.count(lost, 'more connection')} had no room in the drawing." if lost else "",
        subtitle="" if not drawn_skips else "lines at the left are skip connections, ⊕ is where they join",
    )


def _all(blocks: Sequence[Block]) -> list[Block]:
    return [found for block in blocks for found in (block, *_all(block.parts))]


def _ends(names: Sequence[str], word: str, top: float, marks: list[Mark]) -> float:
    """What goes into the model, or comes out of it."""
    text = shortened(", ".join(names), 52) if names else word
    is_said = text.startswith((word, f"{word}s"))  # a model's only input is mostly called so
    marks.append(Text("ink", SPINE - 14, top + 14, text if is_said else f"{word}: {text}"))
    return top + 22 + (GAP if word == "input" else 0)


def _place(
    blocks: Sequence[Block],
    layers: Sequence[LayerRow],
    top: float,
    level: int,
    inside: str,
    placed: list[Placed],
    frames: list[Mark],
) -> float:
    """Boxes one under the other; what is opened and repeated stands in a frame. Returns where the next one may stand."""
    for block in blocks:
        title = _title(block, layers, inside)
        left = LEFT + _INDENT * level
        if not block.parts:
            placed.append(Placed(block, top, left, title))
            top += HEIGHT + GAP
        elif len(block.copies) == 1:
            top = _place(block.parts, layers, top, level, inside, placed, frames)
        else:
            start = top
            shared = _module([layers[row].name for row in block.rows])
            top = _place(block.parts, layers, top + HEADER, level + 1, shared, placed, frames) - GAP + JOIN + 14
            frames += _frame(title, len(block.copies), left - 4, start, EDGE + 4 - _INDENT * level, top)
            top += GAP - 6
    return top


def _frame(title: str, count: int, left: float, top: float, right: float, bottom: float) -> list[Mark]:
    times = f"× {count}"
    return [
        box("frame", left, top, right - left, bottom - top),
        Text("times", right - 10 - width_of(times) * 1.2, top + 19, times),
        Text("strong", SPINE + 14, top + 18, shortened(title, 40)),
    ]


def _title(block: Block, layers: Sequence[LayerRow], inside: str) -> str:
    """The module of the block, or of its first and last copies; of plain layers the first and the last."""
    first, last = layers[block.rows[0]].name, layers[block.copies[-1][-1]].name
    if block.pieces and len(block.copies) * len(block.rows) > 1:
        first, last = (".".join(name.split(".")[: block.depth]) for name in (first, last))
    inner = f"{inside}."
    first, last = first.removeprefix(inner), last.removeprefix(inner)
    return visible(first if first == last else f"{first} to {last}")


def _module(names: Sequence[str]) -> str:
    """The path that all names share, "" where there is none."""
    parts = [name.split(".") for name in names]
    shared: list[str] = []
    for place, part in enumerate(parts[0]):
        if any(place >= len(other) or other[place] != part for other in parts):
            break
        shared.append(part)
    return ".".join(shared)


def _chain(block: Block, layers: Sequence[LayerRow], most: int) -> str:
    """What one copy does, in order: "conv → batch norm → relu"."""
    words = [
        layers[row].op.replace("_", " ") + (" ⊕" if _joins_inside(layers, row, block) else "") for row in block.rows
    ]
    parts = [word if (count := len(list(same))) == 1 else f"{word} ×{count}" for word, same in groupby(words)]
    text = " → ".join(parts)
    while len(text) > most and len(parts) > 2:
        parts = parts[:-2] + parts[-1:] if parts[-2] == "…" else [*parts[:-2], "…", parts[-1]]
        parts = [part for place, part in enumerate(parts) if part != "…" or place == len(parts) - 2]
        text = " → ".join(parts)
    return shortened(visible(text), most)


def _joins_inside(layers: Sequence[LayerRow], row: int, block: Block) -> bool:
    """Where the sum is not the last thing that the box does: there it stands under the box."""
    return bool(layers[row].joined) and row != block.rows[-1]


def _box(item: Placed, layers: Sequence[LayerRow], rows: Sequence[int], said: _Said) -> list[Mark]:
    block, top, left = item.block, item.top, item.left
    right = EDGE - (left - LEFT)
    worst = min(said, key=lambda pair: _RANK[pair[0]])[0] if said else ""
    marks: list[Mark] = []
    if len(block.copies) > 1:
        marks += [box("node", left + shift, top + shift, right - left, HEIGHT) for shift in (7.0, 3.5)]
    marks.append(box(f"node-{worst}" if worst else "node", left, top, right - left, HEIGHT))
    x = left + 14
    if worst:
        marks.append(Icon(worst, x - 2, top + 7, 15))
        x += 18
    end = right - 10
    if len(block.copies) > 1:
        times = f"× {len(block.copies)}"
        end -= width_of(times) * 1.2
        marks.append(Text("times", end, top + 20, times))
        end -= 12
    count = sum(layers[row].parameters for row in rows)
    if count:
        size = f"{numbers.large(count)} parameter{'' if count == 1 else 's'}"
        marks.append(Text("e", end, top + 19, size))
        end -= width_of(size) + 12
    marks.append(Text("strong", x, top + 19, shortened(item.title, int((end - x) / 8.2))))
    marks.append(Text("", left + 14, top + 37, _chain(block, layers, int((right - 24 - left) / 7.3))))
    return [*marks, *_beside(said, top)]


def _beside(said: _Said, top: float) -> list[Mark]:
    """The findings of a box at its right."""
    return _listed(said, top + (HEIGHT - _LINE * min(3, len(said))) / 2)


def _listed(said: _Said, top: float) -> list[Mark]:
    """Three lines of findings at most, worst first."""
    marks: list[Mark] = []
    ordered = sorted(said.items(), key=lambda item: (_RANK[item[0][0]], -item[1]))
    shown = ordered if len(ordered) <= 3 else ordered[:2]
    for place, ((severity, rule), count) in enumerate(shown):
        words = rule + (f", {count} layers" if count > 1 else "")
        base = top + _LINE * place
        marks += [Icon(severity, BESIDE, base + 1, 14), Text("ink", BESIDE + 20, base + 13, shortened(words, 34))]
    if len(ordered) > len(shown):
        marks.append(Text("", BESIDE + 20, top + _LINE * 2 + 13, f"and {len(ordered) - len(shown)} more"))
    return marks


def _whole(findings: Sequence[Finding]) -> _Said:
    """What is said of no layer: severity and rule."""
    return Counter(
        {(finding.severity.value, visible(finding.rule)): 1 for finding in findings if finding.kind in SINGLE_KINDS}
    )


def _said(layers: Sequence[LayerRow], home: Mapping[int, int], findings: Sequence[Finding]) -> dict[int, _Said]:
    """Box → severity and rule → layers of which it is said."""
    index = {layer.name: place for place, layer in enumerate(layers)}
    found: dict[int, _Said] = {}
    for finding in findings:
        if finding.kind in SINGLE_KINDS:
            continue
        names = {occurrence.location.layer for occurrence in finding.occurrences} - {None}
        for name in names:
            place = index.get(name or "")
            if place is not None:
                found.setdefault(home[place], Counter())[finding.severity.value, visible(finding.rule)] += 1
    return found


def _row(item: Placed, layers: Sequence[LayerRow], rows: Sequence[int], said: _Said) -> tuple[str, ...]:
    block = item.block
    times = f" × {len(block.copies)}" if len(block.copies) > 1 else ""
    found = ", ".join(
        f"{severity} {rule}" + (f" ({count})" if count > 1 else "") for (severity, rule), count in said.items()
    )
    size = sum(layers[row].parameters for row in rows)
    shape = visible(layers[rows[-1]].output_shape)
    return (
        shortened(item.title, 60) + times,
        numbers.number(len(rows)),
        numbers.large(size),
        shape,
        _chain(block, layers, 120),
        found,
    )


def _description(
    layers: Sequence[LayerRow],
    placed: Sequence[Placed],
    folded: Sequence[Block],
    skips: int,
    said: Mapping[int, _Said],
    whole: _Said,
) -> str:
    parts = [
        f"{numbers.count(len(layers), 'layer')} in {numbers.count(len(placed), 'box', 'boxes')}, from input to output."
    ]
    if folded:
        parts.append(
            f"Folded: {', '.join(f'{_title(block, layers, str())}, {len(block.copies)} times' for block in folded)}."
        )
    if skips:
        parts.append(f"{numbers.count(skips, 'skip connection')} between boxes.")
    marked = [
        f"{shortened(placed[order].title, 40)} ({', '.join(dict.fromkeys(rule for _, rule in found))})"
        for order, found in sorted(said.items())
    ]
    parts.append(f"Findings at {'; '.join(marked)}." if marked else "No finding stands on a layer.")
    if whole:
        parts.append(f"Of the model as a whole: {', '.join(rule for _, rule in whole)}.")
    return " ".join(parts)
