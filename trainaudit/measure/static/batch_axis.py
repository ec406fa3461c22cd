"""The batch axis, followed from the inputs through the graph. May import `ir`, `measure.facts` and sibling modules.

The fault looked for is a view where a permutation was meant: (time, batch, features) viewed as (batch, time·features) puts values of different
samples into one row. Merging the batch with axes in front or behind and taking it apart again is fine. What cannot be followed is not
measured.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from trainaudit.ir.graph import Layer, Shape
from trainaudit.ir.ops import ACTIVATIONS, DROPOUTS, NORMALIZATIONS, RECURRENT, WEIGHTED, Op
from trainaudit.measure.facts import Columns, FactValue, Unmeasured
from trainaudit.measure.static.flow import is_float
from trainaudit.measure.static.index import Index
from trainaudit.measure.static.reshaping import (
    Part,
    Sizes,
    moved_part,
    permuted_axis,
    squeezed_axis,
    unsqueezed_axis,
)

ELEMENTWISE = (
    (ACTIVATIONS - {Op.GLU})
    | DROPOUTS
    | NORMALIZATIONS
    | {
        Op.ADD, Op.SUB, Op.MUL, Op.DIV, Op.POW, Op.NEG, Op.ABS, Op.EXP, Op.LOG, Op.SQRT, Op.RECIPROCAL, Op.ERF, Op.SIN, Op.COS,
        Op.TRIGONOMETRIC, Op.CLIP, Op.MIN, Op.MAX, Op.MOD, Op.MEAN, Op.SIGN, Op.ROUND, Op.FLOOR, Op.CEIL, Op.COMPARE, Op.LOGICAL,
        Op.BITWISE, Op.IS_FINITE, Op.IDENTITY, Op.CAST, Op.QUANTIZE, Op.DEQUANTIZE, Op.WHERE, Op.CUMSUM, Op.TRIANGLE, Op.EXPAND,
        Op.TILE, Op.PAD, Op.GLU,
    }
)  # fmt: skip
IMAGE = frozenset(
    {
        Op.CONV, Op.CONV_TRANSPOSE, Op.MAX_POOL, Op.AVERAGE_POOL, Op.LP_POOL, Op.GLOBAL_MAX_POOL, Op.GLOBAL_AVERAGE_POOL, Op.RESIZE,
        Op.DEPTH_TO_SPACE, Op.SPACE_TO_DEPTH,
    }
)  # fmt: skip
REDUCTIONS = frozenset(
    {
        Op.REDUCE_MEAN, Op.REDUCE_SUM, Op.REDUCE_MAX, Op.REDUCE_MIN, Op.REDUCE_PRODUCT, Op.REDUCE_L1, Op.REDUCE_L2,
        Op.REDUCE_SUM_SQUARE, Op.REDUCE_LOG_SUM_EXP,
    }
)  # fmt: skip
_ALONG = frozenset({Op.CONCAT, Op.SPLIT, Op.TOP_K})
_MIXERS = (
    WEIGHTED | {Op.MATMUL, Op.ATTENTION, Op.EINSUM, Op.SOFTMAX, Op.LOG_SOFTMAX, Op.LAYER_NORM, Op.RMS_NORM} | REDUCTIONS
)
_LOST = Unmeasured("the batch axis could not be followed to it")
_NO_BATCH = Unmeasured("the batch axis cannot be told from the shapes of the inputs and outputs")
_ONE_SAMPLE = Unmeasured("the file fixes the batch size to 1, where a view and a permutation are the same")
_AMBIGUOUS = Unmeasured("the first two axes of the input could both be the batch")


@dataclass(frozen=True, slots=True)
class _Tracked:
    """The batch stands in `part`. `origin` is the reshape that merged it with another axis (−1 for none)."""

    part: Part
    origin: int


@dataclass(frozen=True, slots=True)
class _Mixed:
    """A reshape (`origin`) mixed samples up; viewing the values with sizes `before` again would undo it."""

    origin: int
    before: tuple[int, ...]
    was: _Tracked


_State = _Tracked | _Mixed | Unmeasured


@dataclass(frozen=True, slots=True)
class BatchAxis:
    """`axes` maps values to the axis of the batch from the end (absent: none); `columns` holds layer.is_batch_mixing."""

    axes: Mapping[str, int | Unmeasured | None]
    columns: Columns


def follow_batch(index: Index) -> BatchAxis:
    """Follows the batch axis through all layers. Linear in the edges."""
    reshapes = [i for i, op in enumerate(index.ops) if op is Op.RESHAPE or op is Op.FLATTEN]
    wanted = bool(reshapes) or any(op is Op.SOFTMAX or op is Op.LOG_SOFTMAX or op is Op.HARDMAX for op in index.ops)
    if not wanted:
        return BatchAxis({}, {"layer.is_batch_mixing": {}})
    sizes = Sizes()
    start, size, is_certain = _batch_of_inputs(index, sizes)
    verdicts: dict[str, FactValue] = {}
    if size is None:
        unknown: dict[str, int | Unmeasured | None] = dict.fromkeys(index.graph.values, _NO_BATCH)
        return BatchAxis(unknown, {"layer.is_batch_mixing": {index.layers[i].name: _NO_BATCH for i in reshapes}})
    states: dict[str, _State] = dict(start)
    guilty: set[int] = set()
    for i, layer in enumerate(index.layers):
        _step(index, sizes, size, states, guilty, verdicts, i, layer)
    for name in index.graph.outputs:
        final = states.get(name)
        if isinstance(final, _Mixed):
            guilty.add(final.origin)
    for i in guilty:
        verdicts[index.layers[i].name] = True if is_certain else _AMBIGUOUS
    axes: dict[str, int | Unmeasured | None] = {}
    for name, state in states.items():
        if isinstance(state, _Tracked):
            axes[name] = state.part.axis if is_certain else _AMBIGUOUS
        else:
            axes[name] = state if isinstance(state, Unmeasured) else _LOST
    return BatchAxis(axes, {"layer.is_batch_mixing": verdicts})


def _batch_of_inputs(index: Index, sizes: Sizes) -> tuple[dict[str, _State], int | None, bool]:
    """The batch is the first axis of the first floating-point output that depends on an input, found again among the first two axes of
    the inputs. Returns the inputs' states, the batch size (a prime where symbolic) and whether only one axis can be meant."""
    graph = index.graph
    first: Shape | None = None
    for name in graph.outputs:
        value = graph.values.get(name)
        if value is not None and value.producer is not None and index.depends[value.producer] and is_float(value.dtype):
            first = value.shape
            break
    if not first or not first[0]:
        return {}, None, False
    states: dict[str, _State] = {}
    batch = first[0]
    is_certain = True
    for name in graph.inputs:
        shape = index.shape(name)
        if shape is None:
            states[name] = _LOST
            continue
        axes = [k for k in range(min(2, len(shape))) if shape[k] == batch]
        if axes:
            states[name] = _Tracked(Part(axes[0] - len(shape), 1, 1), -1)
            named = isinstance(batch, str) and "batch" in batch.lower()
            if (
                not named
                and len(shape) > 2
                and axes[0] == 0
                and len(first) > 1
                and shape[1] == first[1]
                and not isinstance(shape[1], int)
            ):
                is_certain = False
    if not any(isinstance(state, _Tracked) for state in states.values()):
        return {}, None, False
    return states, sizes.of(batch), is_certain


