"""Rules for values that do not come from an activation: random numbers, and integer inputs that are reckoned with. Imports ir and sibling modules."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from math import prod

import numpy as np

from trainaudit.ir.graph import Layer
from trainaudit.ir.ops import SHAPING, Op
from trainaudit.measure.signal.curves import Curve, normal_cdf
from trainaudit.measure.signal.movement import keep_back
from trainaudit.measure.signal.prediction import NONE, Floats, Gradient, NotCovered, Signal
from trainaudit.measure.signal.rule import Backflow, Rule
from trainaudit.measure.signal.weights import ASSUMED, Model

STEPS = 1000
"""An integer for each sample is a step below this (Ho et al. 2020, arXiv:2006.11239)."""
_ONE: Floats = np.ones(1)
_UNIFORM = Curve(normal_cdf, lambda x: np.exp(-0.5 * x * x) / np.sqrt(2.0 * np.pi), is_positive=True)


def random(model: Model, layer: Layer, inputs: Sequence[Signal]) -> Sequence[Signal]:
    """Random numbers: normal, or uniform between 0 and 1 (the normal distribution function of a normal number)."""
    normal = _independent(model, layer.outputs[0], NONE, _ONE)
    if layer.raw_op.startswith("RandomNormal"):
        return [normal]
    if not layer.raw_op.startswith("RandomUniform"):
        raise NotCovered(f"no rule for {layer.raw_op}")
    center, variance = np.full(1, 0.5), np.full(1, 1.0 / 12.0)
    return [Signal(center, variance, NONE, normal.positions, normal.axes, normal.batch, normal, _UNIFORM)]


def cast(model: Model, layer: Layer, inputs: Sequence[Signal]) -> Sequence[Signal]:
    """An activation stays what it is. Integer inputs become masks without a gap where there is one for each position, steps of a process where
    there is one for each sample."""
    if "float" not in str(layer.attributes.get("to", "float")):
        raise NotCovered("its result is no floating-point number")
    if inputs and inputs[0] is not None:
        return [inputs[0]]
    value = model.graph.values.get(layer.inputs[0]) if layer.inputs else None
    if value is None or value.name not in model.graph.inputs or value.shape is None:
        raise NotCovered("what it casts is not known")
    if len(value.shape) < 2 or value.shape[1:] == (1,):
        return [_independent(model, value.name, np.full(1, 0.5 * STEPS), np.full(1, STEPS**2 / 12.0))]
    return [_independent(model, value.name, _ONE, NONE)]


def fill(model: Model, layer: Layer, inputs: Sequence[Signal]) -> Sequence[Signal]:
    """One number everywhere."""
    value = layer.attributes.get("value")
    if not isinstance(value, int | float) or not math.isfinite(value):
        raise NotCovered("its values are not known")
    return [replace(_independent(model, layer.outputs[0], np.full(1, float(value)), NONE), batch=None)]


def masked(model: Model, layer: Layer, inputs: Sequence[Signal]) -> Sequence[Signal]:
    """A value that is filled in where a mask says so: as it is, where the mask is made of inputs alone, which have no gaps."""
    if "fill" not in layer.attributes or len(layer.inputs) != 2 or inputs[1] is None or layer.parameters:
        raise NotCovered(f"no rule for {layer.raw_op}")
    pending, seen = [layer.inputs[0]], 0
    while pending:
        name = pending.pop()
        value = model.graph.values.get(name)
        seen += 1
        if value is None or seen > _FARTHEST:
            raise NotCovered("its mask is not known")
        if value.producer is None:
            if "float" in (value.dtype or "float"):
                raise NotCovered("its mask is not known")
            continue
        maker = model.graph.layers[value.producer]
        if maker.op not in _MASKING or maker.parameters:
            raise NotCovered("its mask is not known")
        if maker.op is not Op.CONSTANT:
            pending.extend(maker.inputs)
    return [inputs[1]]


def masked_back(
    model: Model,
    layer: Layer,
    inputs: Sequence[Signal],
    outputs: Sequence[Signal],
    gradients: Sequence[Gradient | None],
) -> Backflow:
    return Backflow([None, gradients[0]])


_MASKING = SHAPING | {Op.CAST, Op.LOGICAL, Op.MUL, Op.EXPAND, Op.CONSTANT}
_FARTHEST = 64


def stored_values(model: Model, layer: Layer) -> Sequence[Signal] | None:
    """Values that come from a stored tensor alone (a table of sines), by the moments of the whole tensor; None where the layer does not just move
    them."""
    if layer.op not in _MOVING or len(layer.parameters) != 1:
        return None
    (name,) = layer.parameters.values()
    stored = model.graph.parameters.get(name)
    if stored is None or "float" not in stored.dtype or not stored.size:
        return None
    mean, std = model.moments(stored)
    found = []
    for output in layer.outputs:
        signal = _independent(model, output, np.full(1, mean), np.full(1, std * std))
        found.append(replace(signal, batch=None))
    return found


_MOVING = SHAPING | {Op.GATHER, Op.CONCAT, Op.RESIZE}


def _independent(model: Model, name: str, mean: Floats, variance: Floats) -> Signal:
    """A value whose elements are all alike."""
    sizes = model.sizes(name)
    if sizes is None:
        raise NotCovered("its shape is not known")
    rank = len(sizes)
    positions = prod(size or ASSUMED for size in sizes[1:-1])
    return Signal(mean, variance, NONE, positions, (-1,) if rank > 1 else (), -rank if rank else None)


RULES = {
    Op.CONSTANT: Rule(fill, None, 0),
    Op.RANDOM: Rule(random, None, 0),
    Op.CAST: Rule(cast, keep_back, 0),
    Op.WHERE: Rule(masked, masked_back, 0),
}
