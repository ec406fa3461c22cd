"""Rules for layers that repeat values or put zeros around them: expand, tile, resize, pad. Imports ir and sibling modules."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import prod

import numpy as np

from trainaudit.ir.graph import Layer, Parameter, Role
from trainaudit.ir.ops import Op
from trainaudit.measure.signal.arithmetic import stored_units
from trainaudit.measure.signal.layout import Sizes, count_of, lay_out, repeated
from trainaudit.measure.signal.prediction import NONE, Gradient, NotCovered, Signal, mean_of
from trainaudit.measure.signal.rule import Backflow, Rule
from trainaudit.measure.signal.sources import fill, stored_values
from trainaudit.measure.signal.weights import Model


def repeat(model: Model, layer: Layer, inputs: Sequence[Signal]) -> Sequence[Signal]:
    """Expand, tile and the enlarging of images by their nearest neighbors: the same values more often."""
    if "value" in layer.attributes:
        return fill(model, layer, inputs)
    if layer.op is Op.RESIZE and not layer.inputs:
        return stored_values(model, layer) or ()
    x = _repeated(model, layer, inputs)
    times, units = _times(model, layer, x)
    mean, own, shared = x.mean, x.own, x.shared
    if units > 1:
        token, after = model.parameter(layer, Role.POSITION), model.sizes(layer.outputs[0])
        before = token.shape if token is not None else model.sizes(layer.inputs[0])
        assert before is not None
        assert after is not None
        kept = tuple(a for a in x.axes if -a <= len(before) and before[a] == after[a])
        mean, own, shared = (repeated(array, after, kept, x.axes) for array in (mean, own, shared))
    if x.positions == 1 and times > 1:
        own, shared = NONE, own + shared
    after = model.sizes(layer.outputs[0])
    # a stored tensor may be seen in part only
    most = prod(after) // max(1, count_of(after, x.axes)) if after and all(after) else x.positions * times
    return [
        Signal(
            mean,
            own,
            shared,
            max(1, min(x.positions * times, most)),
            x.axes,
            x.batch,
            None if units > 1 or x.positions == 1 else x.before,
            x.curve,
        )
    ]


def _repeated(model: Model, layer: Layer, inputs: Sequence[Signal]) -> Signal:
    """What is repeated: an activation, or a stored tensor (a class token)."""
    found = model.parameter(layer, Role.POSITION)
    if found is None:
        if not inputs or inputs[0] is None:
            raise NotCovered("its input is not known")
        return inputs[0]
    sizes = model.sizes(layer.outputs[0])
    wide = [k - len(found.shape) for k, size in enumerate(found.shape) if size > 1] or [-1]
    mean, variance = stored_units(model.values(found), sizes, (wide[-1],))
    return Signal(mean, variance, NONE, max(1, found.size // mean.size), (wide[-1],), None)


def repeat_back(
    model: Model,
    layer: Layer,
    inputs: Sequence[Signal],
    outputs: Sequence[Signal],
    gradients: Sequence[Gradient | None],
) -> Backflow:
    if "value" in layer.attributes:
        return Backflow([None])
    x, gradient = _repeated(model, layer, inputs), gradients[0]
    assert gradient is not None
    token = model.parameter(layer, Role.POSITION)
    if token is not None and gradient.shared is NONE:
        return Backflow([None], {token.name: _uses(model, layer, token) * mean_of(gradient.own)})
    times, units = _times(model, layer, x)
    if units > 1:
        raise NotCovered("no rule for repeated units")
    own = gradient.own * times
    shared = NONE if gradient.shared is NONE else gradient.shared * times**2
    if x.positions == 1 and shared is not NONE:
        own, shared = own + shared, NONE
    back = replace(gradient, own=own, shared=shared)
    if token is not None:
        return Backflow([None], {token.name: float(back.total.mean())})
    return Backflow([back])


def _uses(model: Model, layer: Layer, token: Parameter) -> float:
    """How often one sample uses an element of a stored tensor, on average (rows of a table of relative positions more or less often)."""
    sizes = model.sizes(layer.outputs[0])
    if not sizes or not all(sizes):
        raise NotCovered("the shape of its result is not known")
    return prod(sizes[1:]) / token.size  # the first axis counts samples


def _off(x: Signal, sizes: Sizes, axes: frozenset[int]) -> Signal:
    """A value whose units are all alike, with its units counted by none of these axes."""
    if x.mean.size > 1 or x.own.size > 1 or x.shared is not NONE or axes.isdisjoint(x.axes):
        return x
    free = [axis for axis in range(1 - len(sizes), 0) if axis not in axes]
    return lay_out(x, sizes, (free[0],)) if free else x


def _times(model: Model, layer: Layer, x: Signal) -> tuple[int, int]:
    """How often positions and units are repeated."""
    token = model.parameter(layer, Role.POSITION)
    before = token.shape if token is not None else model.sizes(layer.inputs[0])
    after = model.sizes(layer.outputs[0])
    if before is None or after is None or len(after) < len(before):
        raise NotCovered("the shape of its result is not known")
    positions = units = 1
    if len(before) == len(after):
        x = _off(x, before, frozenset(a for a in range(-len(before), 0) if before[a] != after[a]))
    for axis in range(-len(after), 0):
        old, new = before[axis] if -axis <= len(before) else 1, after[axis]
        if old == new or axis == x.batch:
            continue
        if old <= 0 or new <= 0:
            raise NotCovered("the shape of its result is not known")
        if axis in x.axes:
            units *= new // old
        elif -axis == len(after) and x.batch is None:
            continue  # one for each sample
        else:
            positions *= max(1, round(new / old))
    return positions, units


def pad(model: Model, layer: Layer, inputs: Sequence[Signal]) -> Sequence[Signal]:
    x, share, grown = _padded(model, layer, inputs[0])
    if layer.attributes.get("mode", "constant") != "constant":
        return [replace(x, positions=grown)]
    mean = x.mean * share
    shared = x.shared if x.shared is NONE else x.shared * share**2
    own = x.second * share - mean * mean - shared
    return [Signal(mean, np.maximum(own, 0.0), shared, grown, x.axes, x.batch)]


def pad_back(
    model: Model,
    layer: Layer,
    inputs: Sequence[Signal],
    outputs: Sequence[Signal],
    gradients: Sequence[Gradient | None],
) -> Backflow:
    gradient = gradients[0]
    assert gradient is not None
    _padded(model, layer, inputs[0])
    return Backflow([gradient])


def _padded(model: Model, layer: Layer, x: Signal) -> tuple[Signal, float, int]:
    before, after = model.sizes(layer.inputs[0]), model.sizes(layer.outputs[0])
    if before is None or after is None or len(before) != len(after):
        raise NotCovered("the shape of its result is not known")
    x = _off(x, before, frozenset(a for a in range(-len(before), 0) if before[a] != after[a]))
    if any(before[axis] != after[axis] for axis in x.axes):
        raise NotCovered("no rule for padded units")
    ratio = 1.0
    for old, new in zip(before, after, strict=True):
        if old != new:
            if old <= 0 or new <= 0:
                raise NotCovered("the shape of its result is not known")
            ratio *= new / old
    return x, min(1.0, 1.0 / ratio), max(1, round(x.positions * ratio))


RULES = {
    Op.EXPAND: Rule(repeat, repeat_back, 0), Op.TILE: Rule(repeat, repeat_back, 0), Op.RESIZE: Rule(repeat, repeat_back, 1),
    Op.PAD: Rule(pad, pad_back, 1),
}  # fmt: skip
