"""The batch axis, followed from the inputs through the graph. May import `ir`, `measure.facts` and sibling modules.

The fault looked for is a view where a permutation was meant: (time, batch, features) viewed as (batch, time·features) puts values of different
samples into one row. Merging the batch with axes in front or behind and taking it apart again is fine. What cannot be followed is not
measured.
"""

from __future__ import annotations

from dataclasses import field

from trainaudit.frozen import frozen, slotted
from trainaudit.ir.graph import Layer, Shape
from trainaudit.ir.ops import RECURRENT, WEIGHTED, Op
from trainaudit.measure.facts import FactValue, Unmeasured
from trainaudit.measure.static.flow import is_float
from trainaudit.measure.static.index import Index
from trainaudit.measure.static.reshaping import (
    ELEMENTWISE,
    IMAGE,
    MOVING,
    REDUCTIONS,
    Part,
    Sizes,
    is_cut_apart,
    is_replaced,
    moved_axis,
    moved_part,
)

_SOFTMAXES = frozenset({Op.SOFTMAX, Op.LOG_SOFTMAX, Op.HARDMAX})
_VIEWS = frozenset({Op.RESHAPE, Op.FLATTEN})
_ALONG = frozenset({Op.CONCAT, Op.SPLIT, Op.TOP_K})
_MIXERS = (
    WEIGHTED | {Op.MATMUL, Op.ATTENTION, Op.EINSUM, Op.SOFTMAX, Op.LOG_SOFTMAX, Op.LAYER_NORM, Op.RMS_NORM} | REDUCTIONS
)
_LOST = Unmeasured("the batch axis could not be followed to it")
_NO_BATCH = Unmeasured("the batch axis cannot be told from the shapes of the inputs and outputs")
_ONE_SAMPLE = Unmeasured("the file fixes the batch size to 1, where a view and a permutation are the same")
_SWAPPED = Unmeasured("with these sizes a view in place of a transposition looks like a cut into chunks")
_AMBIGUOUS = Unmeasured("the first two axes of the input could both be the batch")


@frozen(eq=False)
class _Tracked:
    """The batch stands in `part`. `origin` is the reshape that merged it into the last axis (−1 for none)."""

    part: Part
    origin: int


@frozen(eq=False)
class _Mixed:
    """A reshape (`origin`) mixed samples up; viewing the values with sizes `before` again would undo it."""

    origin: int
    before: tuple[int, ...]
    was: _Tracked


_State = _Tracked | _Mixed | Unmeasured


@slotted
class BatchAxis:
    """What is known of the batch axis. `states` holds the values that carry it, `verdicts` the column layer.is_batch_mixing."""

    size: int | None = None
    is_certain: bool = True
    states: dict[str, _State] = field(default_factory=dict)
    verdicts: dict[str, FactValue] = field(default_factory=dict)
    guilty: set[int] = field(default_factory=set)
    sizes: Sizes = field(default_factory=Sizes)
    known: dict[tuple[object, ...], tuple[FactValue, _State]] = field(default_factory=dict)
    """Answers by operation, shapes and state: blocks repeat."""

    def axis(self, value: str) -> int | Unmeasured | None:
        """The axis of a value, counted from the end (−1 is the last), that is the batch, alone or merged; None where none is."""
        if self.size is None:
            return _NO_BATCH
        state = self.states.get(value)
        if isinstance(state, _Tracked):
            return state.part.axis if self.is_certain else _AMBIGUOUS
        return _LOST if isinstance(state, _Mixed) else state


def follow_batch(index: Index) -> BatchAxis:
    """Follows the batch axis through all layers. Linear in the edges."""
    reshapes = index.of(_VIEWS)
    batch = BatchAxis()
    if not reshapes and _SOFTMAXES.isdisjoint(index.places):
        return batch
    _start(index, batch)
    if batch.size is None:
        batch.verdicts.update({index.layers[i].name: _NO_BATCH for i in reshapes})
        return batch
    states, depends = batch.states, index.depends
    for i, layer in enumerate(index.layers):
        inputs = layer.inputs
        if not depends[i]:  # made from shapes and stored values alone
            if layer.op in _VIEWS:
                batch.verdicts[layer.name] = False
            continue
        if len(inputs) == 1:
            state = states.get(inputs[0])
            if state is not None:
                result = (
                    state
                    if layer.op in ELEMENTWISE and layer.op not in _MIXERS
                    else _result(index, batch, i, layer, 0, state, [])
                )
            elif layer.op in _VIEWS:
                batch.verdicts[layer.name] = False
                continue
            else:
                continue
        else:
            incoming = [(slot, states[name]) for slot, name in enumerate(inputs) if name in states]
            if not incoming:
                continue
            slot, state = incoming[0]
            result = _result(index, batch, i, layer, slot, state, incoming)
        for output in layer.outputs:
            states[output] = result
    for name in index.graph.outputs:
        final = states.get(name)
        if isinstance(final, _Mixed):
            batch.guilty.add(final.origin)
    for i in batch.guilty:
        batch.verdicts[index.layers[i].name] = True if batch.is_certain else _AMBIGUOUS
    return batch


