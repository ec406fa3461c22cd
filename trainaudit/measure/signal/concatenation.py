"""Rules for values side by side: along the units, or along the positions. Imports ir and sibling modules."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import prod

import numpy as np

from trainaudit.ir.graph import Layer
from trainaudit.ir.ops import Op
from trainaudit.measure.signal.arithmetic import stored
from trainaudit.measure.signal.layout import Sizes, cut, full, lay_out, lay_out_gradient
from trainaudit.measure.signal.prediction import NONE, Floats, Gradient, NotCovered, Signal
from trainaudit.measure.signal.rule import Backflow, Rule
from trainaudit.measure.signal.selection import is_empty
from trainaudit.measure.signal.weights import ASSUMED, Model


def concat(model: Model, layer: Layer, inputs: Sequence[Signal]) -> Sequence[Signal]:
    if not inputs:
        raise NotCovered("it has no operand")
    sizes, axis = _along(model, layer)
    operands = [(x, name) for x, name in zip(inputs, layer.inputs, strict=True) if not is_empty(model, name)]
    axes = _common_axes([x for x, _ in operands], axis, has_stored=bool(layer.parameters))
    parts = [lay_out(x, model.sizes(name), axes) for x, name in operands]
    counts = [model.sizes(name) for _, name in operands]
    widths = [1 if count is None else count[axis] or ASSUMED for count in counts]
    batch = next((x.batch for x in parts if x.batch is not None), None)
    if axis in axes:
        if sum(widths) != sizes[axis]:
            raise NotCovered("part of it is stored")
        mean, own = _joined(parts, counts, axis, "mean"), _joined(parts, counts, axis, "own")
        shared = NONE if all(x.shared is NONE for x in parts) else _joined(parts, counts, axis, "shared")
        before = None
        curve = parts[0].curve
        return [
            Signal(
                mean,
                own,
                shared,
                max(x.positions for x in parts),
                axes,
                batch,
                before,
                None if before is None else curve,
            )
        ]
    pieces: list[tuple[float, Floats, Floats, Floats]] = [
        (float(width), x.mean, x.own, x.shared) for width, x in zip(widths, parts, strict=True)
    ]
    for _, mean, variance in stored(model, layer, axes):
        rest = max(1, sizes[axis] - sum(widths)) if sizes[axis] else 1
        pieces.append((float(rest), mean, variance, NONE))
    total = sum(piece[0] for piece in pieces)
    shares = [piece[0] / total for piece in pieces]
    mean = sum((s * piece[1] for s, piece in zip(shares, pieces, strict=True)), NONE)
    second = sum((s * (p[1] ** 2 + p[2] + p[3]) for s, p in zip(shares, pieces, strict=True)), NONE)
    shared = sum((s * s * p[3] for s, p in zip(shares, pieces, strict=True)), NONE)
    shared = shared if any(p[3] is not NONE for p in pieces) else NONE
    own = np.maximum(second - mean * mean - shared, 0.0)
    if axis == batch:  # more samples, each with as many positions as before
        positions = max(x.positions for x in parts)
        if positions > 1:  # whole samples differ in what the parts differ in
            common = second - mean * mean - sum((s * p[2] for s, p in zip(shares, pieces, strict=True)), NONE)
            shared = np.maximum(common, 0.0)
            own = np.maximum(second - mean * mean - shared, 0.0)
        return [Signal(mean, own, shared, positions, axes, batch)]
    positions = max(1, round(max(x.positions / w for x, w in zip(parts, widths, strict=True)) * total))
    return [Signal(mean, own, shared, positions, axes, batch)]


def concat_back(
    model: Model,
    layer: Layer,
    inputs: Sequence[Signal],
    outputs: Sequence[Signal],
    gradients: Sequence[Gradient | None],
) -> Backflow:
    sizes, axis = _along(model, layer)
    gradient, axes = gradients[0], outputs[0].axes
    assert gradient is not None
    found: list[Gradient | None] = []
    start = 0
    for x, name in zip(inputs, layer.inputs, strict=True):
        if is_empty(model, name):
            found.append(None)
            continue
        mine = model.sizes(name)
        part = gradient
        if axis in axes and mine is not None:
            own = cut(gradient.own, sizes, axes, axis, start, mine[axis])
            shared = gradient.shared
            if shared.size > 1:
                shared = cut(shared, sizes, axes, axis, start, mine[axis])
            part = replace(gradient, own=own, shared=shared, silent_units=0.0)
            start += mine[axis]
        if x.axes != axes:
            part = lay_out_gradient(part, replace(x, axes=axes), mine, x.axes)
        found.append(part)
    parameters = {}
    for parameter, _, _ in stored(model, layer, axes):
        if parameter.trainable and axis not in axes:
            known = [model.sizes(name) for name in layer.inputs]
            rest = sizes[axis] - sum(each[axis] for each in known if each is not None)
            if parameter.size * sizes[axis] > rest * prod(sizes):
                raise NotCovered("only a part of a stored tensor is used")
            parameters[parameter.name] = float(gradient.total.mean())
    return Backflow(found, parameters)


def _along(model: Model, layer: Layer) -> tuple[Sizes, int]:
    sizes, dim = model.sizes(layer.outputs[0]), layer.attributes.get("dim")
    if sizes is None or not sizes or not isinstance(dim, int):
        raise NotCovered("the shape of its result is not known")
    return sizes, dim % len(sizes) - len(sizes)


def _common_axes(inputs: Sequence[Signal], axis: int, *, has_stored: bool) -> tuple[int, ...]:
    """The unit axes of operands that have differing units. Where all are alike and some of them are stored, not the axis of the concatenation."""
    for x in inputs:
        if x.mean.size > 1 or x.own.size > 1:
            return x.axes
    if has_stored and axis in inputs[0].axes:
        return (-1,) if axis != -1 else inputs[0].axes
    return inputs[0].axes


def _joined(parts: Sequence[Signal], counts: Sequence[Sizes | None], axis: int, name: str) -> Floats:
    arrays = []
    for x, sizes in zip(parts, counts, strict=True):
        if sizes is None:
            raise NotCovered("the shape of its input is not known")
        shape = tuple(sizes[a] for a in x.axes)
        arrays.append(full(getattr(x, name), prod(shape)).reshape(shape))
    return np.concatenate(arrays, axis=parts[0].axes.index(axis)).reshape(-1)


RULES = {Op.CONCAT: Rule(concat, concat_back)}
