"""Rules for embedding tables: ids are uniform over the rows, or count the positions. Imports ir and sibling modules."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np

from trainaudit.ir.graph import Layer, Parameter, Role
from trainaudit.ir.ops import Op
from trainaudit.measure.signal.prediction import Floats, Gradient, NotCovered, Signal
from trainaudit.measure.signal.rule import Backflow, Rule
from trainaudit.measure.signal.weights import Model, finite
from trainaudit.measure.static.stored_blocks import widened

_SAMPLE = 1 << 20
"""Elements of a table that are looked at: its first rows."""
_FARTHEST = 24
"""Layers between an embedding and the size that its position ids are counted from."""


def forward(model: Model, layer: Layer, inputs: Sequence[Signal]) -> list[Signal]:
    table = _table(model, layer)
    rows, width = table.shape[0], prod(table.shape[1:])
    sizes = model.sizes(layer.outputs[0])
    if sizes is None:
        raise NotCovered("the shape of its ids is not known")
    fixed = _is_fixed(model, layer)
    batch = (
        None
        if fixed
        else inputs[0].batch
        if layer.inputs and inputs[0] is not None
        else -len(model.sizes(layer.inputs[0]) or ())
    )
    axes = tuple(range(-(len(table.shape) - 1), 0))
    batch = None if batch is None else batch - len(axes)
    places = [size for axis, size in enumerate(sizes[: len(sizes) - len(axes)]) if axis - len(sizes) != batch]
    shape = model.graph.values[layer.outputs[0]].shape or ()
    if (
        fixed and len(places) > 1 and not isinstance(shape[0], int)
    ):  # an open first axis counts samples, also of ids that are the same for all
        places = places[1:]
    positions = max(1, prod(places))
    values = _rows(table, width)
    if fixed:
        values = values[: max(1, min(positions, rows))]
    return [Signal(values.mean(axis=0), values.var(axis=0), positions=positions, axes=axes, batch=batch)]


def backward(
    model: Model,
    layer: Layer,
    inputs: Sequence[Signal],
    outputs: Sequence[Signal],
    gradients: Sequence[Gradient | None],
) -> Backflow:
    table, gradient = _table(model, layer), gradients[0]
    assert gradient is not None
    rows, positions = table.shape[0], outputs[0].positions
    total, shared = float(gradient.total.mean()), float(gradient.shared.mean())
    square = positions / rows * total
    if not _is_fixed(model, layer):  # two positions meet in one row with probability 1/rows
        square += positions * (positions - 1) / rows**2 * shared
    return Backflow([None] * len(inputs), {table.name: square})


def _table(model: Model, layer: Layer) -> Parameter:
    table = model.parameter(layer, Role.EMBEDDING) or model.parameter(layer, Role.POSITION)
    if table is None or len(table.shape) < 2 or not table.size:
        raise NotCovered("its table is not known")
    if table.quantized:
        raise NotCovered("its weights are no floating-point numbers")
    return table


def _rows(table: Parameter, width: int) -> Floats:
    """The first rows, (rows, width)."""
    size = min(table.size, max(_SAMPLE // width, 1) * width)
    block = next(iter(widened(table.data.blocks(size), size)))
    return finite(block.astype(np.float64)).reshape(-1, width)


def _is_fixed(model: Model, layer: Layer) -> bool:
    """Whether the ids do not depend on the inputs' values, as those of positions."""
    if Role.POSITION.value in layer.parameters:
        return True
    pending, seen = list(layer.inputs[:1]), 0
    while pending:
        value = model.graph.values.get(pending.pop())
        seen += 1
        if value is None or seen > _FARTHEST:
            return False
        if value.producer is None:
            return False
        maker = model.graph.layers[value.producer]
        if maker.op is not Op.SHAPE:
            pending.extend(maker.inputs)
    return True


RULES = {Op.EMBEDDING: Rule(forward, backward, 0)}
