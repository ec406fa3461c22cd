"""Rules for layers that take neighboring values out: split and slice. Imports ir and sibling modules."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import prod

import numpy as np

from trainaudit.ir.graph import Layer
from trainaudit.ir.ops import Op
from trainaudit.measure.signal.conv import numbers
from trainaudit.measure.signal.layout import Sizes, cut, full
from trainaudit.measure.signal.prediction import NONE, Gradient, NotCovered, Signal
from trainaudit.measure.signal.rule import Backflow, Rule
from trainaudit.measure.signal.weights import Model

NOTHING = "it takes nothing out"

# --- split and slice -----------------------------------------------------------------------------------------------------


def split(model: Model, layer: Layer, inputs: Sequence[Signal]) -> Sequence[Signal]:
    x = inputs[0]
    sizes, axis, widths = _split_sizes(model, layer)
    if axis not in x.axes:
        if axis == x.batch:
            return [elsewhere(x, x.positions) for _ in widths]
        return [elsewhere(x, max(1, x.positions * width // sizes[axis])) for width in widths]
    found, start = [], 0
    for width in widths:
        found.append(taken(x, sizes, axis, start, width))
        start += width
    return found


def split_back(
    model: Model,
    layer: Layer,
    inputs: Sequence[Signal],
    outputs: Sequence[Signal],
    gradients: Sequence[Gradient | None],
) -> Backflow:
    x = inputs[0]
    sizes, axis, widths = _split_sizes(model, layer)
    if axis not in x.axes:
        thinned = of_some_samples if axis == x.batch else diluted
        parts = [thinned(g, w / sizes[axis]) for g, w in zip(gradients, widths, strict=True) if g is not None]
        own = sum((part.own for part in parts), NONE)
        shared = sum((part.shared for part in parts), NONE)
        return Backflow([Gradient(own, shared if any(p.shared is not NONE for p in parts) else NONE)])
    arrays = []
    for name in ("own", "shared"):
        pieces = []
        for gradient, width in zip(gradients, widths, strict=True):
            shape = tuple(width if a == axis else sizes[a] for a in x.axes)
            array = NONE if gradient is None else getattr(gradient, name)
            pieces.append(full(array, prod(shape)).reshape(shape))
        arrays.append(np.concatenate(pieces, axis=x.axes.index(axis)).reshape(-1))
    return Backflow([Gradient(arrays[0], arrays[1] if arrays[1].any() else NONE)])


def _split_sizes(model: Model, layer: Layer) -> tuple[Sizes, int, tuple[int, ...]]:
    sizes, dim, widths = model.sizes(layer.inputs[0]), layer.attributes.get("dim"), layer.attributes.get("sizes")
    if sizes is None or not isinstance(dim, int) or not sizes or not sizes[dim]:
        raise NotCovered("the shape of its input is not known")
    axis = dim % len(sizes) - len(sizes)
    if not isinstance(widths, tuple) or len(widths) != len(layer.outputs):
        if sizes[axis] % len(layer.outputs):
            raise NotCovered("its sizes are not known")
        widths = (sizes[axis] // len(layer.outputs),) * len(layer.outputs)
    found = tuple(int(width) for width in widths)
    if sum(found) != sizes[axis] or min(found) < 1:
        raise NotCovered("its sizes do not fit")
    return sizes, axis, found


def taken(x: Signal, sizes: Sizes, axis: int, start: int, width: int, step: int = 1) -> Signal:
    mean, own, shared = (cut(array, sizes, x.axes, axis, start, width, step) for array in (x.mean, x.own, x.shared))
    inner = None if x.before is None else taken(x.before, sizes, axis, start, width, step)
    return Signal(mean, own, NONE if x.shared is NONE else shared, x.positions, x.axes, x.batch, inner, x.curve)


def elsewhere(x: Signal, positions: int) -> Signal:
    """The same distribution at other samples or positions: no function of the same numbers any more."""
    return replace(x, positions=positions, before=None if x.before is None else elsewhere(x.before, positions))


def diluted(gradient: Gradient, share: float) -> Gradient:
    """A gradient that only this share of the positions receives."""
    if gradient.shared is NONE:
        return Gradient(gradient.own * share)
    shared = gradient.shared * share**2
    return Gradient(gradient.total * share - shared, shared)


def of_some_samples(gradient: Gradient, share: float) -> Gradient:
    """A gradient that only this share of the samples receives, each at all of its positions."""
    return Gradient(gradient.own * share, NONE if gradient.shared is NONE else gradient.shared * share)


def slice_(model: Model, layer: Layer, inputs: Sequence[Signal]) -> Sequence[Signal]:
    x, sizes = inputs[0], model.sizes(layer.inputs[0])
    if is_empty(model, layer.outputs[0]):  # rotary embeddings turn a part of each head, which may be all of it
        return [Signal(NONE, NONE, axes=x.axes, batch=x.batch)]
    for axis, start, width, step in _ranges(model, layer):
        assert sizes is not None
        if axis in x.axes:
            x = taken(x, sizes, axis, start, width, step)
            sizes = tuple(width if k - len(sizes) == axis else size for k, size in enumerate(sizes))
        elif width != sizes[axis]:
            x = elsewhere(x, x.positions if axis == x.batch else max(1, x.positions * width // sizes[axis]))
    return [x]


def slice_back(
    model: Model,
    layer: Layer,
    inputs: Sequence[Signal],
    outputs: Sequence[Signal],
    gradients: Sequence[Gradient | None],
) -> Backflow:
    x, sizes, gradient = inputs[0], model.sizes(layer.inputs[0]), gradients[0]
    assert gradient is not None
    assert sizes is not None
    if is_empty(model, layer.outputs[0]):
        return Backflow([None])
    now = list(sizes)
    for axis, _, width, _ in _ranges(model, layer):
        now[axis] = width
    for axis, start, width, step in _ranges(model, layer):
        if axis in x.axes:
            at = x.axes.index(axis)
            arrays = []
            for array in (gradient.own, gradient.shared):
                shape = [now[a] for a in x.axes]
                narrow = full(array, prod(shape)).reshape(shape)
                shape[at] = sizes[axis]
                wide = np.zeros(shape)
                wide[(slice(None),) * at + (slice(start, start + width * step, step),)] = narrow
                arrays.append(wide.reshape(-1))
            now[axis] = sizes[axis]
            gradient = Gradient(arrays[0], NONE if gradient.shared is NONE else arrays[1])
        elif width != sizes[axis]:
            gradient = (of_some_samples if axis == x.batch else diluted)(gradient, width / max(1, sizes[axis]))
    return Backflow([gradient])


def is_empty(model: Model, name: str) -> bool:
    """Whether a value has no elements."""
    value = model.graph.values.get(name)
    return value is not None and value.shape is not None and 0 in value.shape


def _ranges(model: Model, layer: Layer) -> list[tuple[int, int, int, int]]:
    """Per sliced axis: the axis from the end, the first index, how many, and the step."""
    sizes, result = model.sizes(layer.inputs[0]), model.sizes(layer.outputs[0])
    axes, starts, ends, steps = (numbers(layer, name) for name in ("axes", "starts", "ends", "steps"))
    if sizes is None or not axes or len(starts) != len(axes):
        raise NotCovered("what it takes out is not known")
    found = []
    for k, axis in enumerate(axes):
        place = axis % len(sizes) - len(sizes)
        step = steps[k] if len(steps) == len(axes) else 1
        size = sizes[place]
        if size <= 0:
            raise NotCovered("the shape of its input is not known")
        if len(ends) == len(axes):
            indices = range(size)[slice(starts[k], _end(ends[k], size), step)] if step else range(0)
        elif result is not None and len(result) == len(sizes) and result[place] and step > 0:
            first = starts[k] % size
            indices = range(first, min(size, first + result[place] * step), step)
        else:
            raise NotCovered("what it takes out is not known")
        if not indices:
            raise NotCovered(NOTHING)
        if indices.step < 0:
            indices = indices[::-1]
        found.append((place, indices.start, len(indices), indices.step))
    return found


def _end(end: int, size: int) -> int | None:
    return None if end < -size else end


RULES = {Op.SPLIT: Rule(split, split_back, 1), Op.SLICE: Rule(slice_, slice_back, 1)}