def _start(index: Index, batch: BatchAxis) -> None:
    """The batch is the first axis of the first floating-point output that depends on an input, found again among the first two axes of
    the inputs. Where it is symbolic, its name does not say "batch" and the second axes agree too, it is not certain which is meant."""
    graph = index.graph
    first: Shape | None = None
    for name in graph.outputs:
        value = graph.values.get(name)
        if value is not None and value.producer is not None and index.depends[value.producer] and is_float(value.dtype):
            first = value.shape
            break
    if not first or not first[0]:
        return
    wanted = first[0]
    is_named = isinstance(wanted, str) and "batch" in wanted.lower()
    for name in graph.inputs:
        shape = index.shape(name)
        if shape is None:
            batch.states[name] = _LOST
            continue
        axes = [k for k in range(min(2, len(shape))) if shape[k] == wanted]
        if axes:
            batch.states[name] = _Tracked(Part(axes[0] - len(shape), 1, 1), -1)
            batch.size = batch.sizes.of(wanted)
            if not is_named and len(shape) > 2 and axes[0] == 0 and len(first) > 1:
                batch.is_certain = batch.is_certain and (shape[1] != first[1] or isinstance(shape[1], int))


def _result(
    index: Index,
    batch: BatchAxis,
    position: int,
    layer: Layer,
    slot: int,
    state: _State,
    incoming: list[tuple[int, _State]],
) -> _State:
    """The state of a layer's result. `slot` is the first input that carries the batch, `incoming` are all that do."""
    op = layer.op
    if isinstance(state, Unmeasured):
        if op in _VIEWS:
            batch.verdicts[layer.name] = state
        return state
    if isinstance(state, _Mixed):
        if op in _VIEWS:
            batch.verdicts[layer.name] = False
            return state.was if batch.sizes.all_of(index.shape(layer.outputs[0])) == state.before else state
        if op in _MIXERS:
            batch.guilty.add(state.origin)
            return _LOST
        return state
    if op in ELEMENTWISE:
        for _, other in incoming:
            if other is not state and not (isinstance(other, _Tracked) and other.part == state.part):
                return _LOST if isinstance(other, _Tracked) else other
        return state
    equation = layer.attributes.get("equation")
    if isinstance(equation, str):
        summed = _summed(index, layer, equation, slot, state, incoming)
        if summed is _LOST and op is Op.LINEAR and state.origin >= 0:
            batch.guilty.add(state.origin)
        return summed
    if op is Op.LINEAR and state.part.axis != -1:
        return state
    if slot != 0 and op is not Op.CONCAT:
        if op in _VIEWS:
            batch.verdicts[layer.name] = False
        return _looked_up(index, layer, state) if op is Op.GATHER and slot == 1 else _LOST
    shape, after = index.input_shape(layer), index.shape(layer.outputs[0])
    attributes = layer.attributes
    key = (
        op,
        shape,
        after,
        attributes.get("perm"),
        attributes.get("axes"),
        attributes.get("dim"),
        state,
        len(incoming),
    )
    answer = batch.known.get(key)
    if answer is None:
        if op in _VIEWS:
            answer = _view(batch, shape, after, state, position)
        else:
            moved = _moved(op, layer, shape, after, state.part, incoming)
            if moved is None and state.origin >= 0 and op is Op.LINEAR:
                batch.guilty.add(state.origin)
            answer = (
                False,
                _LOST if moved is None else state if moved == state.part else _Tracked(moved, state.origin),
            )
        if not isinstance(answer[1], _Mixed) and len(incoming) < 2:
            batch.known[key] = answer
    if op in _VIEWS:
        batch.verdicts[layer.name] = answer[0]
    return answer[1]


