"""What torch's newer exporter spells in a roundabout way, rewritten in place as one plain node, before constants are folded.

x[:, i] is written as a transpose, GatherND with coordinates of one axis, and a transpose back: it is Gather. A split is written as a
sequence that is taken apart: it is Split. Stdlib and load's index only.
"""

from __future__ import annotations

from trainaudit.load.raw import RawNode
from trainaudit.load.shapes.known import MALFORMED
from trainaudit.load.wiring import Wiring, number, numbers


def write_plainly(wiring: Wiring) -> None:
    """Rewrite the nodes of `wiring` that have a plainer spelling; those that it makes superfluous are marked as taken."""
    for place, node in enumerate(wiring.nodes):
        rewrite = _REWRITES.get(node.op)
        if rewrite is not None and node.domain in ("", "ai.onnx"):
            try:
                rewrite(wiring, place, node)
            except MALFORMED:
                continue


def _gather(wiring: Wiring, place: int, node: RawNode) -> None:
    """GatherND of one axis, which may have been brought to the front for it and back afterwards."""
    indices = _of_one_axis(wiring, node.inputs[1])
    if indices is None or number(node, "batch_dims", 0):
        return
    node.op, node.attributes = "Gather", {"axis": 0}
    _read(wiring, place, [node.inputs[0], indices])
    front = wiring.maker(node.inputs[0], "Transpose")
    back = wiring.reader(node.outputs[0], "Transpose")
    rank = wiring.rank(indices)
    if front is None or back is None or rank is None:
        return
    brought, returned = (numbers(wiring.nodes[at], "perm") for at in (front, back))
    if not brought or not returned:
        return
    axis, width = brought[0], len(brought)
    others = tuple(other for other in range(width) if other != axis)
    there = (*range(rank, rank + axis), *range(rank), *range(rank + axis, rank + width - 1))
    if brought[1:] == others and returned == there:
        wiring.nodes[back].op, wiring.nodes[back].attributes = "Gather", {"axis": axis}
        _read(wiring, back, [wiring.nodes[front].inputs[0], indices])


def _of_one_axis(wiring: Wiring, name: str) -> str | None:
    """The indices in GatherND's coordinates of a single axis: Concat(Unsqueeze(Expand(indices, their own shape)))."""
    joined = wiring.maker(name, "Concat")
    if joined is None or len(wiring.nodes[joined].inputs) != 1:
        return None
    name = wiring.nodes[joined].inputs[0]
    apart = wiring.maker(name, "Unsqueeze")
    rank = wiring.rank(name)
    if apart is None or rank is None or wiring.argument(wiring.nodes[apart], 1, "axes") not in ((-1,), (rank - 1,)):
        return None
    name = wiring.nodes[apart].inputs[0]
    spread = wiring.maker(name, "Expand")
    if spread is None:
        return name
    source, shape = wiring.nodes[spread].inputs[0], wiring.shapes.get(name)
    return source if shape is not None and None not in shape and wiring.shapes.get(source) == shape else name


def _split(wiring: Wiring, place: int, node: RawNode) -> None:
    """SplitToSequence whose pieces are all taken by stored indices."""
    sequence, source = node.outputs[0], node.inputs[0]
    axis, sizes = number(node, "axis", 0), wiring.argument(node, 1, "split")
    readers = wiring.consumers.get(sequence, [])
    total = wiring.dimension(source, axis)
    if sizes is not None and len(sizes) == 1 and sizes[0] > 0:
        sizes = None if total is None else tuple(min(sizes[0], total - at) for at in range(0, total, sizes[0]))
    pieces = [""] * len(readers if sizes is None else sizes)
    for reader in readers:
        index = wiring.scalar(wiring.nodes[reader].inputs[1]) if wiring.nodes[reader].op == "SequenceAt" else None
        if index is None or sequence in wiring.outputs or pieces[int(index)]:
            return
        pieces[int(index)] = wiring.nodes[reader].outputs[0]
    node.op, node.attributes = "Split", {"axis": axis} if sizes is None else {"axis": axis, "split": list(sizes)}
    node.outputs = pieces
    _read(wiring, place, [source])
    for reader in list(readers):
        wiring.taken[reader] = 1
        _read(wiring, reader, [])
    wiring.producer.update((name, place) for name in pieces if name)


_REWRITES = {"GatherND": _gather, "SplitToSequence": _split}


def _read(wiring: Wiring, place: int, inputs: list[str]) -> None:
    """Let a node read these values and no others; what made the others for it alone is taken out."""
    pending = [(place, inputs)]
    while pending:
        place, inputs = pending.pop()
        node = wiring.nodes[place]
        before, node.inputs = node.inputs, inputs
        for name in inputs:
            if name not in before:
                wiring.consumers.setdefault(name, []).append(place)
        for name in before:
            if not name or name in inputs:
                continue
            wiring.consumers[name] = [reader for reader in wiring.consumers.get(name, ()) if reader != place]
            maker = wiring.producer.get(name)
            if maker is not None and not wiring.taken[maker] and _is_idle(wiring, maker):
                wiring.taken[maker] = 1
                pending.append((maker, []))


def _is_idle(wiring: Wiring, place: int) -> bool:
    """Whether nothing reads what a node makes."""
    return not any(wiring.consumers.get(name) or name in wiring.outputs for name in wiring.nodes[place].outputs)
