"""Which axes of a value hold features, followed from the weighted layers on. May import `ir` and sibling modules."""

from __future__ import annotations

from math import prod

from trainaudit.ir.graph import Layer, Shape
from trainaudit.ir.ops import RECURRENT, Op
from trainaudit.measure.static.index import Index
from trainaudit.measure.static.layer_facts import main_parameter
from trainaudit.measure.static.reshaping import ELEMENTWISE, IMAGE, MOVING, Sizes, moved_axis

Axes = frozenset[int]
"""Axes counted from the end; −1 is the last."""

_LAST: Axes = frozenset({-1})
_CHANNELWISE = frozenset({Op.BATCH_NORM, Op.GROUP_NORM, Op.INSTANCE_NORM})
_MAKING = RECURRENT | {Op.CONV, Op.CONV_TRANSPOSE, Op.EMBEDDING, Op.ATTENTION, Op.MATMUL}
_KEEPING = (IMAGE - _MAKING) | {Op.SLICE, Op.SPLIT, Op.TOP_K}


def feature_axes(index: Index) -> dict[str, Axes]:
    """Value → its feature axes; a value is absent where they are not known. Linear in the edges."""
    found: dict[str, Axes] = {}
    sizes = Sizes()
    known: dict[tuple[object, ...], Axes | None] = {}
    for layer in index.layers:
        inputs = layer.inputs
        mine = found.get(inputs[0]) if inputs else None
        op = layer.op
        if op in ELEMENTWISE or op is Op.CONCAT:
            for name in inputs[1:]:
                other = found.get(name)
                if other is not None and other != mine:
                    mine = other if mine is None else mine | other
            if mine is None and op in _CHANNELWISE:
                mine = _second_axis(index.input_shape(layer))
        elif op is Op.LINEAR:
            mine = _LAST if mine is None else mine | _LAST
        elif op in _MAKING:
            mine = _made(index, found, layer)
        elif mine is not None and op not in _KEEPING:
            shape, result = index.input_shape(layer), index.shape(layer.outputs[0])
            attributes = layer.attributes
            key = (op, shape, result, attributes.get("perm"), attributes.get("axes"), attributes.get("dim"), mine)
            if key in known:
                mine = known[key]
            else:
                mine = known[key] = _moved(sizes, layer, shape, result, mine)
        if mine:
            for name in layer.outputs:
                found[name] = mine
    return found


def _made(index: Index, found: dict[str, Axes], layer: Layer) -> Axes | None:
    """The feature axes of what a layer makes, whatever its input's were."""
    op = layer.op
    if op is Op.CONV or op is Op.CONV_TRANSPOSE:
        weight = main_parameter(index.graph, layer)
        return None if weight is None or len(weight.shape) < 3 else frozenset({1 - len(weight.shape)})
    if op is Op.ATTENTION:
        return found.get(layer.inputs[2]) if len(layer.inputs) > 2 else None
    if op is Op.MATMUL:
        second = found.get(layer.inputs[1]) if len(layer.inputs) > 1 else None
        return second if second is not None and -1 in second else None
    return _LAST


def _second_axis(shape: Shape | None) -> Axes | None:
    return None if shape is None or len(shape) < 2 else frozenset({1 - len(shape)})


def _moved(sizes: Sizes, layer: Layer, shape: Shape | None, result: Shape | None, mine: Axes) -> Axes | None:
    """Feature axes behind a layer that moves axes; None where they cannot be followed."""
    if shape is None:
        return None
    if layer.op in MOVING:
        places = (moved_axis(layer, shape, result, axis) for axis in mine)
        return frozenset(place for place in places if place is not None)
    if layer.op is Op.RESHAPE or layer.op is Op.FLATTEN:
        before = sizes.all_of(shape)
        after = None if before is None else sizes.reshaped(before, result)
        if before is not None and after is not None and all(-axis <= len(before) for axis in mine):
            return regrouped(before, after, mine)
    return None


def regrouped(before: tuple[int, ...], after: tuple[int, ...], axes: Axes) -> Axes | None:
    """The axes of the reshaped tensor along which values of `axes` lie; None where the sizes do not divide, so that they lie askew. An axis
    of size one holds nothing."""
    places = []
    low = 1
    for k in range(len(after) - 1, -1, -1):
        high = low * after[k]
        if high > low:
            places.append((k - len(after), low, high))
        low = high
    moved: set[int] = set()
    for axis in axes:
        stride = prod(before[axis + len(before) + 1 :])
        span = stride * before[axis + len(before)]
        for position, low, high in places:
            if high <= stride:
                divides = stride % high == 0
            elif low >= span:
                divides = low % span == 0
            else:
                divides = (low % stride == 0 or stride % low == 0) and (high % span == 0 or span % high == 0)
                moved.add(position)
            if not divides:
                return None
    return frozenset(moved)
