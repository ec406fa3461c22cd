"""Rules for functions of one value, element by element: activation functions, sin, exp and the like. Imports ir and sibling modules."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from trainaudit.ir.graph import Layer, Role
from trainaudit.ir.ops import Op
from trainaudit.measure.signal.curves import Curve, Function, affine, curve_of, positive_power, rectifier
from trainaudit.measure.signal.gaussian import log_normal, slope_mean, slope_of_largest, slopes, through
from trainaudit.measure.signal.prediction import NONE, Floats, Gradient, NotCovered, Signal, mean_of
from trainaudit.measure.signal.rule import Backflow, Rule
from trainaudit.measure.signal.weights import Model


def forward(model: Model, layer: Layer, inputs: Sequence[Signal]) -> Sequence[Signal]:
    return [applied(*_curve(model, layer, inputs[0]))]


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
    return applied(INVERSE, divisor(x))


def divisor(x: Signal) -> Signal:
    """x with a distribution that keeps off zero, to divide by it."""
    found = _off_zero(x, allows_negative=True)
    if found is None:
        raise NotCovered("a division by what may be zero")
    return found


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
    return Backflow([through_slope(*_curve(model, layer, x), gradient)])


def through_slope(curve: Curve, x: Signal, gradient: Gradient) -> Gradient:
    """The gradient by x of a value φ(x)."""
    z = x if x.before is None else x.before
    pairs = gradient.shared is not NONE
    inner = x.curve
    is_steep = inner is not None and float(curve.slope(_ORIGIN)[0]) > _STEEP
    if inner is not None:
        slope = _after(inner, curve.slope)
        if is_steep:  # as a root at zero: where a rectifier before it is shut, nothing of that gradient goes on
            slope = _where_open(inner, slope)
        curve = replace(curve, slope=slope, leak=None, wave=None, knots=inner.knots)
    second, pair = slopes(curve, z.mean, z.own, z.shared, pairs=pairs)
    if inner is not None and is_steep:
        is_open = replace(inner, slope=_where_open(inner, np.ones_like), leak=None, wave=None)
        opened, both = slopes(is_open, z.mean, z.own, z.shared, pairs=pairs)
        second = second / np.maximum(opened, _TINY)
        pair = pair / np.maximum(both, _TINY) if pairs else pair
    center = slope_mean(curve, z) if gradient.silent > 0.0 else NONE
    if gradient.chosen_of > 1:  # where a maximum is taken, a rectifier is more often open
        share, open_there = gradient.chosen_share, slope_of_largest(curve, z, gradient.chosen_of)
        second = share * open_there + (1.0 - share) * second
        pair = share * open_there**2 + (1.0 - share) * pair
        center = share * open_there + (1.0 - share) * center
    total = gradient.total * second
    silent, common = gradient.silent, None
    if silent > 0.0:  # what φ' lets through at some samples and not at others does not add up to zero any more
        square = mean_of(center * center)
        silent *= min(1.0, square / max(mean_of(second), 1e-30))
        if pairs:
            common = gradient.common_silence * min(1.0, square / max(mean_of(pair), 1e-30))
    shared = np.minimum(gradient.shared * pair, total) if pairs else NONE
    return Gradient(
        total - shared if pairs else total, shared, silent=silent, profile=gradient.profile, silent_common=common
    )


_ORIGIN: Floats = np.zeros(1)
_STEEP = 1e6
"""A slope at zero that stands for an infinite one."""


def _where_open(inner: Curve, outer: Function) -> Function:
    return lambda t: np.where(inner.slope(t) != 0.0, outer(t), 0.0)


def _after(inner: Curve, outer: Function) -> Function:
    return lambda t: outer(inner.function(t))


def composed(outer: Curve, inner: Curve) -> Curve:
    """outer ∘ inner."""
    return Curve(
        lambda x: outer.function(inner.function(x)), lambda x: outer.slope(inner.function(x)) * inner.slope(x),
        inner.knots, inner.smooth_below, None, outer.is_positive,
    )  # fmt: skip


def _curve(model: Model, layer: Layer, x: Signal) -> tuple[Curve, Signal]:
    """The function of a layer, and its input as it is to be described for it."""
    op = layer.op
    if op is Op.PRELU:
        slope = model.vector(layer, Role.SLOPE)
        return rectifier(0.25 if slope is None or not slope.size else float(slope.mean())), x
    if len(layer.inputs) > 1:
        raise NotCovered("no rule for it with a computed operand")
    power = _power(layer)
    if power is not None:
        if power <= 0.0 or x.curve is None or not x.curve.is_positive:  # else zero does no harm
            kept = _off_zero(x, allows_negative=op is Op.RECIPROCAL)
            if kept is None:
                raise NotCovered("it is taken of what may be zero or negative")
            x = kept
        return INVERSE if op is Op.RECIPROCAL else positive_power(power), x
    curve = curve_of(op, layer.attributes)
    if curve is None:
        raise NotCovered(f"no rule for {layer.raw_op}")
    return curve, x


_POWERS = {Op.LOG: 0.0, Op.SQRT: 0.5, Op.RECIPROCAL: -1.0}


def _power(layer: Layer) -> float | None:
    """The power that is only defined for positive values; 0 for a logarithm."""
    if layer.op is not Op.POW:
        return _POWERS.get(layer.op)
    power = layer.attributes.get("scalar")
    if not isinstance(power, int | float) or layer.attributes.get("scalar_side") == "left":
        return None
    return None if power in (2.0, 3.0, 4.0) else float(power)


_NEAR, _FAR = 3.0, 9.0
"""Standard deviations within which a value must keep off zero, and as far as quadratures look."""


def _off_zero(x: Signal, *, allows_negative: bool) -> Signal | None:
    """A value that keeps off zero, described so that its far tail does too; None where it may be zero. Norms, sums of positive numbers and
    standard deviations are positive, but a Gaussian tail reaches zero, or the small number that they are clipped at, and 1/x of that would
    outweigh all else: a log-normal tail stands for it, unless the value is a function whose tail falls no faster."""
    if x.curve is not None and x.before is not None and x.curve.is_positive:
        near, far = (_smallest(x, reach) / np.maximum(np.abs(x.mean), _TINY) for reach in (_NEAR, _FAR))
        if not (near > 1e-6).all():
            return None
        return x if (far >= 0.5 * near ** (_FAR / _NEAR)).all() else log_normal(_plain(x))
    sign = -1.0 if allows_negative and (x.mean < 0.0).all() else 1.0
    if not (sign * x.mean > _NEAR * np.sqrt(x.variance)).all():
        return None
    if sign > 0.0:
        return log_normal(_plain(x))
    mirrored = log_normal(replace(_plain(x), mean=-x.mean))
    assert mirrored.curve is not None
    return replace(mirrored, mean=x.mean, curve=affine(mirrored.curve, -1.0, 0.0))


_TINY = 1e-300


def _plain(x: Signal) -> Signal:
    return replace(x, before=None, curve=None)


def _smallest(x: Signal, reach: float) -> Floats:
    """The smallest value of each unit within so many standard deviations of the Gaussian value that it is a function of."""
    z, curve = x.before, x.curve
    assert z is not None
    assert curve is not None
    points = z.mean[:, None] + np.sqrt(z.variance)[:, None] * np.linspace(-reach, reach, 13)
    found: Floats = curve.function(points).min(axis=1)
    return found


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