def _summed(
    index: Index, layer: Layer, equation: str, slot: int, state: _Tracked, incoming: list[tuple[int, _State]]
) -> _State:
    """The state of an Einsum's result: the batch's letter is found again in it. All operands that carry the batch must agree on the letter."""
    terms, arrow, result = equation.partition("->")
    operands = terms.split(",")
    if not arrow or "." in equation:
        return _LOST
    letters: set[str] = set()
    for at, carried in incoming or [(slot, state)]:
        if not isinstance(carried, _Tracked) or (carried.part.left, carried.part.right) != (1, 1):
            return _LOST
        shape = index.input_shape(layer, at)
        # one operand may be stored: the other is known by its rank, and by a letter that stays
        places = [at] if len(layer.inputs) == len(operands) else range(len(operands))
        found = {operands[k][carried.part.axis] for k in places if shape is not None and len(operands[k]) == len(shape)}
        found = {letter for letter in found if result.count(letter) == 1}
        letters |= found or {""}
    (letter,) = letters if len(letters) == 1 else ("",)
    if not letter:
        return _LOST
    return _Tracked(Part(result.index(letter) - len(result), 1, 1), state.origin)


def _looked_up(index: Index, layer: Layer, state: _Tracked) -> _State:
    """The state of what indices that carry the batch look up in something that does not."""
    if layer.raw_op.startswith("GatherElements"):
        return state
    table, dim = index.input_shape(layer), layer.attributes.get("dim")
    if table is None or not isinstance(dim, int):
        return _LOST
    behind = len(table) - 1 - dim % len(table)
    return _Tracked(Part(state.part.axis - behind, state.part.left, state.part.right), state.origin)


def _view(
    batch: BatchAxis, shape: Shape | None, result: Shape | None, state: _Tracked, position: int
) -> tuple[FactValue, _State]:
    before = batch.sizes.all_of(shape)
    after = None if before is None else batch.sizes.reshaped(before, result)
    if before is None or after is None or batch.size is None:
        return _LOST, _LOST
    if batch.size == 1:
        stays = state.part.axis == -len(before) and after and after[0] == 1 and before[0] == 1
        return (False, _Tracked(Part(-len(after), 1, 1), -1)) if stays else (_ONE_SAMPLE, _ONE_SAMPLE)
    place = moved_part(before, after, state.part, batch.size)
    if is_replaced(before, after, batch.size) and not (isinstance(place, Part) and place.left == 1):
        return False, _Mixed(position, before, state)
    if isinstance(place, Part):
        is_merged = place.left > 1 or place.right > 1
        is_ambiguous = is_merged and len(before) > 2 and before != after and sorted(before) == sorted(after)
        return _SWAPPED if is_ambiguous else False, _Tracked(place, position if is_merged and place.axis == -1 else -1)
    if place:
        return False, _Mixed(position, before, state)
    return False if is_cut_apart(before, after, state.part, batch.size) else _LOST, _LOST


def _moved(
    op: Op, layer: Layer, shape: Shape | None, result: Shape | None, part: Part, incoming: list[tuple[int, _State]]
) -> Part | None:
    """Where the batch stands in the result of an operation that is not elementwise; None where it is lost."""
    axis = part.axis
    rank = 0 if shape is None else len(shape)
    others = [other for slot, other in incoming[1:] if slot < 3]
    agree = all(isinstance(other, _Tracked) and other.part == part for other in others)
    new: int | None = None
    if op in MOVING and shape is not None:
        new = moved_axis(layer, shape, result, axis)
    elif op is Op.EMBEDDING:
        new = axis - 1
    elif op in IMAGE:
        new = axis if axis == -rank else None
    elif op in RECURRENT:
        new = axis if axis == -2 else None
    elif op in _ALONG:
        dim = layer.attributes.get("dim")
        new = axis if isinstance(dim, int) and rank and dim % rank != axis + rank and agree else None
    elif op is Op.SLICE:
        axes = layer.attributes.get("axes")
        new = axis if isinstance(axes, tuple) and rank and all(int(a) % rank != axis + rank for a in axes) else None
    elif op is Op.ATTENTION or op is Op.MATMUL:
        rows = op is Op.MATMUL and axis == -2 and not others
        new = axis if agree and (axis <= -3 or rows) else None
    return None if new is None else Part(new, part.left, part.right)
