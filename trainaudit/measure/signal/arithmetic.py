"""Rules for sums, and for products with stored numbers; and what every op with several operands needs. Imports ir and sibling modules."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from trainaudit.ir.graph import Layer, Parameter, Role
from trainaudit.ir.ops import Op
from trainaudit.measure.signal.borders import mixed
from trainaudit.measure.signal.curves import affine
from trainaudit.measure.signal.layout import Sizes, count_of, lay_out, lay_out_gradient, spread_over_positions
from trainaudit.measure.signal.prediction import NONE, Floats, Gradient, NotCovered, Signal, mean_of
from trainaudit.measure.signal.rule import Backflow, Rule
from trainaudit.measure.signal.weights import Model

_STORED = (Role.SHIFT, Role.POSITION, Role.CONSTANT, Role.SCALE, Role.BIAS)


# --- operands ------------------------------------------------------------------------------------------------------------


def aligned(model: Model, layer: Layer, inputs: Sequence[Signal]) -> list[Signal]:
    """The operands of an elementwise op on the same unit axes, broadcast over positions."""
    axes = max(inputs, key=lambda signal: (signal.mean.size, signal.own.size, len(signal.axes))).axes
    positions = max(signal.positions for signal in inputs)
    found = []
    for signal, name in zip(inputs, layer.inputs, strict=False):
        sizes = model.sizes(name)
        if signal.axes != axes or signal.positions != positions:
            signal = spread_over_positions(lay_out(signal, sizes, _within(axes, sizes)), positions)
        if len(axes) > 1:
            signal = _stretched(signal, sizes, model.sizes(layer.outputs[0]), axes)
        found.append(signal)
    return found


def _stretched(signal: Signal, sizes: Sizes | None, result: Sizes | None, axes: tuple[int, ...]) -> Signal:
    """An operand with one entry per unit of the result, where it is broadcast over some of several unit axes."""
    if sizes is None or result is None or signal.mean.size == signal.own.size == signal.shared.size == 1:
        return signal
    old = tuple(sizes[a] if -a <= len(sizes) else 1 for a in axes)
    new = tuple(result[a] for a in axes)
    if old == new:
        return signal

    def wide(array: Floats) -> Floats:
        return array if array.size == 1 else np.broadcast_to(array.reshape(old), new).reshape(-1)

    shared = NONE if signal.shared is NONE else wide(signal.shared)
    return replace(signal, mean=wide(signal.mean), own=wide(signal.own), shared=shared, before=None, curve=None)


def handed_back(model: Model, layer: Layer, slot: int, signal: Signal, output: Signal, gradient: Gradient) -> Gradient:
    """The gradient by an operand, where that by its broadcast form is `gradient`, laid out as `output`: summed over what it was repeated over."""
    if signal.axes == output.axes and signal.positions == output.positions and signal.own.size == gradient.own.size > 1:
        return gradient
    own, shared = gradient.own, gradient.shared
    if signal.positions == 1 < output.positions:
        own, shared = own * output.positions + shared * output.positions**2, NONE
    before, after = model.sizes(layer.inputs[slot]), model.sizes(layer.outputs[0])
    if before is not None and after is not None:
        axes = _within(output.axes, before)
        times = 1
        for axis in output.axes:
            if after[axis] > 1 and (axis not in axes or before[axis] == 1):
                times *= after[axis]
        if times > 1:
            own, shared = (
                _summed(own, after, output.axes, before) * 1.0,
                NONE if shared is NONE else _summed(shared, after, output.axes, before),
            )
        if signal.axes != axes:
            return lay_out_gradient(
                replace(gradient, own=own, shared=shared), replace(signal, axes=axes), before, signal.axes
            )
    return replace(gradient, own=own, shared=shared)


def _within(axes: tuple[int, ...], sizes: Sizes | None) -> tuple[int, ...]:
    """Those axes that a value has."""
    return axes if sizes is None else tuple(axis for axis in axes if -axis <= len(sizes))


def _summed(array: Floats, after: Sizes, axes: tuple[int, ...], before: Sizes) -> Floats:
    """Second moments added over the unit axes along which an operand was repeated."""
    wide = np.broadcast_to(
        array.reshape(tuple(after[a] for a in axes) if array.size > 1 else (1,) * len(axes)),
        tuple(after[a] for a in axes),
    )
    lost = tuple(k for k, a in enumerate(axes) if -a > len(before) or before[a] == 1)
    return np.asarray(wide.sum(axis=lost)).reshape(-1)


def stored(model: Model, layer: Layer, axes: tuple[int, ...]) -> list[tuple[Parameter, Floats, Floats]]:
    """The stored operands of a layer: the parameter, its mean per unit and its variance over positions, for a value with these unit axes."""
    found = []
    for role in _STORED:
        parameter = model.parameter(layer, role)
        if parameter is not None:
            found.append((parameter, *stored_units(model.values(parameter), model.sizes(layer.outputs[0]), axes)))
    return found


def stored_units(array: Floats, sizes: Sizes | None, axes: tuple[int, ...]) -> tuple[Floats, Floats]:
    """Mean over positions and variance over positions of a stored tensor, per unit."""
    rank = max([array.ndim, *(-axis for axis in axes)])
    array = array.reshape((1,) * (rank - array.ndim) + array.shape)
    over = tuple(axis for axis in range(-rank, 0) if axis not in axes)
    mean, variance = array.mean(axis=over), array.var(axis=over)
    if mean.size > 1 and sizes is not None:
        wide = tuple(sizes[axis] for axis in axes)
        if any(size not in (1, new) for size, new in zip(mean.shape, wide, strict=True)):  # it is used in another shape
            mean, variance = array.mean(keepdims=True), array.var(keepdims=True)
        elif mean.shape != wide:
            mean, variance = np.broadcast_to(mean, wide), np.broadcast_to(variance, wide)
    mean, variance = mean.reshape(-1), variance.reshape(-1)
    return mean, variance if variance.any() else NONE


# --- sums ----------------------------------------------------------------------------------------------------------------


def add(model: Model, layer: Layer, inputs: Sequence[Signal]) -> Sequence[Signal]:
    """Means add; variances add, as branches that end in independent random weights are not correlated. A value added to itself is doubled."""
    if not inputs:
        raise NotCovered("it has no operand")
    sign = -1.0 if layer.op is Op.SUB else 1.0
    if len(inputs) == 1:
        return [_add_stored(model, layer, inputs[0], sign)]
    if len(inputs) == 2 and layer.inputs[0] == layer.inputs[1]:
        x, factor = inputs[0], 1.0 + sign
        return [Signal(factor * x.mean, factor**2 * x.own, factor**2 * x.shared, x.positions, x.axes, x.batch)]
    operands = aligned(model, layer, inputs)
    first = operands[0]
    mean, own, shared = first.mean, first.own, first.shared
    for other in operands[1:]:
        mean = mean + sign * other.mean
        own = own + other.own
        if other.shared is not NONE:
            shared = other.shared if shared is NONE else shared + other.shared
    axes = max(operands, key=lambda signal: len(signal.axes)).axes
    batch = next((signal.batch for signal in operands if signal.batch is not None), None)
    profile = first.profile
    if len(operands) == 2 and (profile is not None or operands[1].profile is not None):
        mine, others = mean_of(first.second), mean_of(operands[1].second)
        profile = mixed(profile, operands[1].profile, mine / max(mine + others, 1e-300))
    positions = max(signal.positions for signal in operands)
    return [Signal(mean, own, shared, positions, axes, batch, profile=profile)]


def _add_stored(model: Model, layer: Layer, x: Signal, sign: float) -> Signal:
    """A value plus a stored number, vector or table, or one of them minus the other."""
    scalar = layer.attributes.get("scalar")
    factor = -1.0 if sign < 0.0 and layer.attributes.get("scalar_side") == "left" else 1.0
    mean, own, curve = x.mean * factor, x.own, None
    if isinstance(scalar, int | float):
        offset = scalar if factor < 0.0 else sign * scalar
        mean = mean + offset
        curve = None if x.curve is None else affine(x.curve, factor, offset)
    else:
        for _, center, variance in stored(model, layer, x.axes):
            mean = mean + sign * center
            own = own if variance is NONE else own + variance
    return Signal(mean, own, x.shared, x.positions, x.axes, x.batch, None if curve is None else x.before, curve)


def add_back(
    model: Model,
    layer: Layer,
    inputs: Sequence[Signal],
    outputs: Sequence[Signal],
    gradients: Sequence[Gradient | None],
) -> Backflow:
    gradient = gradients[0]
    assert gradient is not None
    if len(inputs) == 1:
        return Backflow([gradient], shift_gradients(model, layer, outputs[0], gradient))
    if len(inputs) == 2 and layer.inputs[0] == layer.inputs[1]:
        factor = (
            0.0 if layer.op is Op.SUB else 2.0
        )  # two equal gradients, added below by whoever sums them as independent
        return Backflow([scaled(gradient, factor), scaled(gradient, factor)])
    return Backflow([
        handed_back(model, layer, slot, signal, outputs[0], gradient) for slot, signal in enumerate(inputs)
    ])  # fmt: skip


def shift_gradients(model: Model, layer: Layer, output: Signal, gradient: Gradient) -> dict[str, float]:
    """Mean square of the gradient by an element of each stored operand that is added: summed over the positions that an element serves."""
    found = {}
    for role in _STORED:
        parameter = model.parameter(layer, role)
        if parameter is None or not parameter.trainable:
            continue
        sizes = model.sizes(layer.outputs[0])
        wide = {a for a in output.axes if -a <= len(parameter.shape) and parameter.shape[a] != 1}
        places = max(1, parameter.size // max(1, count_of(parameter.shape, tuple(wide))))
        times = max(1, output.positions // places)
        units = 1
        if sizes is not None:
            units = max(1, count_of(sizes, output.axes) // max(1, count_of(sizes, tuple(wide))))
        per_unit = times * float(gradient.own.mean()) * (1.0 - gradient.silent)
        per_unit += times * times * float(gradient.shared.mean()) * (1.0 - gradient.common_silence)
        found[parameter.name] = per_unit * units
    return found


def scaled(gradient: Gradient, factor: float) -> Gradient:
    """Second moments times a factor."""
    shared = gradient.shared if gradient.shared is NONE else gradient.shared * factor
    return replace(gradient, own=gradient.own * factor, shared=shared)


RULES = {Op.ADD: Rule(add, add_back), Op.SUB: Rule(add, add_back)}
