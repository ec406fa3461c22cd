"""Rules for pooling and for reductions over axes. Imports ir and sibling modules."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import prod

import numpy as np

from trainaudit.ir.graph import Layer
from trainaudit.ir.ops import Op
from trainaudit.measure.signal.borders import passed_on
from trainaudit.measure.signal.conv import Taps, taps_of
from trainaudit.measure.signal.gaussian import largest_of, log_normal
from trainaudit.measure.signal.layout import Sizes, lay_out, lay_out_gradient
from trainaudit.measure.signal.prediction import NONE, Floats, Gradient, NotCovered, Profile, Signal
from trainaudit.measure.signal.rule import Backflow, Rule
from trainaudit.measure.signal.weights import Model

# --- windows -------------------------------------------------------------------------------------------------------------


def average_pool(model: Model, layer: Layer, inputs: Sequence[Signal]) -> Sequence[Signal]:
    x, taps = _window(model, layer, inputs[0])
    own = x.own / max(1.0, float(taps.shares.sum()))
    return [
        Signal(x.mean, own, x.shared, taps.after, x.axes, x.batch, profile=_profile(taps, x.profile, to_places=False))
    ]


def average_pool_back(
    model: Model,
    layer: Layer,
    inputs: Sequence[Signal],
    outputs: Sequence[Signal],
    gradients: Sequence[Gradient | None],
) -> Backflow:
    x, taps = _window(model, layer, inputs[0])
    gradient = gradients[0]
    assert gradient is not None
    window, times = max(1.0, float(taps.shares.sum())), float(taps.reach.sum())
    shared = NONE if gradient.shared is NONE else gradient.shared * (times / window) ** 2
    back = Gradient(
        gradient.own * times / window**2,
        shared,
        silent=gradient.silent,
        profile=_profile(taps, gradient.profile, to_places=True),
    )
    return Backflow([lay_out_gradient(back, x, model.sizes(layer.inputs[0]), inputs[0].axes)])


def max_pool(model: Model, layer: Layer, inputs: Sequence[Signal]) -> Sequence[Signal]:
    """The largest of the window's own parts; a monotone function and the maximum may be exchanged, so that after a rectifier the maximum is
    taken of what went into it."""
    x, taps = _window(model, layer, inputs[0])
    mean, own, shared = largest_of(x, float(taps.shares.sum()))
    return [Signal(mean, own, shared, taps.after, x.axes, x.batch, profile=_profile(taps, x.profile, to_places=False))]


def max_pool_back(
    model: Model,
    layer: Layer,
    inputs: Sequence[Signal],
    outputs: Sequence[Signal],
    gradients: Sequence[Gradient | None],
) -> Backflow:
    x, taps = _window(model, layer, inputs[0])
    gradient = gradients[0]
    assert gradient is not None
    share = taps.after / taps.before
    window = max(1, round(float(taps.shares.sum())))
    shared = NONE if gradient.shared is NONE else gradient.shared * min(share, 1.0) ** 2
    back = Gradient(
        np.maximum(gradient.total * share - shared, 0.0),
        shared,
        window,
        silent=gradient.silent,
        profile=_profile(taps, gradient.profile, to_places=True),
    )
    if x.axes != inputs[0].axes:
        back = lay_out_gradient(back, x, model.sizes(layer.inputs[0]), inputs[0].axes)
    return Backflow([back])


def _profile(taps: Taps, profile: Profile | None, *, to_places: bool) -> Profile | None:
    return None if profile is None else passed_on(taps.windows, profile, to_places=to_places)[1]


def _window(model: Model, layer: Layer, signal: Signal) -> tuple[Signal, Taps]:
    kernel = layer.attributes.get("kernel_size")
    sizes = tuple(int(size) for size in kernel) if isinstance(kernel, tuple) else ()
    if not sizes or min(sizes) < 1:
        raise NotCovered("its window is not known")
    x = lay_out(signal, model.sizes(layer.inputs[0]), (-1 - len(sizes),))
    return x, taps_of(model, layer, sizes, x.positions)


# --- reductions ----------------------------------------------------------------------------------------------------------


def reduce(model: Model, layer: Layer, inputs: Sequence[Signal]) -> Sequence[Signal]:
    """Mean or sum over positions and units, each independent of the others."""
    x, units, positions, sizes = _reduced(model, layer, inputs[0])
    factor = 1.0 if layer.op in _SUMS else 1.0 / (units * positions)
    mean, own, shared = (_total(array, x.axes, sizes, _over(layer, sizes)) for array in (x.mean, x.own, x.shared))
    mean = mean * (positions * factor)
    own, shared = own * (positions * factor**2), NONE if x.shared is NONE else shared * (positions * factor) ** 2
    after = max(1, x.positions // positions)
    if after == 1 and shared is not NONE:
        own, shared = own + shared, NONE
    reduced = Signal(mean, own, shared, after, x.axes, x.batch)
    if x.curve is not None and x.curve.is_positive:
        reduced = log_normal(reduced)
    return [_without(reduced, layer, sizes)]


def reduce_back(
    model: Model,
    layer: Layer,
    inputs: Sequence[Signal],
    outputs: Sequence[Signal],
    gradients: Sequence[Gradient | None],
) -> Backflow:
    x, units, positions, sizes = _reduced(model, layer, inputs[0])
    gradient = gradients[0]
    assert gradient is not None
    square = 1.0 if layer.op in _SUMS else 1.0 / (units * positions) ** 2
    own, shared = gradient.own * square, NONE if gradient.shared is NONE else gradient.shared * square
    if positions > 1 and outputs[0].positions == 1:
        own, shared = NONE, own + shared
    over = _over(layer, sizes)
    own, shared = _spread(own, x.axes, sizes, over), _spread(shared, x.axes, sizes, over)
    return Backflow([lay_out_gradient(Gradient(own, shared), x, sizes, inputs[0].axes)])


_SMALLEST = 1e-300
_SUMS = frozenset({Op.REDUCE_SUM})


def norm(model: Model, layer: Layer, inputs: Sequence[Signal]) -> Sequence[Signal]:
    """Euclidean norm, or sum of squares: of many elements nearly the same for every sample."""
    x, _, positions, sizes = _reduced(model, layer, inputs[0])
    over = _over(layer, sizes)
    scatter = 2.0 * x.variance**2 + 4.0 * x.mean**2 * x.variance
    mean, own = (_total(array, x.axes, sizes, over) * positions for array in (x.second, scatter))
    if layer.op is Op.REDUCE_L2:
        mean, own = np.sqrt(mean), own / np.maximum(4.0 * mean, _SMALLEST)
    after = max(1, x.positions // positions)
    return [_without(log_normal(Signal(mean, own, NONE, after, x.axes, x.batch)), layer, sizes)]


def norm_back(
    model: Model,
    layer: Layer,
    inputs: Sequence[Signal],
    outputs: Sequence[Signal],
    gradients: Sequence[Gradient | None],
) -> Backflow:
    x, _, _, sizes = _reduced(model, layer, inputs[0])
    gradient = gradients[0]
    assert gradient is not None
    over = _over(layer, sizes)
    square = gradient.total * (4.0 if layer.op is Op.REDUCE_SUM_SQUARE else 1.0)
    if layer.op is Op.REDUCE_L2:
        square = square / np.maximum(outputs[0].second, _SMALLEST)
    return Backflow(
        [lay_out_gradient(Gradient(_spread(square, x.axes, sizes, over) * x.second), x, sizes, inputs[0].axes)]
    )


def _over(layer: Layer, sizes: Sizes) -> frozenset[int]:
    """The axes that are reduced, from the end."""
    rank = len(sizes)
    if layer.op in (Op.GLOBAL_AVERAGE_POOL, Op.GLOBAL_MAX_POOL):
        return frozenset(range(2 - rank, 0))
    axes = layer.attributes.get("axes")
    if not isinstance(axes, tuple) or not rank:
        raise NotCovered("its axes are not known")
    return frozenset(int(axis) % rank - rank for axis in axes)


def _reduced(model: Model, layer: Layer, signal: Signal) -> tuple[Signal, int, int, Sizes]:
    """The input, and over how many units and positions it is reduced."""
    sizes = model.sizes(layer.inputs[0])
    if sizes is None:
        raise NotCovered("the shape of its input is not known")
    over = _over(layer, sizes)
    if layer.op in (Op.GLOBAL_AVERAGE_POOL, Op.GLOBAL_MAX_POOL):
        signal = lay_out(signal, sizes, (1 - len(sizes),))
    if signal.batch in over:
        raise NotCovered("it reduces over the batch")
    units = prod(max(1, sizes[axis]) for axis in over if axis in signal.axes)
    others = [axis for axis in range(-len(sizes), 0) if axis not in signal.axes and axis != signal.batch]
    if set(others) <= over:
        return signal, units, signal.positions, sizes
    return signal, units, prod(max(1, sizes[axis]) for axis in over if axis not in signal.axes), sizes


def _total(array: Floats, axes: tuple[int, ...], sizes: Sizes, over: frozenset[int]) -> Floats:
    """Sum over the unit axes that are reduced."""
    lost = tuple(k for k, axis in enumerate(axes) if axis in over)
    if not lost:
        return array
    if array.size == 1:
        return array * prod(sizes[axes[k]] for k in lost)
    return np.asarray(array.reshape(tuple(sizes[axis] for axis in axes)).sum(axis=lost)).reshape(-1)


def _spread(array: Floats, axes: tuple[int, ...], sizes: Sizes, over: frozenset[int]) -> Floats:
    if array.size == 1 or not any(axis in over for axis in axes):
        return array
    narrow = tuple(1 if axis in over else sizes[axis] for axis in axes)
    return np.broadcast_to(array.reshape(narrow), tuple(sizes[axis] for axis in axes)).reshape(-1)


def _without(signal: Signal, layer: Layer, sizes: Sizes) -> Signal:
    """The signal's axes once the reduced ones are gone."""
    over = _over(layer, sizes)
    stay = layer.op in (Op.GLOBAL_AVERAGE_POOL, Op.GLOBAL_MAX_POOL) or bool(layer.attributes.get("keepdim"))

    def moved(axis: int) -> int:
        return axis if stay else axis + sum(1 for gone in over if gone > axis)

    axes = tuple(moved(axis) for axis in signal.axes if axis not in over)
    batch = None if signal.batch is None else moved(signal.batch)
    inner = None if signal.before is None else _without(signal.before, layer, sizes)
    return replace(signal, axes=axes, batch=batch, before=inner)


