"""Rules for normalizations. BatchNorm divides each unit by its deviation over samples and positions and removes its mean; the others pool units
or positions of each sample, whose mean and deviation hardly differ from sample to sample where many are pooled. Imports ir and sibling modules.

The gradient is divided by the same deviation, and loses its projections on the mean and on the value itself (Yang et al. 2019,
arXiv:1902.08129; Xiong et al. 2020, arXiv:2002.04745).
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np

from trainaudit.frozen import frozen
from trainaudit.ir.graph import Layer, Role
from trainaudit.ir.ops import Op
from trainaudit.measure.signal.arithmetic import stored_units
from trainaudit.measure.signal.layout import lay_out, lay_out_gradient
from trainaudit.measure.signal.prediction import NONE, Floats, Gradient, NotCovered, Signal
from trainaudit.measure.signal.rule import Backflow, Rule
from trainaudit.measure.signal.weights import Model

_SMALLEST = 1e-200
_CHANNELWISE = (Op.BATCH_NORM, Op.GROUP_NORM, Op.INSTANCE_NORM)


@frozen(eq=False)
class _Normalized:
    """`x` is the input on the axes that the layer works on; `hat` the normalized value before scale and shift; `inverse` is 1/σ per unit; `units`
    and `elements` are how many units and how many elements one mean is taken over (0 for a batch, which counts as large)."""

    x: Signal
    hat: Signal
    inverse: Floats
    units: int
    elements: int
    removes_mean: bool
    silent: float
    silent_units: float
    gain: Floats | None
    gain_second: Floats | None
    shift: Floats | None


def forward(model: Model, layer: Layer, inputs: Sequence[Signal]) -> Sequence[Signal]:
    n = _normalized(model, layer, inputs[0])
    hat = n.hat
    mean, own, shared = hat.mean, hat.own, hat.shared
    if n.gain is not None and n.gain_second is not None:
        mean, own = mean * n.gain, own * n.gain_second
        shared = shared if shared is NONE else shared * n.gain_second
    if n.shift is not None:
        mean = mean + n.shift
    return [Signal(mean, own, shared, hat.positions, hat.axes, hat.batch, profile=hat.profile)]


def backward(
    model: Model,
    layer: Layer,
    inputs: Sequence[Signal],
    outputs: Sequence[Signal],
    gradients: Sequence[Gradient | None],
) -> Backflow:
    n, gradient = _normalized(model, layer, inputs[0]), gradients[0]
    assert gradient is not None
    found = _parameter_gradients(model, layer, n, gradient)
    factor = n.inverse * n.inverse
    if n.gain_second is not None:
        factor = factor * n.gain_second
    own, shared = gradient.own * factor, gradient.shared
    if shared is not NONE:
        shared = shared * factor
    if n.elements:
        lost = (2.0 if n.removes_mean else 1.0) / n.elements
        own = own * max(0.0, 1.0 - lost)
        if shared is not NONE:
            shared = shared * max(0.0, 1.0 - (1.0 if n.removes_mean else 0.0) / n.units)
    sizes = model.sizes(layer.inputs[0])
    return Backflow(
        [
            lay_out_gradient(
                Gradient(own, shared, silent=n.silent, silent_units=n.silent_units, profile=gradient.profile),
                n.x,
                sizes,
                inputs[0].axes,
            )
        ],
        found,
    )


def _parameter_gradients(model: Model, layer: Layer, n: _Normalized, gradient: Gradient) -> dict[str, float]:
    found = {}
    for role in (Role.SCALE, Role.SHIFT):
        parameter = model.parameter(layer, role)
        if parameter is None:
            continue
        each = max(1, n.x.mean.size, n.hat.mean.size, gradient.own.size)
        times = n.x.positions / max(1, parameter.size // each)
        if role is Role.SHIFT:
            square = times * gradient.own * (1.0 - gradient.silent)
            square = square + times * times * gradient.shared * (1.0 - gradient.common_silence)
        else:
            common = gradient.shared * (n.hat.mean**2 + n.hat.shared)
            square = times * gradient.total * n.hat.second + max(0.0, times * (times - 1.0)) * common
        found[parameter.name] = float(square.mean())
    return found


def _normalized(model: Model, layer: Layer, signal: Signal) -> _Normalized:
    if len(layer.inputs) > 1:
        raise NotCovered("its scale or shift is computed")
    sizes = model.sizes(layer.inputs[0])
    if sizes is None or not sizes:
        raise NotCovered("the shape of its input is not known")
    epsilon = layer.attributes.get("eps", 1e-5)
    eps = float(epsilon) if isinstance(epsilon, int | float) else 1e-5
    rank, op = len(sizes), layer.op
    if op in _CHANNELWISE:
        x = lay_out(signal, sizes, (max(1 - rank, -rank) if rank > 1 else -1,))
    else:
        over = _axes(layer, rank)
        if signal.mean.size == signal.own.size == 1 and signal.shared is NONE and not set(over) & set(signal.axes):
            signal = lay_out(signal, sizes, over)
        x = signal
    gain, gain_second, shift = _affine(model, layer, x, sizes)
    if op is Op.BATCH_NORM:
        inverse = 1.0 / np.sqrt(np.maximum(x.variance + eps, _SMALLEST))
        square = inverse * inverse
        shared = NONE if x.shared is NONE else x.shared * square
        hat = Signal(NONE, x.own * square, shared, x.positions, x.axes, x.batch, profile=x.profile)
        return _Normalized(x, hat, inverse, 0, 0, True, 1.0, 0.0, gain, gain_second, shift)
    shape = tuple(max(1, sizes[axis]) for axis in x.axes)
    if op in _CHANNELWISE:
        groups = _groups(layer, shape[0])
        shape, positions = (groups, shape[0] // groups), x.positions
        pooled: tuple[int, ...] = (1,)
    else:
        pooled = tuple(k for k, axis in enumerate(x.axes) if axis in over)
        positions = prod(max(1, sizes[axis]) for axis in over if axis not in x.axes)
    return _pooled(x, shape, pooled, positions, eps, op, (gain, gain_second, shift))


def _pooled(
    x: Signal, shape: tuple[int, ...], pooled: tuple[int, ...], positions: int, eps: float, op: Op,
    affine: tuple[Floats | None, Floats | None, Floats | None],
) -> _Normalized:  # fmt: skip
    """A normalization over the unit axes `pooled` (of `shape`) and over so many positions of one sample."""
    units = prod(shape[k] for k in pooled)
    elements = units * positions
    removes_mean = op not in (Op.RMS_NORM, Op.LP_NORM)
    center, own, shared = x.mean, x.own, x.shared
    if removes_mean:
        center = center - _over(center, shape, pooled)
        if positions == 1:
            own, shared = own * (1.0 - 1.0 / units), shared if shared is NONE else shared * (1.0 - 1.0 / units)
        else:
            own = own * (1.0 - 1.0 / elements)
            shared = shared if shared is NONE or units > 1 else NONE
            if shared is not NONE:
                shared = shared * (1.0 - 1.0 / units)
    second = _over(center * center + own + shared, shape, pooled)
    if op is Op.LP_NORM:
        second = second * elements
    inverse = 1.0 / np.sqrt(np.maximum(second + eps, _SMALLEST))
    square = inverse * inverse
    hat = Signal(
        center * inverse, own * square, shared if shared is NONE else shared * square, x.positions, x.axes, x.batch
    )
    silent = 1.0 / units if removes_mean and positions > 1 and positions == x.positions else 0.0
    silent_units = 1.0 if removes_mean and positions == 1 and len(pooled) == len(shape) else 0.0
    return _Normalized(x, hat, inverse, units, elements, removes_mean, silent, silent_units, *affine)


def _over(values: Floats, shape: tuple[int, ...], axes: tuple[int, ...]) -> Floats:
    """Mean over unit axes, repeated along them."""
    if values.size == 1:
        return values
    split = values.reshape(shape)
    return np.broadcast_to(split.mean(axis=axes, keepdims=True), shape).reshape(-1)


def _groups(layer: Layer, channels: int) -> int:
    if layer.op is Op.INSTANCE_NORM:
        return channels
    groups = layer.attributes.get("num_groups", 1)
    if not isinstance(groups, int) or groups < 1 or channels % groups:
        raise NotCovered("its number of groups does not fit")
    return groups


def _axes(layer: Layer, rank: int) -> tuple[int, ...]:
    axes = layer.attributes.get("axes", (-1,))
    if not isinstance(axes, tuple):
        raise NotCovered("its axes are not known")
    found = sorted({int(axis) % rank - rank for axis in axes})
    return tuple(found)


def _affine(
    model: Model, layer: Layer, x: Signal, sizes: tuple[int, ...]
) -> tuple[Floats | None, Floats | None, Floats | None]:
    """γ per unit, E[γ²] per unit, and β per unit."""
    scale, shift = model.parameter(layer, Role.SCALE), model.parameter(layer, Role.SHIFT)
    gain = gain_second = offset = None
    if scale is not None:
        gain, variance = _units(model.values(scale), x, sizes, layer.op)
        gain_second = gain * gain + variance
    if shift is not None:
        offset, _ = _units(model.values(shift), x, sizes, layer.op)
    return gain, gain_second, offset


def _units(values: Floats, x: Signal, sizes: tuple[int, ...], op: Op) -> tuple[Floats, Floats]:
    if op in _CHANNELWISE or values.size == x.mean.size:
        if values.size not in (1, max(1, sizes[x.axes[0]])):
            raise NotCovered("the size of its scale does not fit")
        return values.reshape(-1), NONE
    return stored_units(values, sizes, x.axes)


RULES = {
    op: Rule(forward, backward, 1)
    for op in (Op.BATCH_NORM, Op.LAYER_NORM, Op.RMS_NORM, Op.GROUP_NORM, Op.INSTANCE_NORM, Op.LP_NORM)
}
