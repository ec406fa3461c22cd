"""Rules for layers that take values out by their indices: one of an axis, or several in any order. Imports ir and sibling modules."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import prod

import numpy as np

from trainaudit.frozen import frozen
from trainaudit.ir.graph import Layer, Role
from trainaudit.ir.ops import Op
from trainaudit.measure.signal.layout import Sizes, full
from trainaudit.measure.signal.movement import reshaped
from trainaudit.measure.signal.prediction import NONE, Floats, Gradient, NotCovered, Signal
from trainaudit.measure.signal.rule import Backflow, Rule
from trainaudit.measure.signal.selection import diluted
from trainaudit.measure.signal.weights import Model

_UNKNOWN = "what it takes out is not known"


@frozen
class _Taking:
    """`axis` (from the end) is where `count` of its `size` entries are taken out; `indices` are which, None where they are computed; `added` is
    how many axes the result has more."""

    axis: int
    size: int
    count: int
    indices: tuple[int, ...] | None
    added: int

    def moved(self, axis: int) -> int:
        """Where another axis is in the result."""
        return axis - self.added if axis < self.axis else axis


def forward(model: Model, layer: Layer, inputs: Sequence[Signal]) -> Sequence[Signal]:
    x = inputs[0]
    whole = _as_view(model, layer)
    if whole is not None:
        return [reshaped(x, *whole)]
    taking = _taking(model, layer, x)
    axes = tuple(taking.moved(axis) for axis in x.axes if axis != taking.axis or taking.added >= 0)
    batch = None if x.batch is None else taking.moved(x.batch)
    if taking.axis in x.axes:
        if taking.indices is None or taking.added > 0:
            raise NotCovered("it takes units out in an order that is not known")
        sizes = model.sizes(layer.inputs[0])
        assert sizes is not None
        return [replace(_units(x, sizes, taking), axes=axes, batch=batch)]
    positions = max(1, round(x.positions * taking.count / taking.size))
    return [_placed(x, positions, axes, batch)]


def _placed(x: Signal, positions: int, axes: tuple[int, ...], batch: int | None) -> Signal:
    """The same distribution at fewer or more positions."""
    own, shared = x.own, x.shared
    if positions == 1 and shared is not NONE:
        own, shared = own + shared, NONE
    inner = None if x.before is None else _placed(x.before, positions, axes, batch)
    return Signal(x.mean, own, shared, positions, axes, batch, inner, x.curve)


def _units(x: Signal, sizes: Sizes, taking: _Taking) -> Signal:
    """Those units of x."""
    shape = tuple(sizes[axis] for axis in x.axes)
    place = x.axes.index(taking.axis)

    indices = list(taking.indices or ())

    def chosen(array: Floats) -> Floats:
        return array if array.size == 1 else array.reshape(shape).take(indices, axis=place).reshape(-1)

    inner = None if x.before is None else _units(x.before, sizes, taking)
    shared = NONE if x.shared is NONE else chosen(x.shared)
    return replace(x, mean=chosen(x.mean), own=chosen(x.own), shared=shared, before=inner)


def backward(
    model: Model,
    layer: Layer,
    inputs: Sequence[Signal],
    outputs: Sequence[Signal],
    gradients: Sequence[Gradient | None],
) -> Backflow:
    x, gradient = inputs[0], gradients[0]
    assert gradient is not None
    whole = _as_view(model, layer)
    if whole is not None:
        return Backflow([Gradient(np.full(1, float(gradient.total.mean())))])
    taking = _taking(model, layer, x)
    if taking.axis not in x.axes:
        share = taking.count / taking.size
        if share < 1.0:
            return Backflow(
                [Gradient(gradient.total * share) if outputs[0].positions == 1 else diluted(gradient, share)]
            )
        shared = gradient.shared if gradient.shared is NONE else gradient.shared * share**2
        return Backflow([replace(gradient, own=gradient.own * share, shared=shared)])
    sizes = model.sizes(layer.inputs[0])
    assert sizes is not None
    assert taking.indices is not None
    shape = tuple(sizes[axis] for axis in x.axes)
    place = x.axes.index(taking.axis)
    narrow = tuple(taking.count if axis == taking.axis else size for axis, size in zip(x.axes, shape, strict=True))
    arrays = []
    for array in (gradient.own, gradient.shared):
        wide = np.zeros(shape)
        moved = np.moveaxis(full(array, prod(narrow)).reshape(narrow), place, 0)
        np.add.at(np.moveaxis(wide, place, 0), np.array(taking.indices), moved)
        arrays.append(wide.reshape(-1))
    return Backflow([Gradient(arrays[0], NONE if gradient.shared is NONE else arrays[1])])


def _as_view(model: Model, layer: Layer) -> tuple[Sizes, Sizes] | None:
    """The shapes where a flat tensor is viewed with other sizes and strides (aten.as_strided) and nothing is left out."""
    before, after = model.sizes(layer.inputs[0]), model.sizes(layer.outputs[0])
    if before is None or after is None or len(before) != 1 or "index" in layer.attributes:
        return None
    return (before, after) if prod(after) == before[0] > 0 else None


def _taking(model: Model, layer: Layer, x: Signal) -> _Taking:
    sizes, dim, index = model.sizes(layer.inputs[0]), layer.attributes.get("dim"), layer.attributes.get("index")
    result = model.sizes(layer.outputs[0])
    if not sizes or result is None or not isinstance(dim, int) or dim >= len(sizes):
        raise NotCovered(_UNKNOWN)
    axis = dim % len(sizes) - len(sizes)
    size = sizes[axis]
    if size <= 0:
        raise NotCovered(_UNKNOWN)
    if axis == x.batch:
        raise NotCovered("it takes samples out")
    added = 0 if layer.raw_op.startswith("GatherElements") else len(result) - len(sizes)
    count = prod(result[axis + len(sizes) : axis + len(sizes) + added + 1])
    if count <= 0 or added < -1:
        raise NotCovered(_UNKNOWN)
    if isinstance(index, int):
        return _Taking(axis, size, 1, (index % size,), added)
    stored = model.parameter(layer, Role.CONSTANT)
    indices = None
    if stored is not None and len(layer.inputs) == 1 and "int" in stored.dtype and stored.size == count:
        indices = tuple(int(value) % size for value in np.asarray(stored.data.read()).reshape(-1))
    return _Taking(axis, size, count, indices, added)


RULES = {Op.GATHER: Rule(forward, backward, 1)}
