"""Rules for products of activations: gates, gated linear units, matrix products, softmax outside attention. Imports ir and sibling modules.

The factors count as independent, which they are behind different random weights.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from trainaudit.ir.graph import Layer
from trainaudit.ir.ops import Op
from trainaudit.measure.signal.arithmetic import aligned, handed_back
from trainaudit.measure.signal.curves import Curve, curve_of
from trainaudit.measure.signal.gaussian import log_normal, slopes, through
from trainaudit.measure.signal.layout import full, lay_out, lay_out_gradient, spread_over_positions
from trainaudit.measure.signal.prediction import NONE, Floats, Gradient, NotCovered, Signal
from trainaudit.measure.signal.rule import Backflow, Rule
from trainaudit.measure.signal.weights import Model


def product(x: Signal, y: Signal) -> Signal:
    """x · y of two values in one layout, each with the same number of positions or none."""
    positions = max(x.positions, y.positions)
    x, y = spread_over_positions(x, positions), spread_over_positions(y, positions)
    mean = x.mean * y.mean
    second = x.second * y.second
    together = (x.mean * x.mean + x.shared) * (y.mean * y.mean + y.shared)
    shared = np.maximum(together - mean * mean, 0.0) if positions > 1 else NONE
    own = np.maximum(second - mean * mean - shared, 0.0)
    return Signal(mean, own, shared, positions, x.axes, x.batch if x.batch is not None else y.batch)


def multiply(model: Model, layer: Layer, inputs: Sequence[Signal]) -> list[Signal]:
    """The product of two values. Two functions of one value are one function of it."""
    x, y = inputs[0], inputs[1]
    curve = _curve_of_both(x, y)
    if curve is None:
        result = product(*aligned(model, layer, inputs))
        both = all(factor.curve is not None and factor.curve.is_positive for factor in (x, y))
        return [log_normal(result) if both else result]
    z = x if x.before is None else x.before
    return [Signal(*through(curve, z.mean, z.own, z.shared), x.positions, x.axes, x.batch, z, curve)]


def multiply_back(
    model: Model,
    layer: Layer,
    inputs: Sequence[Signal],
    outputs: Sequence[Signal],
    gradients: Sequence[Gradient | None],
) -> Backflow:
    x, y, gradient = inputs[0], inputs[1], gradients[0]
    assert gradient is not None
    wide = aligned(model, layer, inputs)
    flows = [
        handed_back(model, layer, slot, inputs[slot], outputs[0], by_factor(gradient, wide[slot], wide[1 - slot]))
        for slot in (0, 1)
    ]
    curve = _curve_of_both(x, y)
    for slot, z in enumerate((x, y)):
        other = inputs[1 - slot]
        if curve is not None and z.before is None and other.curve is not None:
            flows[slot] = _directly(curve, z, other.curve, gradient, flows[1 - slot])
    if layer.inputs[0] == layer.inputs[1]:  # 2x, not two independent x
        return Backflow([Gradient(2.0 * flow.own, 2.0 * flow.shared) for flow in flows])
    return Backflow(flows)


def _directly(curve: Curve, z: Signal, inner: Curve, gradient: Gradient, by_inner: Gradient) -> Gradient:
    """The gradient by z of z · f(z) without what will come back through f: together they are that of the one function they make."""
    pairs = gradient.shared is not NONE
    whole, whole_pair = slopes(curve, z.mean, z.own, z.shared, pairs=pairs)
    later, later_pair = slopes(inner, z.mean, z.own, z.shared, pairs=pairs)
    total = np.maximum(gradient.total * whole - by_inner.total * later, 0.0)
    if not pairs:
        return Gradient(total)
    shared = np.clip(gradient.shared * whole_pair - by_inner.shared * later_pair, 0.0, total)
    return Gradient(total - shared, shared)


def _curve_of_both(x: Signal, y: Signal) -> Curve | None:
    """The product as a function of the Gaussian value that both factors are functions of, if there is one."""
    if (x if x.before is None else x.before) is not (y if y.before is None else y.before):
        return None
    f, g = (_IDENTITY if factor.curve is None else factor.curve for factor in (x, y))
    return Curve(
        lambda z: f.function(z) * g.function(z), lambda z: f.slope(z) * g.function(z) + f.function(z) * g.slope(z),
        tuple(sorted({*f.knots, *g.knots})), min(f.smooth_below, g.smooth_below),
        is_positive=f is g or (f.is_positive and g.is_positive),
    )  # fmt: skip


_IDENTITY = Curve(lambda z: z, np.ones_like)


def by_factor(gradient: Gradient, x: Signal, other: Signal) -> Gradient:
    """The gradient by x of x · other, both in the layout of the product."""
    total = gradient.total * other.second
    silent = gradient.silent
    if silent > 0.0:  # a factor that differs from sample to sample lets something of the sum through
        silent *= float((other.mean**2).mean()) / max(float(other.second.mean()), 1e-300)
    if max(x.positions, other.positions) == 1:
        return Gradient(total, silent=silent)
    shared = np.minimum(gradient.shared * (other.mean**2 + other.shared), total)
    return Gradient(total - shared, shared, silent=silent)


def _glu_halves(model: Model, layer: Layer, inputs: Sequence[Signal]) -> tuple[Signal, Signal, tuple[Floats, ...]]:
    """a and σ(b) of a · σ(b) (Dauphin et al. 2017), and b's moments."""
    axis = layer.attributes.get("dim")
    sizes = model.sizes(layer.inputs[0])
    if sizes is None:
        raise NotCovered("the shape of its input is not known")
    place = (axis % len(sizes)) - len(sizes) if isinstance(axis, int) else -1
    x = lay_out(inputs[0], sizes, (place,))
    units = sizes[place]
    half = units // 2
    mean, own = full(x.mean, units), full(x.own, units)
    shared = NONE if x.shared is NONE else full(x.shared, units)
    first = Signal(mean[:half], own[:half], NONE if shared is NONE else shared[:half], x.positions, x.axes, x.batch)
    gate = (mean[half:], own[half:], NONE if shared is NONE else shared[half:])
    curve = curve_of(Op.SIGMOID, {})
    assert curve is not None
    opened = Signal(*through(curve, *gate), x.positions, x.axes, x.batch)
    return first, opened, gate


