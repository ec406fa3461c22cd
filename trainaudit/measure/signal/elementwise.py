"""Rules for functions of one value, element by element: activation functions, sin, exp and the like. Imports ir and sibling modules."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from trainaudit.ir.graph import Layer, Role
from trainaudit.ir.ops import Op
from trainaudit.measure.signal.curves import Curve, Function, curve_of, rectifier
from trainaudit.measure.signal.gaussian import slope_of_largest, slopes, through
from trainaudit.measure.signal.prediction import NONE, Gradient, NotCovered, Signal
from trainaudit.measure.signal.rule import Backflow, Rule
from trainaudit.measure.signal.weights import Model


def forward(model: Model, layer: Layer, inputs: Sequence[Signal]) -> Sequence[Signal]:
    curve = _curve(model, layer)
    x = inputs[0]
    if curve.leak is not None and x.curve is not None and x.curve.is_positive:
        return [x]
    z = x if x.before is None else x.before
    if x.curve is not None:
        curve = composed(curve, x.curve)
    mean, own, shared = through(curve, z.mean, z.own, z.shared)
    return [Signal(mean, own, shared, x.positions, x.axes, x.batch, z, curve)]


def backward(
    model: Model,
    layer: Layer,
    inputs: Sequence[Signal],
    outputs: Sequence[Signal],
    gradients: Sequence[Gradient | None],
) -> Backflow:
    x, gradient = inputs[0], gradients[0]
    assert gradient is not None
    if outputs[0] is x:
        return Backflow([gradient])
    return Backflow([through_slope(_curve(model, layer), x, gradient)])


def through_slope(curve: Curve, x: Signal, gradient: Gradient) -> Gradient:
    """The gradient by x of a value φ(x)."""
    z = x if x.before is None else x.before
    if x.curve is not None:
        curve = replace(curve, slope=_after(x.curve, curve.slope), leak=None, knots=x.curve.knots)
    pairs = gradient.shared is not NONE
    second, pair = slopes(curve, z.mean, z.own, z.shared, pairs=pairs)
    if gradient.chosen_of > 1:  # where a maximum is taken, a rectifier is more often open
        second = slope_of_largest(curve, z, gradient.chosen_of)
    total = gradient.total * second
    if not pairs:
        return Gradient(total)
    shared = np.minimum(gradient.shared * pair, total)
    return Gradient(total - shared, shared)


def _after(inner: Curve, outer: Function) -> Function:
    return lambda t: outer(inner.function(t))


def composed(outer: Curve, inner: Curve) -> Curve:
    """outer ∘ inner."""
    return Curve(
        lambda x: outer.function(inner.function(x)), lambda x: outer.slope(inner.function(x)) * inner.slope(x),
        inner.knots, inner.smooth_below, None, outer.is_positive,
    )  # fmt: skip


def _curve(model: Model, layer: Layer) -> Curve:
    if layer.op is Op.PRELU:
        slope = model.vector(layer, Role.SLOPE)
        return rectifier(0.25 if slope is None or not slope.size else float(slope.mean()))
    curve = curve_of(layer.op, layer.attributes)
    if curve is None:
        raise NotCovered(f"no rule for {layer.raw_op}")
    return curve


RULES = {
    op: Rule(forward, backward, 1)
    for op in (
        Op.RELU, Op.LEAKY_RELU, Op.PRELU, Op.RELU6, Op.THRESHOLDED_RELU, Op.ELU, Op.SELU, Op.CELU, Op.GELU, Op.SILU, Op.MISH,
        Op.SIGMOID, Op.HARD_SIGMOID, Op.HARD_SWISH, Op.TANH, Op.HARD_TANH, Op.SOFTPLUS, Op.SOFTSIGN, Op.LOG_SIGMOID, Op.ABS, Op.ERF,
        Op.CLIP,
    )
}  # fmt: skip
