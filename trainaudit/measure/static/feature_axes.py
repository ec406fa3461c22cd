"""Which axes of a value hold features, followed from the weighted layers on. May import `ir` and sibling modules."""

from __future__ import annotations

from math import prod

from trainaudit.ir.graph import Layer
from trainaudit.ir.ops import RECURRENT, Op
from trainaudit.measure.static.batch_axis import ELEMENTWISE, IMAGE, REDUCTIONS
from trainaudit.measure.static.index import Index
from trainaudit.measure.static.layer_facts import main_parameter
from trainaudit.measure.static.reshaping import Sizes, permuted_axis, squeezed_axis, unsqueezed_axis

Axes = frozenset[int]
"""Axes counted from the end; −1 is the last."""

_LAST: Axes = frozenset({-1})


def feature_axes(index: Index) -> dict[str, Axes]:
    """Value → its feature axes; a value is absent where they are not known. Linear in the edges."""
    found: dict[str, Axes] = {}
    sizes = Sizes()
    for layer in index.layers:
        axes = _of_result(index, sizes, found, layer)
        if axes:
            for name in layer.outputs:
                found[name] = axes
    return found


def _of_result(index: Index, sizes: Sizes, found: dict[str, Axes], layer: Layer) -> Axes | None:
    op = layer.op
    if op is Op.CONV or op is Op.CONV_TRANSPOSE:
        weight = main_parameter(index.graph, layer)
        return None if weight is None or len(weight.shape) < 3 else frozenset({1 - len(weight.shape)})
    if op in RECURRENT or op is Op.EMBEDDING:
        return _LAST
    if not layer.inputs:
        return None
    mine = found.get(layer.inputs[0])
    if op is Op.LINEAR:
        return _LAST if mine is None else mine | _LAST
    if op in ELEMENTWISE or op is Op.CONCAT:
        if len(layer.inputs) > 1:
            for name in layer.inputs[1:]:
                other = found.get(name)
                if other is not None:
                    mine = other if mine is None else mine | other
        if mine is None and op in (Op.BATCH_NORM, Op.GROUP_NORM, Op.INSTANCE_NORM):
            shape = index.input_shape(layer)
            return None if shape is None or len(shape) < 2 else frozenset({1 - len(shape)})
        return mine
    if op is Op.ATTENTION:
        return found.get(layer.inputs[2]) if len(layer.inputs) > 2 else None
    if op is Op.MATMUL:
        second = found.get(layer.inputs[1]) if len(layer.inputs) > 1 else None
        return second if second is not None and -1 in second else None
    if mine is None:
        return None
    if op in IMAGE or op in (Op.SLICE, Op.SPLIT, Op.TOP_K):
        return mine
    return _moved(index, sizes, layer, mine)


def _moved(index: Index, sizes: Sizes, layer: Layer, mine: Axes) -> Axes | None:
    op, attributes = layer.op, layer.attributes
    shape = index.input_shape(layer)
    if shape is None:
        return None
    rank = len(shape)
    if any(-axis > rank for axis in mine):
        return None
    if op is Op.TRANSPOSE:
        perm = attributes.get("perm")
        if isinstance(perm, tuple) and len(perm) == rank:
            return frozenset(permuted_axis(axis, [int(p) for p in perm]) for axis in mine)
    elif op is Op.SQUEEZE or (op in REDUCTIONS and not attributes.get("keepdim")):
        axes = attributes.get("axes")
        if isinstance(axes, tuple):
            kept = (squeezed_axis(axis, rank, [int(a) for a in axes]) for axis in mine)
            return frozenset(axis for axis in kept if axis is not None)
    elif op in REDUCTIONS:
        return mine
    elif op is Op.UNSQUEEZE:
        axes = attributes.get("axes")
        if isinstance(axes, tuple):
            return frozenset(unsqueezed_axis(axis, rank, [int(a) for a in axes]) for axis in mine)
    elif op is Op.GATHER:
        out = index.shape(layer.outputs[0])
        dim = attributes.get("dim")
        if out is not None and isinstance(dim, int):
            change = len(out) - rank
            positions = ((axis + rank, axis + rank - dim % rank) for axis in mine)
            return frozenset((p if side < 0 else p + change) - len(out) for p, side in positions if side or not change)
    elif op is Op.RESHAPE or op is Op.FLATTEN:
        before = sizes.all_of(shape)
        after = None if before is None else sizes.reshaped(before, index.shape(layer.outputs[0]))
        if before is not None and after is not None:
            return regrouped(before, after, mine)
    return None


def regrouped(before: tuple[int, ...], after: tuple[int, ...], axes: Axes) -> Axes:
    """The axes of the reshaped tensor that hold values of `axes`: sizes are matched group by group, from the end. An axis of size one
    holds nothing."""
    moved: set[int] = set()
    strides = []
    below = 1
    for k in range(len(after) - 1, -1, -1):
        strides.append((k - len(after), below, below * after[k]))
        below *= after[k]
    for axis in axes:
        stride = prod(before[axis + len(before) + 1 :])
        span = stride * before[axis + len(before)]
        for position, low, high in strides:
            if low < span and high > stride and high > low:
                moved.add(position)
    return frozenset(moved)
