"""Rules for softmax and log-softmax outside attention, and for running sums. Imports ir and sibling modules."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from trainaudit.ir.graph import Layer
from trainaudit.ir.ops import Op
from trainaudit.measure.signal.layout import lay_out, lay_out_gradient
from trainaudit.measure.signal.prediction import NONE, Floats, Gradient, NotCovered, Signal
from trainaudit.measure.signal.rule import Backflow, Rule
from trainaudit.measure.signal.softmax_moments import SoftmaxMoments, softmax_moments
from trainaudit.measure.signal.weights import Model


def forward(model: Model, layer: Layer, inputs: Sequence[Signal]) -> list[Signal]:
    x, count, is_unit = _operand(model, layer, inputs[0])
    moments, chosen = _moments(x, count, is_unit)
    share = float(x.shared.mean()) / max(float(x.variance.mean()), 1e-300) if is_unit else 0.0
    if layer.op is Op.LOG_SOFTMAX:
        if not is_unit:
            raise NotCovered("a log-softmax over positions")
        spread = float(x.variance.mean()) * moments.squares
        variance = np.maximum(x.variance * (1.0 - 2.0 * chosen) + spread, 0.0)
        return [_parted(x.mean - x.mean.mean() - moments.log_sum, variance, share, x)]
    rest = max(moments.squares / count - float((chosen * chosen).mean()), 0.0)
    return [_parted(chosen, chosen * chosen * (rest / float((chosen * chosen).mean())), share, x)]


def backward(
    model: Model,
    layer: Layer,
    inputs: Sequence[Signal],
    outputs: Sequence[Signal],
    gradients: Sequence[Gradient | None],
) -> Backflow:
    x, count, is_unit = _operand(model, layer, inputs[0])
    moments, chosen = _moments(x, count, is_unit)
    gradient = gradients[0]
    assert gradient is not None
    if layer.op is Op.LOG_SOFTMAX:
        factor = 1.0 - 2.0 * chosen
        both = [part * factor + moments.squares * part.mean() for part in (gradient.own, gradient.shared)]
    elif is_unit:
        factor = chosen * chosen / float((chosen * chosen).mean()) * (moments.jacobian / count)
        both = [part.mean() * factor for part in (gradient.own, gradient.shared)]
    else:  # what all positions have in common cancels
        both = [gradient.own * (moments.jacobian / count), NONE]
    back = Gradient(np.maximum(both[0], 0.0), NONE if gradient.shared is NONE else both[1])
    return Backflow([lay_out_gradient(back, x, model.sizes(layer.inputs[0]), inputs[0].axes)])


def _operand(model: Model, layer: Layer, x: Signal) -> tuple[Signal, int, bool]:
    """The input, the number of scores that compete, and whether they are units; else they are positions."""
    sizes, dim = model.sizes(layer.inputs[0]), layer.attributes.get("dim", -1)
    if sizes is None or not isinstance(dim, int) or not -len(sizes) <= dim < len(sizes):
        raise NotCovered("the shape of its input is not known")
    axis = dim % len(sizes) - len(sizes)
    if axis == x.batch:
        raise NotCovered("a softmax over the batch")
    count = max(1, sizes[axis])
    if axis in x.axes:
        return lay_out(x, sizes, (axis,)), count, True
    return x, count, False


def _moments(x: Signal, count: int, is_unit: bool) -> tuple[SoftmaxMoments, Floats]:
    """The moments of all weights, and the mean weight of each unit: a softmax of the means, blurred by the variance as by Gumbel noise's."""
    if not is_unit:
        return softmax_moments(count, math.sqrt(float(x.own.mean()))), np.full(1, 1.0 / count)
    variance = float(x.variance.mean())
    moments = softmax_moments(count, math.sqrt(float(x.mean.var()) + variance))
    weights = np.exp((x.mean - x.mean.max()) / math.sqrt(1.0 + variance * 6.0 / math.pi**2))
    return moments, weights / (weights.mean() * count)


def _parted(mean: Floats, variance: Floats, share: float, x: Signal) -> Signal:
    shared = NONE if x.shared is NONE else variance * share
    return Signal(mean, variance - shared, shared, x.positions, x.axes, x.batch)


# --- running sums --------------------------------------------------------------------------------------------------------


def cumsum(model: Model, layer: Layer, inputs: Sequence[Signal]) -> list[Signal]:
    """y_t = Σ_{s ≤ t} x_s over positions."""
    x, count = inputs[0], _length(model, layer, inputs[0])
    mean = x.mean * ((count + 1) / 2.0)
    own, shared = _run(x.own, x.shared + x.mean * x.mean, count)
    shared = np.maximum(shared - mean * mean, 0.0)
    return [Signal(mean, own, shared, x.positions, x.axes, x.batch)]


def cumsum_back(
    model: Model,
    layer: Layer,
    inputs: Sequence[Signal],
    outputs: Sequence[Signal],
    gradients: Sequence[Gradient | None],
) -> Backflow:
    gradient = gradients[0]
    assert gradient is not None
    return Backflow([Gradient(*_run(gradient.own, gradient.shared, _length(model, layer, inputs[0])))])


def _run(own: Floats, common: Floats, count: int) -> tuple[Floats, Floats]:
    """Mean second moment of running sums: what differs between positions, and the mean product of two different ones."""
    total = own * ((count + 1) / 2.0) + common * ((count + 1) * (2 * count + 1) / 6.0)
    if count == 1:
        return own, common
    pairs = own * ((count + 1) / 3.0) + common * ((count + 1) * (3 * count + 2) / 12.0)
    return np.maximum(total - pairs, 0.0), pairs


def _length(model: Model, layer: Layer, x: Signal) -> int:
    sizes, dim = model.sizes(layer.inputs[0]), layer.attributes.get("dim")
    if sizes is None or not isinstance(dim, int) or not -len(sizes) <= dim < len(sizes):
        raise NotCovered("the axis that it sums along is not known")
    axis = dim % len(sizes) - len(sizes)
    if axis in x.axes or axis == x.batch:
        raise NotCovered("a running sum along units or samples")
    return max(1, sizes[axis])


RULES: dict[Op, Rule] = {
    **{op: Rule(forward, backward, 1) for op in (Op.SOFTMAX, Op.LOG_SOFTMAX)},
    Op.CUMSUM: Rule(cumsum, cumsum_back, 1),
}