def _step(
    index: Index,
    sizes: Sizes,
    size: int,
    states: dict[str, _State],
    guilty: set[int],
    verdicts: dict[str, FactValue],
    position: int,
    layer: Layer,
) -> None:
    op = layer.op
    incoming: list[tuple[int, str, _State]] = []
    for slot, name in enumerate(layer.inputs):
        state = states.get(name)
        if state is not None:
            incoming.append((slot, name, state))
    is_reshape = op is Op.RESHAPE or op is Op.FLATTEN
    if not incoming or op is Op.SHAPE:
        if is_reshape:
            verdicts[layer.name] = False
        return
    slot, name, state = incoming[0]
    result: _State = _LOST
    if isinstance(state, Unmeasured):
        if is_reshape:
            verdicts[layer.name] = state
        result = state
    elif isinstance(state, _Mixed):
        if is_reshape:
            verdicts[layer.name] = False
            after = sizes.all_of(index.shape(layer.outputs[0]))
            result = state.was if after == state.before else state
        elif op in _MIXERS:
            guilty.add(state.origin)
        else:
            result = state
    elif is_reshape:
        if slot == 0:
            verdicts[layer.name], result = _reshape(index, sizes, size, state, position, layer)
        else:
            verdicts[layer.name] = False
    elif op in ELEMENTWISE:
        result = state
        for _, _, other in incoming[1:]:
            if isinstance(other, _Tracked) and other.part == state.part:
                continue
            result = other if not isinstance(other, _Tracked) else _LOST
    else:
        moved = _moved(index, op, layer, slot, name, state, incoming)
        if moved is None and state.origin >= 0 and op is Op.LINEAR and state.part.axis == -1:
            guilty.add(state.origin)
        if moved is not None:
            result = _Tracked(moved, state.origin)
    for output in layer.outputs:
        states[output] = result


