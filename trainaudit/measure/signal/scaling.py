"""Rules for one value times, over or under stored numbers, for its negative, and for dropout. Imports ir and sibling modules."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from trainaudit.ir.graph import Layer
from trainaudit.ir.ops import Op
from trainaudit.measure.signal.arithmetic import stored
from trainaudit.measure.signal.curves import affine
from trainaudit.measure.signal.elementwise import INVERSE, divisor, inverse, through_slope
from trainaudit.measure.signal.prediction import NONE, Floats, Gradient, NotCovered, Signal
from trainaudit.measure.signal.products import multiply, multiply_back
from trainaudit.measure.signal.rule import Backflow, Rule
from trainaudit.measure.signal.weights import Model


def scale(model: Model, layer: Layer, inputs: Sequence[Signal]) -> Sequence[Signal]:
    """A value times a stored number, vector or table."""
    if len(inputs) == 2:
        return multiply(model, layer, inputs if layer.op is Op.MUL else [inputs[0], inverse(inputs[1])])
    if len(inputs) != 1:
        raise NotCovered("its operands are not known")
    x = inputs[0]
    if _is_inverse(layer):
        x = inverse(x)
    mean, second = _factor(model, layer, x)
    own = x.own * second
    if not isinstance(mean, float):
        square = mean * mean
        own = own + (second - square) * (
            x.mean * x.mean + x.shared
        )  # where the factor differs from position to position
        second = square
    shared = x.shared if x.shared is NONE else x.shared * second
    curve = affine(x.curve, mean, 0.0) if x.curve is not None and isinstance(mean, float) else None
    inner = None if curve is None else x.before
    return [Signal(x.mean * mean, own, shared, x.positions, x.axes, x.batch, inner, curve)]


def scale_back(
    model: Model,
    layer: Layer,
    inputs: Sequence[Signal],
    outputs: Sequence[Signal],
    gradients: Sequence[Gradient | None],
) -> Backflow:
    if len(inputs) == 2:
        if layer.op is Op.MUL:
            return multiply_back(model, layer, inputs, outputs, gradients)
        flow = multiply_back(model, layer, [inputs[0], inverse(inputs[1])], outputs, gradients)
        by_inverse = flow.inputs[1]
        return Backflow(
            [flow.inputs[0], None if by_inverse is None else through_slope(INVERSE, divisor(inputs[1]), by_inverse)]
        )
    x, gradient = inputs[0], gradients[0]
    assert gradient is not None
    if _is_inverse(layer):
        x = inverse(x)
    if layer.op is Op.NEG:
        return Backflow([gradient])
    mean, second = _factor(model, layer, x)
    shared = gradient.shared if gradient.shared is NONE else gradient.shared * (mean * mean)
    back = replace(
        gradient,
        own=gradient.total * second - shared,
        shared=shared,
        silent_units=gradient.silent_units if isinstance(mean, float) else 0.0,
    )
    found = {}
    for parameter, _, _ in stored(model, layer, x.axes) if layer.parameters else ():
        if parameter.trainable:
            per_element = x.positions * gradient.total * x.second
            common = x.positions * (x.positions - 1) * gradient.shared * (x.mean**2 + x.shared)
            units = max(1, gradient.own.size if parameter.size == 1 else 1)
            found[parameter.name] = float((per_element + common).mean()) * units
    return Backflow([through_slope(INVERSE, divisor(inputs[0]), back) if _is_inverse(layer) else back], found)


def _is_inverse(layer: Layer) -> bool:
    """Whether the one value stands under the stroke."""
    return layer.op is Op.DIV and layer.attributes.get("scalar_side") == "left"


def _factor(model: Model, layer: Layer, x: Signal) -> tuple[Floats | float, Floats | float]:
    """The factor per unit, and its second moment over positions (of a vector per unit the square)."""
    if layer.op is Op.NEG:
        return -1.0, 1.0
    scalar = layer.attributes.get("scalar")
    if isinstance(scalar, int | float):
        if layer.op is Op.DIV and layer.attributes.get("scalar_side") != "left":
            if scalar == 0.0:
                raise NotCovered("a division by zero")
            return 1.0 / scalar, 1.0 / scalar**2
        return float(scalar), float(scalar) ** 2
    mean: Floats | float = 1.0
    second: Floats | float = 1.0
    found = stored(model, layer, x.axes)
    if not found:
        raise NotCovered("its other operand is not known")
    for _, center, variance in found:
        if layer.op is Op.DIV:
            if not center.all() or variance.any():
                raise NotCovered("a division by numbers that differ from position to position")
            mean, second = mean / center, second / center**2
        else:
            mean, second = mean * center, second * (center * center + variance)
    return mean, second


# --- dropout -------------------------------------------------------------------------------------------------------------


def dropout(model: Model, layer: Layer, inputs: Sequence[Signal]) -> Sequence[Signal]:
    """In training form: a share p is set to zero, the rest divided by 1 − p (Srivastava et al. 2014)."""
    x, more = inputs[0], _more(layer)
    if more == 0.0:
        return [x] * len(layer.outputs)
    return [Signal(x.mean, x.own + more * x.second, x.shared, x.positions, x.axes, x.batch)]


def dropout_back(
    model: Model,
    layer: Layer,
    inputs: Sequence[Signal],
    outputs: Sequence[Signal],
    gradients: Sequence[Gradient | None],
) -> Backflow:
    gradient, more = gradients[0], _more(layer)
    if gradient is None:
        return Backflow([None])
    if more == 0.0:
        return Backflow([gradient])
    return Backflow(
        [
            replace(
                gradient,
                own=gradient.own + more * gradient.total,
                silent=gradient.silent / (1.0 + more),
                silent_units=0.0,
                silent_common=gradient.common_silence,
            )
        ]
    )


def _more(layer: Layer) -> float:
    """p / (1 − p)."""
    p = layer.attributes.get("p", 0.5)
    if not isinstance(p, int | float) or not 0.0 <= p < 1.0:
        raise NotCovered("its rate is not known")
    if layer.op is Op.ALPHA_DROPOUT:  # it keeps mean and variance
        return 0.0
    return p / (1.0 - p)


RULES = {
    **{op: Rule(scale, scale_back) for op in (Op.NEG, Op.MUL, Op.DIV)},
    Op.DROPOUT: Rule(dropout, dropout_back, 1), Op.ALPHA_DROPOUT: Rule(dropout, dropout_back, 1),
}  # fmt: skip
