"""What torch's newer exporter spells in a roundabout way, rewritten in place as one plain node, before constants are folded.

x[:, i] is written as a transpose, GatherND with coordinates of one axis, and a transpose back: it is Gather. A split is written as a
sequence that is taken apart: it is Split. A view by strides (behind a pool of images whose channels come last) is written as a gather
from the flat tensor at places that are counted: where they are all places in order, it is nothing. Stdlib and load's index only.
"""

from __future__ import annotations

import math

from trainaudit.ir.graph import Shape
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
    if not readers or sequence in wiring.outputs:
        return
    total = wiring.dimension(source, axis)
    if sizes is not None and len(sizes) == 1 and sizes[0] > 0:
        sizes = None if total is None else tuple(min(sizes[0], total - at) for at in range(0, total, sizes[0]))
    pieces = [""] * len(readers if sizes is None else sizes)
    for reader in readers:
        index = wiring.scalar(wiring.nodes[reader].inputs[1]) if wiring.nodes[reader].op == "SequenceAt" else None
        if index is None or pieces[int(index)]:
            return
        pieces[int(index)] = wiring.nodes[reader].outputs[0]
    node.op, node.attributes = "Split", {"axis": axis} if sizes is None else {"axis": axis, "split": list(sizes)}
    node.outputs = pieces
    _read(wiring, place, [source])
    for reader in list(readers):
        wiring.taken[reader] = 1
        _read(wiring, reader, [])
    wiring.producer.update((name, place) for name in pieces if name)


def _strided(wiring: Wiring, place: int, node: RawNode) -> None:
    """Gather of all elements of a flat tensor in their order, in the shape that it had before."""
    flat = wiring.maker(node.inputs[0], "Reshape")
    output = node.outputs[0]
    if flat is None or wiring.rank(node.inputs[0]) != 1 or output in wiring.outputs or number(node, "axis", 0):
        return
    source = wiring.nodes[flat].inputs[0]
    shape = wiring.shapes.get(source)
    if not shape or None in shape or wiring.shapes.get(node.inputs[1]) != shape:
        return
    counted = [_counted_axis(wiring, term, shape) for term in _terms(wiring, node.inputs[1])]
    wide = [axis for axis, size in enumerate(shape) if size != 1]
    if sorted(axis for axis in counted if axis != _NOWHERE) == wide:
        wiring.taken[place] = 1
        for reader in wiring.consumers.get(output, []):
            inputs = wiring.nodes[reader].inputs
            _read(wiring, reader, [source if name == output else name for name in inputs])
        _read(wiring, place, [])


_NOWHERE, _UNKNOWN = -1, -2
"""In place of an axis: a value of zeros, and one that is something else than a count."""


def _terms(wiring: Wiring, name: str) -> list[str]:
    """The values that a value is the sum of."""
    terms: list[str] = []
    pending = [name]
    while pending:
        name = pending.pop()
        place = wiring.maker(name, "Add")
        if place is None:
            terms.append(name)
        else:
            pending += wiring.nodes[place].inputs
    return terms


def _counted_axis(wiring: Wiring, name: str, shape: Shape) -> int:
    """The axis along which a value counts the elements of a tensor of that shape, which lie in order: Unsqueeze(Range · stride)."""
    if set(wiring.numbers.get(name, (None,))) == {0}:
        return _NOWHERE
    chain: list[RawNode] = []
    for op in ("Unsqueeze", "Mul", "Range"):
        maker = wiring.maker(chain[-1].inputs[0] if chain else name, op)
        if maker is None:
            return _UNKNOWN
        chain.append(wiring.nodes[maker])
    own = wiring.shapes.get(name, ())
    wide = [axis for axis, size in enumerate(own) if size != 1]
    if len(own) != len(shape) or len(wide) != 1 or own[wide[0]] != shape[wide[0]]:
        return _UNKNOWN
    axis, (_, product, count) = wide[0], chain
    stride = math.prod(size if isinstance(size, int) else 0 for size in shape[axis + 1 :])
    found = [_number(wiring, word) for word in (count.inputs[0], count.inputs[2], product.inputs[1])]
    return axis if found == [0, 1, stride] else _UNKNOWN


def _number(wiring: Wiring, name: str) -> object:
    """The one number that a value holds, stored or computed from sizes."""
    values = wiring.numbers.get(name)
    return wiring.scalar(name) if values is None else values[0]


_REWRITES = {"GatherND": _gather, "SplitToSequence": _split, "Gather": _strided}


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