def _reshape(
    index: Index, sizes: Sizes, size: int, state: _Tracked, position: int, layer: Layer
) -> tuple[FactValue, _State]:
    before = sizes.all_of(index.input_shape(layer))
    if before is None:
        return _LOST, _LOST
    after = sizes.reshaped(before, index.shape(layer.outputs[0]) if layer.outputs else None)
    if after is None:
        return _LOST, _LOST
    if size == 1:
        stays = state.part.axis == -len(before) and after and after[0] == 1 and before[0] == 1
        return (False, _Tracked(Part(-len(after), 1, 1), -1)) if stays else (_ONE_SAMPLE, _ONE_SAMPLE)
    place = moved_part(before, after, state.part, size)
    if isinstance(place, Part):
        is_merged = place.left > 1 or place.right > 1
        return False, _Tracked(place, position if is_merged and place.axis == -1 else -1)
    if place:
        return False, _Mixed(position, before, state)
    return False, _LOST


def _moved(
    index: Index, op: Op, layer: Layer, slot: int, name: str, state: _Tracked, incoming: list[tuple[int, str, _State]]
) -> Part | None:
    """Where the batch stands in the result of an operation that is not elementwise; None where it is lost."""
    part = state.part
    axis = part.axis
    shape = index.shape(name)
    rank = 0 if shape is None else len(shape)
    attributes = layer.attributes
    new: int | None = None
    if op is Op.LINEAR:
        new = axis if axis != -1 else None
    elif op is Op.EMBEDDING:
        new = axis - 1
    elif op in IMAGE:
        new = axis if rank and axis == -rank else None
    elif op in RECURRENT:
        new = axis if axis == -2 and slot == 0 else None
    elif op is Op.TRANSPOSE:
        perm = attributes.get("perm")
        new = permuted_axis(axis, [int(p) for p in perm]) if isinstance(perm, tuple) and rank == len(perm) else None
    elif op is Op.SQUEEZE or op is Op.UNSQUEEZE:
        axes = attributes.get("axes")
        if isinstance(axes, tuple) and rank:
            moved = squeezed_axis if op is Op.SQUEEZE else unsqueezed_axis
            new = moved(axis, rank, [int(a) for a in axes])
    elif op in _ALONG or op is Op.GATHER:
        dim = attributes.get("dim")
        if isinstance(dim, int) and rank and (dim if dim < 0 else dim - rank) != axis and slot == 0:
            new = axis
            if op is Op.GATHER:
                new = _gathered(index, layer, axis, dim % rank, rank)
        if op is Op.CONCAT and any(isinstance(o, _Tracked) and o.part != part for _, _, o in incoming):
            new = None
    elif op is Op.SLICE:
        axes = attributes.get("axes")
        if isinstance(axes, tuple) and rank and slot == 0:
            new = axis if all(int(a) % rank != axis + rank for a in axes) else None
    elif op in REDUCTIONS:
        axes = attributes.get("axes")
        if isinstance(axes, tuple) and rank:
            left = squeezed_axis(axis, rank, [int(a) for a in axes])
            new = None if left is None else (axis if attributes.get("keepdim") else left)
    elif op is Op.ATTENTION or op is Op.MATMUL:
        others = [o for s, _, o in incoming[1:] if s < 3]
        same = all(isinstance(o, _Tracked) and o.part == part for o in others)
        if (axis <= -3 and same and slot == 0) or (op is Op.MATMUL and axis == -2 and slot == 0 and len(incoming) == 1):
            new = axis
    return None if new is None else Part(new, part.left, part.right)


def _gathered(index: Index, layer: Layer, axis: int, dim: int, rank: int) -> int | None:
    """Where an axis goes when another is indexed: by a single number that one disappears."""
    out = index.shape(layer.outputs[0])
    if out is None:
        return None
    position = axis + rank
    change = len(out) - rank
    return (position if position < dim else position + change) - len(out)