def _glu_forward(model: Model, layer: Layer, inputs: Sequence[Signal]) -> list[Signal]:
    first, opened, _ = _glu_halves(model, layer, inputs)
    return [product(first, opened)]


def _glu_backward(
    model: Model,
    layer: Layer,
    inputs: Sequence[Signal],
    outputs: Sequence[Signal],
    gradients: Sequence[Gradient | None],
) -> Backflow:
    first, opened, gate = _glu_halves(model, layer, inputs)
    gradient, curve = gradients[0], curve_of(Op.SIGMOID, {})
    assert gradient is not None
    assert curve is not None
    by_first, by_gate = by_factor(gradient, first, opened), by_factor(gradient, opened, first)
    second, pair = slopes(curve, *gate, pairs=by_gate.shared is not NONE)
    shared = NONE if by_gate.shared is NONE else by_gate.shared * pair
    by_gate = Gradient(by_gate.total * second - shared, shared)
    own = np.concatenate([full(part.own, first.mean.size) for part in (by_first, by_gate)])
    shared = np.concatenate([full(part.shared, first.mean.size) for part in (by_first, by_gate)])
    x = inputs[0]
    sizes = model.sizes(layer.inputs[0])
    return Backflow([lay_out_gradient(Gradient(own, shared), lay_out(x, sizes, first.axes), sizes, x.axes)])


RULES: dict[Op, Rule] = {Op.GLU: Rule(_glu_forward, _glu_backward, 1)}
