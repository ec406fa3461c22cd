"""Rules for functions of one value, element by element: activation functions, sin, exp and the like. Imports ir and sibling modules."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from trainaudit.ir.graph import Layer, Role
from trainaudit.ir.ops import Op
from trainaudit.measure.signal.curves import Curve, Function, curve_of, positive_power, rectifier
from trainaudit.measure.signal.gaussian import slope_mean, slope_of_largest, slopes, through
from trainaudit.measure.signal.prediction import NONE, Gradient, NotCovered, Signal, mean_of
from trainaudit.measure.signal.rule import Backflow, Rule
from trainaudit.measure.signal.weights import Model


def forward(model: Model, layer: Layer, inputs: Sequence[Signal]) -> Sequence[Signal]:
    x = inputs[0]
    return [applied(_curve(model, layer, x), x)]


def applied(curve: Curve, x: Signal) -> Signal:
    """φ(x)."""
    if curve.leak is not None and x.curve is not None and x.curve.is_positive:
        return x
    z = x if x.before is None else x.before
    if x.curve is not None:
        curve = composed(curve, x.curve)
    mean, own, shared = through(curve, z.mean, z.own, z.shared)
    profile = x.profile if curve.leak is not None else None
    return Signal(mean, own, shared, x.positions, x.axes, x.batch, z, curve, profile)


INVERSE = Curve(lambda x: 1.0 / x, lambda x: -1.0 / (x * x))


def inverse(x: Signal) -> Signal:
    """1 / x."""
    if not _is_positive(x, allows_negative=True):
        raise NotCovered("a division by what may be zero")
    return applied(INVERSE, x)


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
    return Backflow([through_slope(_curve(model, layer, x), x, gradient)])


def through_slope(curve: Curve, x: Signal, gradient: Gradient) -> Gradient:
    """The gradient by x of a value φ(x)."""
    z = x if x.before is None else x.before
    if x.curve is not None:
        curve = replace(curve, slope=_after(x.curve, curve.slope), leak=None, wave=None, knots=x.curve.knots)
    pairs = gradient.shared is not NONE
    second, pair = slopes(curve, z.mean, z.own, z.shared, pairs=pairs)
    center = slope_mean(curve, z) if gradient.silent > 0.0 else NONE
    if gradient.chosen_of > 1:  # where a maximum is taken, a rectifier is more often open
        share, open_there = gradient.chosen_share, slope_of_largest(curve, z, gradient.chosen_of)
        second = share * open_there + (1.0 - share) * second
        pair = share * open_there**2 + (1.0 - share) * pair
        center = share * open_there + (1.0 - share) * center
    total = gradient.total * second
    silent = gradient.silent
    if silent > 0.0:  # what φ' lets through at some samples and not at others does not add up to zero any more
        silent *= min(1.0, mean_of(center * center) / max(mean_of(second), 1e-30))
    shared = np.minimum(gradient.shared * pair, total) if pairs else NONE
    return Gradient(total - shared if pairs else total, shared, silent=silent, profile=gradient.profile)


def _after(inner: Curve, outer: Function) -> Function:
    return lambda t: outer(inner.function(t))


def composed(outer: Curve, inner: Curve) -> Curve:
    """outer ∘ inner."""
    return Curve(
        lambda x: outer.function(inner.function(x)), lambda x: outer.slope(inner.function(x)) * inner.slope(x),
        inner.knots, inner.smooth_below, None, outer.is_positive,
    )  # fmt: skip


def _curve(model: Model, layer: Layer, x: Signal) -> Curve:
    op = layer.op
    if op is Op.PRELU:
        slope = model.vector(layer, Role.SLOPE)
        return rectifier(0.25 if slope is None or not slope.size else float(slope.mean()))
    if len(layer.inputs) > 1:
        raise NotCovered("no rule for it with a computed operand")
    power = _power(layer)
    if power is not None:
        may_be_zero = power > 0.0 and x.curve is not None and x.curve.is_positive
        if not may_be_zero and not _is_positive(x, allows_negative=op is Op.RECIPROCAL):
            raise NotCovered("it is taken of what may be zero or negative")
        if op is Op.RECIPROCAL:
            return INVERSE
        return positive_power(power)
    curve = curve_of(op, layer.attributes)
    if curve is None:
        raise NotCovered(f"no rule for {layer.raw_op}")
    return curve


_POWERS = {Op.LOG: 0.0, Op.SQRT: 0.5, Op.RECIPROCAL: -1.0}


def _power(layer: Layer) -> float | None:
    """The power that is only defined for positive values; 0 for a logarithm."""
    if layer.op is not Op.POW:
        return _POWERS.get(layer.op)
    power = layer.attributes.get("scalar")
    if not isinstance(power, int | float) or layer.attributes.get("scalar_side") == "left":
        return None
    return None if power in (2.0, 3.0, 4.0) else float(power)


def _is_positive(x: Signal, *, allows_negative: bool) -> bool:
    """Whether a value keeps off zero: it is a function that does, or its mean is well above its deviation."""
    if x.curve is not None and x.before is not None and x.curve.is_positive:
        z = x.before
        values = x.curve.function(z.mean[:, None] + np.sqrt(z.variance)[:, None] * np.linspace(-3.0, 3.0, 13))
        return bool((values > 1e-6 * x.mean[:, None]).all())
    mean = np.abs(x.mean) if allows_negative else x.mean
    return bool((mean > 3.0 * np.sqrt(x.variance)).all() and (mean > 0.0).all())


_COVERED = (
    Op.RELU, Op.LEAKY_RELU, Op.PRELU, Op.RELU6, Op.THRESHOLDED_RELU, Op.ELU, Op.SELU, Op.CELU, Op.GELU, Op.SILU, Op.MISH,
    Op.SIGMOID, Op.HARD_SIGMOID, Op.HARD_SWISH, Op.TANH, Op.HARD_TANH, Op.SOFTPLUS, Op.SOFTSIGN, Op.LOG_SIGMOID, Op.ABS, Op.ERF,
    Op.CLIP, Op.SIN, Op.COS, Op.EXP, Op.LOG, Op.SQRT, Op.RECIPROCAL, Op.POW, Op.MIN, Op.MAX,
)  # fmt: skip
_STEPS = (Op.SIGN, Op.FLOOR, Op.CEIL, Op.ROUND)

RULES = {
    **{op: Rule(forward, backward, 1) for op in _COVERED},
    **{op: Rule(forward, None, 1) for op in _STEPS},
}
