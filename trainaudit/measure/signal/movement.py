"""Rules for layers that move or relabel values: reshape, transpose, split and the like. Imports ir and sibling modules."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from itertools import accumulate, pairwise
from math import prod
from operator import mul

import numpy as np

from trainaudit.ir.graph import Layer
from trainaudit.ir.ops import Op
from trainaudit.measure.signal.layout import Sizes, lay_out_gradient
from trainaudit.measure.signal.prediction import NONE, Floats, Gradient, NotCovered, Signal
from trainaudit.measure.signal.rule import Backflow, Rule
from trainaudit.measure.signal.weights import ASSUMED, Model

_UNKNOWN = "the shape of its input is not known"


# --- the value as it is --------------------------------------------------------------------------------------------------


def keep(model: Model, layer: Layer, inputs: Sequence[Signal]) -> Sequence[Signal]:
    return [inputs[0]] * len(layer.outputs)


def keep_back(
    model: Model,
    layer: Layer,
    inputs: Sequence[Signal],
    outputs: Sequence[Signal],
    gradients: Sequence[Gradient | None],
) -> Backflow:
    return Backflow([next(gradient for gradient in gradients if gradient is not None)])


# --- reshapes ------------------------------------------------------------------------------------------------------------


def reshape(model: Model, layer: Layer, inputs: Sequence[Signal]) -> Sequence[Signal]:
    before, after = _shapes(model, layer)
    return [reshaped(inputs[0], before, after)]


def reshape_back(
    model: Model,
    layer: Layer,
    inputs: Sequence[Signal],
    outputs: Sequence[Signal],
    gradients: Sequence[Gradient | None],
) -> Backflow:
    before, after = _shapes(model, layer)
    x, y, gradient = inputs[0], outputs[0], gradients[0]
    assert gradient is not None
    turned = reshaped(_as_signal(gradient, y), after, before)
    return Backflow(
        [
            lay_out_gradient(
                replace(gradient, own=turned.own, shared=turned.shared),
                replace(x, axes=turned.axes, positions=turned.positions),
                before,
                x.axes,
            )
        ]
    )


def _as_signal(gradient: Gradient, like: Signal) -> Signal:
    return Signal(NONE, gradient.own, gradient.shared, like.positions, like.axes, like.batch)


def _shapes(model: Model, layer: Layer) -> tuple[Sizes, Sizes]:
    """The sizes before and after; one that the file does not tell follows from the others."""
    before, after = model.sizes(layer.inputs[0]), model.sizes(layer.outputs[0])
    if before is None or after is None:
        raise NotCovered(_UNKNOWN)
    return _completed(before, after)


@lru_cache(maxsize=4096)
def _completed(before: Sizes, after: Sizes) -> tuple[Sizes, Sizes]:
    if 0 in before:
        before = tuple(size or ASSUMED for size in before)
    if 0 in after:
        total, known = prod(before), prod(size for size in after if size)
        if after.count(0) > 1 or total % known:
            raise NotCovered(_UNKNOWN)
        after = tuple(size or total // known for size in after)
    if prod(before) != prod(after):
        raise NotCovered("its sizes before and after do not fit")
    return before, after


Piece = tuple[int, int, int]
"""Size, axis before, axis after (from the end)."""


@lru_cache(maxsize=4096)
def pieces(before: Sizes, after: Sizes) -> tuple[Piece, ...]:
    """The common refinement of two shapes of as many elements: every axis of either is a run of pieces."""
    first, second = list(accumulate(before, mul)), list(accumulate(after, mul))
    found = []
    for low, high in pairwise(sorted({1, *first, *second})):
        if high % low:
            raise NotCovered("a reshape that takes axes apart in uneven pieces")
        found.append(
            (
                high // low,
                first.index(next(c for c in first if c >= high)) - len(before),
                second.index(next(c for c in second if c >= high)) - len(after),
            )
        )
    return tuple(found)


def reshaped(signal: Signal, before: Sizes, after: Sizes) -> Signal:
    """A signal in another shape. An axis that units and positions are merged into counts units; one that units and samples are merged into counts
    positions."""
    if before == after:
        return signal
    parts = pieces(before, after)
    units, batch = set(signal.axes), signal.batch
    places = {place for size, axis, place in parts if axis in units}
    samples = {place for size, axis, place in parts if axis == batch}
    axes = tuple(sorted(places - samples))
    mean, own, shared, inner = signal.mean, signal.own, signal.shared, signal.before
    shape = tuple(size for size, axis, _ in parts if axis in units)
    mine = [place for _, axis, place in parts if axis in units]
    lost = tuple(k for k, place in enumerate(mine) if place in samples)
    positions = signal.positions
    if lost:
        positions *= prod(shape[k] for k in lost)
        inner = None
        own = _mean(own + shared, shape, lost) + _variance(mean, shape, lost)
        mean, shared = _mean(mean, shape, lost), NONE
        shape = tuple(size for k, size in enumerate(shape) if k not in lost)
    # positions that became units: what is known of a unit is repeated for each of them
    wide = [(size, axis in units) for size, axis, place in parts if place in axes]
    gained = prod(size for size, is_unit in wide if not is_unit)
    if gained > 1:
        positions = max(1, positions // gained)
        narrow, full = tuple(size if is_unit else 1 for size, is_unit in wide), tuple(size for size, _ in wide)
        mean, own, shared = (_repeat(array, narrow, full) for array in (mean, own, shared))
        if positions == 1 and shared is not NONE:
            own, shared = own + shared, NONE
    if inner is not None:
        inner = reshaped(inner, before, after)
    # an axis of windows or heads with the samples comes apart again: the samples are the long one
    batch = max(samples, key=lambda place: after[place], default=None)
    return Signal(mean, own, shared, positions, axes, batch, inner, None if inner is None else signal.curve)


def _mean(array: Floats, shape: tuple[int, ...], axes: tuple[int, ...]) -> Floats:
    return array if array.size == 1 else array.reshape(shape).mean(axis=axes).reshape(-1)


def _variance(array: Floats, shape: tuple[int, ...], axes: tuple[int, ...]) -> Floats:
    return NONE if array.size == 1 else array.reshape(shape).var(axis=axes).reshape(-1)


def _repeat(array: Floats, narrow: tuple[int, ...], full: tuple[int, ...]) -> Floats:
    return array if array.size == 1 else np.broadcast_to(array.reshape(narrow), full).reshape(-1)


# --- transposes ----------------------------------------------------------------------------------------------------------


def transpose(model: Model, layer: Layer, inputs: Sequence[Signal]) -> Sequence[Signal]:
    return [transposed(inputs[0], model.sizes(layer.inputs[0]), _order(layer))]


def transpose_back(
    model: Model,
    layer: Layer,
    inputs: Sequence[Signal],
    outputs: Sequence[Signal],
    gradients: Sequence[Gradient | None],
) -> Backflow:
    order, gradient = _order(layer), gradients[0]
    assert gradient is not None
    back = tuple(order.index(k) for k in range(len(order)))
    turned = transposed(_as_signal(gradient, outputs[0]), model.sizes(layer.outputs[0]), back)
    return Backflow([replace(gradient, own=turned.own, shared=turned.shared)])


def transposed(signal: Signal, sizes: Sizes | None, order: tuple[int, ...]) -> Signal:
    """A signal with its axes in another order."""
    rank = len(order)
    if any(-axis > rank for axis in signal.axes) or sorted(order) != list(range(rank)):
        raise NotCovered("its order of axes does not fit its input")
    moved = [order.index(axis + rank) - rank for axis in signal.axes]
    axes = tuple(sorted(moved))
    batch = signal.batch
    if batch is not None:
        batch = order.index(batch + rank) - rank if -batch <= rank else None
    mean, own, shared, inner = signal.mean, signal.own, signal.shared, signal.before
    if list(axes) != moved:
        if sizes is None:
            raise NotCovered(_UNKNOWN)
        shape = tuple(sizes[axis] for axis in signal.axes)
        turn = tuple(moved.index(axis) for axis in axes)
        mean, own, shared = (
            array if array.size == 1 else array.reshape(shape).transpose(turn).reshape(-1)
            for array in (mean, own, shared)
        )
    if inner is not None:
        inner = transposed(inner, sizes, order)
    return Signal(mean, own, shared, signal.positions, axes, batch, inner, signal.curve)


def _order(layer: Layer) -> tuple[int, ...]:
    perm = layer.attributes.get("perm")
    if not isinstance(perm, tuple):
        raise NotCovered("its order of axes is not known")
    return tuple(int(axis) for axis in perm)


RULES = {
    Op.IDENTITY: Rule(keep, keep_back, 1), Op.DETACH: Rule(keep, None, 1), Op.ROTARY: Rule(keep, keep_back, 1), Op.QUANTIZE: Rule(keep, keep_back, 1),
    Op.DEQUANTIZE: Rule(keep, keep_back, 1), Op.TRANSPOSE: Rule(transpose, transpose_back, 1),
    **{op: Rule(reshape, reshape_back, 1) for op in (Op.RESHAPE, Op.FLATTEN, Op.SQUEEZE, Op.UNSQUEEZE)},
}  # fmt: skip
