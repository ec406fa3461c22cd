"""Rules for linear layers: the means go through the weights, the variances through their squares. Imports ir and sibling modules."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from trainaudit.ir.graph import Layer, Parameter, Role
from trainaudit.ir.ops import Op
from trainaudit.measure.signal.layout import Sizes, full, lay_out, lay_out_gradient
from trainaudit.measure.signal.matrices import AnyMatrix
from trainaudit.measure.signal.prediction import NONE, Floats, Gradient, NotCovered, Signal, mean_of
from trainaudit.measure.signal.rule import Backflow, Rule
from trainaudit.measure.signal.weights import Model


def forward(model: Model, layer: Layer, inputs: Sequence[Signal]) -> Sequence[Signal]:
    _, matrix, axis, sizes = _read(model, layer)
    x = lay_out(inputs[0], sizes, (axis,)) if inputs else _stored_input(model, layer)
    units = matrix.inputs
    factor = _factor(layer)
    columns = _columns(x.own, x.shared, units)
    mean, seconds = matrix.forward(x.mean if x.mean is NONE else full(x.mean, units), columns)
    if factor != 1.0:
        mean, seconds = mean * factor, seconds * factor**2
    bias = model.vector(layer, Role.BIAS)
    if bias is not None:
        mean = mean + (bias if bias.size in (1, mean.size) else 0.0)
    shared = NONE if x.shared is NONE else seconds[:, 1]
    return [Signal(mean, seconds[:, 0], shared, x.positions, (axis,), x.batch)]


def backward(
    model: Model,
    layer: Layer,
    inputs: Sequence[Signal],
    outputs: Sequence[Signal],
    gradients: Sequence[Gradient | None],
) -> Backflow:
    weight, matrix, axis, sizes = _read(model, layer)
    x, gradient = lay_out(inputs[0], sizes, (axis,)) if inputs else _stored_input(model, layer), gradients[0]
    assert gradient is not None
    units = matrix.outputs
    factor = _factor(layer) ** 2
    seconds = matrix.turned().forward(NONE, _columns(gradient.own, gradient.shared, units))[1]
    if factor != 1.0:
        seconds = seconds * factor
    back = Gradient(seconds[:, 0], NONE if gradient.shared is NONE else seconds[:, 1], silent=gradient.silent)
    found = {weight.name: weight_gradient(gradient, x, x.positions) * factor}
    name = layer.parameters.get(Role.BIAS.value)
    if name is not None:
        found[name] = bias_gradient(gradient, x.positions)
    return Backflow([lay_out_gradient(back, x, sizes, inputs[0].axes)] if inputs else [], found)


def _columns(own: Floats, shared: Floats, units: int) -> Floats:
    """The parts that are passed on, side by side, (units, 1) or (units, 2)."""
    own = full(own, units)
    return own[:, None] if shared is NONE else np.stack([own, full(shared, units)], axis=1)


def weight_gradient(gradient: Gradient, x: Signal, positions: float) -> float:
    """Mean square of Σ_p g_p·x_p over the elements of a weight that joins every unit of x with every unit of the gradient."""
    fixed = mean_of(x.mean * x.mean) * (1.0 - gradient.silent)
    total = positions * mean_of(gradient.total) * (mean_of(x.variance) + fixed)
    if gradient.shared is NONE or positions == 1:
        return total
    common = fixed + mean_of(x.shared)
    return total + positions * (positions - 1) * mean_of(gradient.shared) * common


def bias_gradient(gradient: Gradient, positions: float) -> float:
    """Mean square of Σ_p g_p."""
    square = positions * mean_of(gradient.own) * (1.0 - gradient.silent)
    return square + positions * positions * mean_of(gradient.shared) * (1.0 - gradient.common_silence)


def _read(model: Model, layer: Layer) -> tuple[Parameter, AnyMatrix, int, Sizes | None]:
    """The weight, the weight as a matrix, the axis that counts the units, and the sizes of the input."""
    weight = model.parameter(layer, Role.WEIGHT)
    if weight is None:
        raise NotCovered("its weight is not known")
    sizes = model.sizes(layer.inputs[0]) if layer.inputs else None
    wide = [k for k, size in enumerate(weight.shape) if size != 1]
    inside, outside = layer.attributes.get("in_features"), layer.attributes.get("out_features")
    if "equation" in layer.attributes or len(wide) > 2:
        raise NotCovered("its weight is no matrix")
    if not isinstance(inside, int) or not isinstance(outside, int):
        if len(weight.shape) != 2:
            raise NotCovered("the shape of its weight is not known")
        outside, inside = weight.shape
    is_turned = weight.unit_axis is not None and len(wide) == 2 and weight.unit_axis == wide[1]
    axis = -1
    if sizes is not None and len(sizes) > 1 and sizes[-1] != inside and sizes[-2] == inside:
        axis = -2
    matrix = model.matrix(weight, outside, inside, is_turned=is_turned)
    return weight, matrix, axis, sizes


_MOST_STORED = 1 << 20
"""Values of a stored state that are read; more is no state."""


def _stored_input(model: Model, layer: Layer) -> Signal:
    """Of a layer that reads a stored tensor instead of an activation, as the first step of a recurrence reads zeros: the same for every sample."""
    stored = [model.graph.parameters[name] for role, name in layer.parameters.items() if role == Role.CONSTANT.value]
    if len(stored) != 1 or not 0 < stored[0].size <= _MOST_STORED or "float" not in stored[0].dtype:
        raise NotCovered("what it reads is not known")
    shape = stored[0].shape
    rows = model.values(stored[0]).reshape(-1, shape[-1] if shape else 1)
    return Signal(rows.mean(axis=0), rows.var(axis=0), NONE, math.prod(shape[1:-1]))


def _factor(layer: Layer) -> float:
    alpha = layer.attributes.get("alpha", 1.0)
    return float(alpha) if isinstance(alpha, int | float) else 1.0


RULES = {Op.LINEAR: Rule(forward, backward, 1)}