def reduce_max(model: Model, layer: Layer, inputs: Sequence[Signal]) -> Sequence[Signal]:
    x, units, positions, sizes = _reduced(model, layer, inputs[0])
    if units > 1:
        raise NotCovered("no rule for the largest of several units")
    mean, own, shared = largest_of(x, positions)
    after = max(1, x.positions // positions)
    if after == 1:
        own, shared = own + shared, NONE
    return [_without(Signal(mean, own, shared, after, x.axes, x.batch), layer, sizes)]


def reduce_max_back(
    model: Model,
    layer: Layer,
    inputs: Sequence[Signal],
    outputs: Sequence[Signal],
    gradients: Sequence[Gradient | None],
) -> Backflow:
    x, _, positions, sizes = _reduced(model, layer, inputs[0])
    gradient = gradients[0]
    assert gradient is not None
    back = Gradient(gradient.total / positions, NONE, positions)
    if x.axes != inputs[0].axes:
        back = lay_out_gradient(back, x, sizes, inputs[0].axes)
    return Backflow([back])


RULES = {
    Op.AVERAGE_POOL: Rule(average_pool, average_pool_back, 1),
    Op.MAX_POOL: Rule(max_pool, max_pool_back, 1),
    Op.GLOBAL_AVERAGE_POOL: Rule(reduce, reduce_back, 1),
    Op.REDUCE_MEAN: Rule(reduce, reduce_back, 1),
    Op.REDUCE_SUM: Rule(reduce, reduce_back, 1),
    Op.REDUCE_L2: Rule(norm, norm_back, 1),
    Op.REDUCE_SUM_SQUARE: Rule(norm, norm_back, 1),
    Op.GLOBAL_MAX_POOL: Rule(reduce_max, reduce_max_back, 1),
    Op.REDUCE_MAX: Rule(reduce_max, reduce_max_back, 1),
}
