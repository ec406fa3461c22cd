"""Rules for convolutions and their transposes: a linear layer of every tap, with the share of positions that the tap reaches.

Imports ir and sibling modules.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from math import prod

import numpy as np

from trainaudit.frozen import frozen
from trainaudit.ir.graph import Layer, Parameter, Role
from trainaudit.ir.ops import Op
from trainaudit.measure.signal.borders import Window, passed_on, window
from trainaudit.measure.signal.dense import bias_gradient
from trainaudit.measure.signal.layout import full, lay_out, lay_out_gradient
from trainaudit.measure.signal.matrices import AnyMatrix
from trainaudit.measure.signal.prediction import NONE, Floats, Gradient, NotCovered, Signal, mean_of
from trainaudit.measure.signal.rule import Backflow, Rule
from trainaudit.measure.signal.weights import Model


@frozen(eq=False)
class Taps:
    """How often each tap of a window meets an input: `shares` per output position (padding and strides of a transpose leave some out),
    `reach` per input position. `before` and `after` are the positions of one sample."""

    shares: Floats
    reach: Floats
    before: int
    after: int
    windows: tuple[Window, ...] = ()
    """One per axis where the sizes are known and taps meet padding, or the stride leaves some out."""


@frozen(eq=False)
class _Convolution:
    x: Signal
    weight: Parameter
    matrix: AnyMatrix
    taps: Taps
    axis: int


def forward(model: Model, layer: Layer, inputs: Sequence[Signal]) -> Sequence[Signal]:
    c = _read(model, layer, inputs[0])
    turned = layer.op is Op.CONV_TRANSPOSE
    energy, profile = c.taps.shares, c.x.profile
    if c.taps.windows:
        energy, profile = passed_on(c.taps.windows, profile, to_places=turned)
    pass_on = _scatter if turned else _gather
    mean, own, shared = pass_on(c.matrix, c.taps.shares, energy, c.x.mean, c.x.own, c.x.shared)
    bias = model.vector(layer, Role.BIAS)
    if bias is not None and bias.size in (1, mean.size):
        mean = mean + bias
    return [Signal(mean, own, shared, c.taps.after, (c.axis,), c.x.batch, profile=profile)]


def backward(
    model: Model,
    layer: Layer,
    inputs: Sequence[Signal],
    outputs: Sequence[Signal],
    gradients: Sequence[Gradient | None],
) -> Backflow:
    c, gradient = _read(model, layer, inputs[0]), gradients[0]
    assert gradient is not None
    turned = layer.op is Op.CONV_TRANSPOSE
    energy, profile = c.taps.reach, gradient.profile
    if c.taps.windows:
        energy, profile = passed_on(c.taps.windows, profile, to_places=not turned)
    pass_on = _gather if turned else _scatter
    share = float(c.taps.shares.mean())
    silent = gradient.silent * max(
        0.0, 2.0 - 1.0 / max(share, 0.5)
    )  # at the borders, where taps meet padding, something is left
    _, own, shared = pass_on(c.matrix.turned(), c.taps.reach, energy, NONE, gradient.own, gradient.shared)
    found = {c.weight.name: _weight_gradient(gradient, c.x, c.taps)}
    name = layer.parameters.get(Role.BIAS.value)
    if name is not None:
        found[name] = bias_gradient(gradient, c.taps.after)
    sizes = model.sizes(layer.inputs[0])
    back = Gradient(own, shared, silent=silent, profile=profile, silent_common=gradient.common_silence)
    return Backflow([lay_out_gradient(back, c.x, sizes, inputs[0].axes)], found)


def _gather(
    matrix: AnyMatrix, shares: Floats, energy: Floats, mean: Floats, own: Floats, shared: Floats
) -> tuple[Floats, Floats, Floats]:
    """Every output sums the taps over (unit, tap). A tap that only a share s of the outputs sees gives each of them s of what positions have in
    common; the rest of the second moment that it brings, `energy`, differs from output to output."""
    units = matrix.inputs // shares.size
    own = full(own, units)
    if mean is not NONE:
        mean = full(mean, units)
    is_whole = shares.size == 1 and shares[0] == 1.0
    squares = own[:, None] if is_whole else own[:, None] * energy
    fixed = full(mean * mean, units)
    if shared is not NONE:
        shared = full(shared, units)
        fixed = fixed + shared
    if not is_whole:
        squares = squares + fixed[:, None] * np.maximum(energy - shares * shares, 0.0)
    means = mean if mean is NONE else (mean[:, None] * shares).reshape(-1)
    out_mean, out_own = matrix.forward(means, squares.reshape(-1, 1))
    common = NONE if shared is NONE else matrix.summed(shares).forward(NONE, shared[:, None])[1][:, 0]
    return out_mean, out_own[:, 0], common


def _scatter(
    matrix: AnyMatrix, shares: Floats, energy: Floats, mean: Floats, own: Floats, shared: Floats
) -> tuple[Floats, Floats, Floats]:
    """As `_gather` where the matrix has the taps among its outputs, (unit, tap)."""
    units = matrix.inputs
    own = full(own, units)
    if mean is not NONE:
        mean = full(mean, units)
    fixed = full(mean * mean, units)
    if shared is not NONE:
        shared = full(shared, units)
        fixed = fixed + shared
    taps = shares.size
    if shared is NONE or taps > 1:
        means, seconds = matrix.forward(mean, np.stack([own, fixed], axis=1))
        common = NONE if shared is NONE else matrix.summed(shares).forward(NONE, shared[:, None])[1][:, 0]
    else:
        means, seconds = matrix.forward(mean, np.stack([own, fixed, shared], axis=1))
        common = seconds[:, 2] * shares[0] ** 2
    split = seconds.reshape(len(seconds) // taps, taps, -1)
    out_own = split[:, :, 0] @ energy + split[:, :, 1] @ np.maximum(energy - shares * shares, 0.0)
    return means if means is NONE else means.reshape(-1, taps) @ shares, out_own, common


def _weight_gradient(gradient: Gradient, x: Signal, taps: Taps) -> float:
    """Mean square of Σ_p g_p·x_(p + k) over the elements of a kernel."""
    pairs = taps.shares * taps.after
    fixed = mean_of(x.mean * x.mean) * (1.0 - gradient.silent)
    total = mean_of(pairs) * mean_of(gradient.total) * (mean_of(x.variance) + fixed)
    if gradient.shared is NONE:
        return total
    common = mean_of(x.mean * x.mean) * (1.0 - gradient.common_silence) + mean_of(x.shared)
    return total + mean_of(pairs * np.maximum(pairs - 1.0, 0.0)) * mean_of(gradient.shared) * common


def _read(model: Model, layer: Layer, signal: Signal) -> _Convolution:
    weight = model.parameter(layer, Role.WEIGHT)
    if weight is None:
        raise NotCovered("its weight is not known")
    kernel = numbers(layer, "kernel_size") or weight.shape[2:]
    if len(weight.shape) != len(kernel) + 2 or tuple(weight.shape[2:]) != tuple(kernel) or not weight.size:
        raise NotCovered("the shape of its weight does not fit its kernel")
    groups = layer.attributes.get("groups", 1)
    groups = groups if isinstance(groups, int) and groups > 0 else 1
    axis = -1 - len(kernel)
    sizes = model.sizes(layer.inputs[0])
    x = lay_out(signal, sizes, (axis,))
    taps = taps_of(model, layer, kernel, x.positions)
    first, second = weight.shape[:2]
    count = prod(kernel)
    if layer.op is Op.CONV_TRANSPOSE:
        matrix = model.matrix(weight, second * groups * count, first, groups=groups, is_turned=True)
    else:
        matrix = model.matrix(weight, first, second * groups * count, groups=groups)
    return _Convolution(x, weight, matrix, taps, axis)


def taps_of(model: Model, layer: Layer, kernel: Sequence[int], positions: int) -> Taps:
    """The taps of a convolution's or pooling's window. `positions` are the input's, where its shape is not known."""
    count = len(kernel)
    stride = numbers(layer, "stride", count) or (1,) * count
    dilation = numbers(layer, "dilation", count) or (1,) * count
    padding = numbers(layer, "padding", 2 * count)
    if not padding:
        half = numbers(layer, "padding", count) or (0,) * count
        padding = half + half
    before, after = model.sizes(layer.inputs[0]), model.sizes(layer.outputs[0])
    shares, reach = np.ones(1), np.ones(1)
    known_before = known_after = 1
    windows: list[Window] = []
    is_transpose = layer.op is Op.CONV_TRANSPOSE
    for axis in range(count):
        place = axis - count
        inside = before[place] if before is not None and len(before) >= count else 0
        outside = after[place] if after is not None and len(after) >= count else 0
        one = _along(
            inside,
            outside,
            kernel[axis],
            stride[axis],
            padding[axis],
            padding[axis + count],
            dilation[axis],
            is_transpose,
        )
        shares, reach = np.outer(shares, one[0]).reshape(-1), np.outer(reach, one[1]).reshape(-1)
        small, large = (one[2], one[3]) if is_transpose else (one[3], one[2])
        if small > 0 and large > 0:
            windows.append(
                window(small, large, kernel[axis], max(stride[axis], 1), padding[axis], max(dilation[axis], 1))
            )
        known_before, known_after = known_before * one[2], known_after * one[3]
    if known_before > 0:
        is_even = shares.size == 1 and shares[0] == reach[0] == 1.0
        return Taps(shares, reach, known_before, max(1, known_after), () if is_even else tuple(windows))
    steps = prod(stride)
    return Taps(shares, reach, positions, max(1, positions * steps if is_transpose else positions // steps))


@lru_cache(maxsize=512)
def _along(
    inside: int, outside: int, kernel: int, stride: int, begin: int, end: int, dilation: int, is_transpose: bool
) -> tuple[Floats, Floats, int, int]:
    """Along one axis: shares, reach, and the sizes before and after (0 where not known)."""
    stride, dilation = max(stride, 1), max(dilation, 1)
    if inside <= 0:
        many = np.full(kernel, 1.0 / stride)
        return (many, np.ones(kernel), 0, 0) if is_transpose else (np.ones(kernel), many, 0, 0)
    span = dilation * (kernel - 1) + 1
    if outside <= 0:
        outside = (
            (inside - 1) * stride - begin - end + span if is_transpose else (inside + begin + end - span) // stride + 1
        )
    outside = max(outside, 1)
    small, large = (inside, outside) if is_transpose else (outside, inside)
    place = np.arange(small)[:, None] * stride - begin + np.arange(kernel) * dilation
    pairs = ((place >= 0) & (place < large)).sum(axis=0)
    return np.minimum(pairs / outside, 1.0), np.minimum(pairs / inside, 1.0), inside, outside


def numbers(layer: Layer, name: str, count: int | None = None) -> tuple[int, ...]:
    """An attribute of whole numbers; empty where it is not there or not of that length."""
    found = layer.attributes.get(name)
    if not isinstance(found, tuple) or (count is not None and len(found) != count):
        return ()
    return tuple(int(value) for value in found)


RULES = {Op.CONV: Rule(forward, backward, 1), Op.CONV_TRANSPOSE: Rule(forward, backward, 1)}
