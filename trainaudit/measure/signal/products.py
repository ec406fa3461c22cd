"""Rules for products of activations: gates, gated linear units, matrix products, softmax outside attention. Imports ir and sibling modules.

The factors count as independent, which they are behind different random weights.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from trainaudit.ir.graph import Layer
from trainaudit.ir.ops import Op
from trainaudit.measure.signal.curves import curve_of
from trainaudit.measure.signal.gaussian import slopes, through
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


def square(x: Signal) -> Signal:
    """x · x of a Gaussian value."""
    mean = x.second
    variance = 2.0 * x.variance**2 + 4.0 * x.mean**2 * x.variance
    shared = 2.0 * x.shared**2 + 4.0 * x.mean**2 * x.shared if x.shared is not NONE else NONE
    return Signal(mean, variance - shared, shared, x.positions, x.axes, x.batch)


def by_factor(gradient: Gradient, x: Signal, other: Signal) -> Gradient:
    """The gradient by x of x · other, in the layout of the product; summed over the positions where x has none."""
    positions = max(x.positions, other.positions)
    other = spread_over_positions(other, positions)
    total = gradient.total * other.second
    if positions == 1:
        return Gradient(total)
    shared = np.minimum(gradient.shared * (other.mean**2 + other.shared), total)
    if x.positions == 1:
        return Gradient(positions * (total - shared) + positions**2 * shared)
    return Gradient(total - shared, shared)


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
