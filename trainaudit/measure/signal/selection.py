"""Rules for layers that put values side by side, take some of them out, or repeat them. Imports ir and sibling modules."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import prod

import numpy as np

from trainaudit.ir.graph import Layer, Role
from trainaudit.ir.ops import Op
from trainaudit.measure.signal.arithmetic import stored, stored_units
from trainaudit.measure.signal.conv import numbers
from trainaudit.measure.signal.layout import Sizes, full, lay_out, lay_out_gradient, repeated
from trainaudit.measure.signal.prediction import NONE, Floats, Gradient, NotCovered, Signal
from trainaudit.measure.signal.rule import Backflow, Rule
from trainaudit.measure.signal.weights import ASSUMED, Model

# --- concatenation -------------------------------------------------------------------------------------------------------


def concat(model: Model, layer: Layer, inputs: Sequence[Signal]) -> Sequence[Signal]:
    if not inputs:
        raise NotCovered("it has no operand")
    sizes, axis = _along(model, layer)
    axes = _common_axes(inputs, axis)
    parts = [lay_out(x, model.sizes(name), axes) for x, name in zip(inputs, layer.inputs, strict=True)]
    counts = [model.sizes(name) for name in layer.inputs]
    widths = [1 if count is None else count[axis] or ASSUMED for count in counts]
    batch = next((x.batch for x in parts if x.batch is not None), None)
    if axis in axes:
        if sum(widths) != sizes[axis]:
            raise NotCovered("part of it is stored")
        mean, own = _joined(parts, counts, axis, "mean"), _joined(parts, counts, axis, "own")
        shared = NONE if all(x.shared is NONE for x in parts) else _joined(parts, counts, axis, "shared")
        before = None
        curve = parts[0].curve
        return [
            Signal(
                mean,
                own,
                shared,
                max(x.positions for x in parts),
                axes,
                batch,
                before,
                None if before is None else curve,
            )
        ]
    pieces: list[tuple[float, Floats, Floats, Floats]] = [
        (float(width), x.mean, x.own, x.shared) for width, x in zip(widths, parts, strict=True)
    ]
    for _, mean, variance in stored(model, layer, axes):
        rest = max(1, sizes[axis] - sum(widths)) if sizes[axis] else 1
        pieces.append((float(rest), mean, variance, NONE))
    total = sum(piece[0] for piece in pieces)
    shares = [piece[0] / total for piece in pieces]
    mean = sum((s * piece[1] for s, piece in zip(shares, pieces, strict=True)), NONE)
    second = sum((s * (p[1] ** 2 + p[2] + p[3]) for s, p in zip(shares, pieces, strict=True)), NONE)
    shared = sum((s * s * p[3] for s, p in zip(shares, pieces, strict=True)), NONE)
    shared = shared if any(p[3] is not NONE for p in pieces) else NONE
    own = np.maximum(second - mean * mean - shared, 0.0)
    positions = max(1, round(max(x.positions / w for x, w in zip(parts, widths, strict=True)) * total))
    return [Signal(mean, own, shared, positions, axes, batch)]


def concat_back(
    model: Model,
    layer: Layer,
    inputs: Sequence[Signal],
    outputs: Sequence[Signal],
    gradients: Sequence[Gradient | None],
) -> Backflow:
    sizes, axis = _along(model, layer)
    gradient, axes = gradients[0], outputs[0].axes
    assert gradient is not None
    found: list[Gradient | None] = []
    start = 0
    for x, name in zip(inputs, layer.inputs, strict=True):
        mine = model.sizes(name)
        part = gradient
        if axis in axes and mine is not None:
            own = _cut(gradient.own, sizes, axes, axis, start, mine[axis])
            part = Gradient(
                own,
                gradient.shared
                if gradient.shared.size == 1
                else _cut(gradient.shared, sizes, axes, axis, start, mine[axis]),
            )
            start += mine[axis]
        if x.axes != axes:
            part = lay_out_gradient(part, replace(x, axes=axes), mine, x.axes)
        found.append(part)
    parameters = {}
    for parameter, _, _ in stored(model, layer, axes):
        if parameter.trainable and axis not in axes:
            parameters[parameter.name] = float(gradient.total.mean())
    return Backflow(found, parameters)


def _along(model: Model, layer: Layer) -> tuple[Sizes, int]:
    sizes, dim = model.sizes(layer.outputs[0]), layer.attributes.get("dim")
    if sizes is None or not sizes or not isinstance(dim, int):
        raise NotCovered("the shape of its result is not known")
    return sizes, dim % len(sizes) - len(sizes)


def _common_axes(inputs: Sequence[Signal], axis: int) -> tuple[int, ...]:
    """The unit axes of operands that have differing units; where all are alike, the axis of the concatenation."""
    for x in inputs:
        if x.mean.size > 1 or x.own.size > 1:
            return x.axes
    return inputs[0].axes


def _joined(parts: Sequence[Signal], counts: Sequence[Sizes | None], axis: int, name: str) -> Floats:
    arrays = []
    for x, sizes in zip(parts, counts, strict=True):
        if sizes is None:
            raise NotCovered("the shape of its input is not known")
        shape = tuple(sizes[a] for a in x.axes)
        arrays.append(full(getattr(x, name), prod(shape)).reshape(shape))
    return np.concatenate(arrays, axis=parts[0].axes.index(axis)).reshape(-1)


def _cut(
    array: Floats, sizes: Sizes, axes: tuple[int, ...], axis: int, start: int, width: int, step: int = 1
) -> Floats:
    """A part of a vector over units, along one of their axes."""
    if array.size == 1:
        return array
    shape = tuple(sizes[a] for a in axes)
    place = axes.index(axis)
    return array.reshape(shape).take(range(start, start + width * step, step), axis=place).reshape(-1)


# --- split and slice -----------------------------------------------------------------------------------------------------


def split(model: Model, layer: Layer, inputs: Sequence[Signal]) -> Sequence[Signal]:
    x = inputs[0]
    sizes, axis, widths = _split_sizes(model, layer)
    if axis not in x.axes:
        share = sizes[axis]
        return [replace(x, positions=max(1, x.positions * width // share)) for width in widths]
    found, start = [], 0
    for width in widths:
        found.append(_taken(x, sizes, axis, start, width))
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
        parts = [(_diluted(g, w / sizes[axis])) for g, w in zip(gradients, widths, strict=True) if g is not None]
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


def _taken(x: Signal, sizes: Sizes, axis: int, start: int, width: int, step: int = 1) -> Signal:
    mean, own, shared = (_cut(array, sizes, x.axes, axis, start, width, step) for array in (x.mean, x.own, x.shared))
    inner = None if x.before is None else _taken(x.before, sizes, axis, start, width, step)
    return Signal(mean, own, NONE if x.shared is NONE else shared, x.positions, x.axes, x.batch, inner, x.curve)


def _diluted(gradient: Gradient, share: float) -> Gradient:
    """A gradient that only this share of the positions receives."""
    if gradient.shared is NONE:
        return Gradient(gradient.own * share)
    shared = gradient.shared * share**2
    return Gradient(gradient.total * share - shared, shared)


def slice_(model: Model, layer: Layer, inputs: Sequence[Signal]) -> Sequence[Signal]:
    x, sizes = inputs[0], model.sizes(layer.inputs[0])
    for axis, start, width, step in _ranges(model, layer):
        assert sizes is not None
        if axis in x.axes:
            x = _taken(x, sizes, axis, start, width, step)
            sizes = tuple(width if k - len(sizes) == axis else size for k, size in enumerate(sizes))
        elif axis != x.batch:
            x = replace(x, positions=max(1, x.positions * width // max(1, sizes[axis])))
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
        elif axis != x.batch:
            gradient = _diluted(gradient, width / max(1, sizes[axis]))
    return Backflow([gradient])


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
            raise NotCovered("it takes nothing out")
        if indices.step < 0:
            indices = indices[::-1]
        found.append((place, indices.start, len(indices), indices.step))
    return found


def _end(end: int, size: int) -> int | None:
    return None if end < -size else end


# --- one entry of an axis -------------------------------------------------------------------------------------------------


def gather(model: Model, layer: Layer, inputs: Sequence[Signal]) -> Sequence[Signal]:
    """One index along an axis, which disappears; or stored indices along an axis of positions."""
    x, sizes, axis, index = _gathered(model, layer, inputs[0])
    result = model.sizes(layer.outputs[0])
    disappears = result is not None and len(result) == len(sizes) - 1
    moved = tuple(a + 1 if disappears and a < axis else a for a in x.axes if a != axis or not disappears)
    batch = None if x.batch is None else x.batch + 1 if disappears and x.batch < axis else x.batch
    if axis in x.axes:
        y = _taken(x, sizes, axis, index, 1)
        inner = None if y.before is None else replace(y.before, axes=moved, batch=batch)
        return [replace(y, axes=moved, batch=batch, before=inner)]
    positions = max(1, x.positions // max(1, sizes[axis]))
    own, shared = x.own, x.shared
    if positions == 1 and shared is not NONE:
        own, shared = own + shared, NONE
    inner = x.before
    if inner is not None:
        both = inner.own + inner.shared if positions == 1 else inner.own
        inner = replace(
            inner,
            own=both,
            shared=NONE if positions == 1 else inner.shared,
            positions=positions,
            axes=moved,
            batch=batch,
        )
    return [Signal(x.mean, own, shared, positions, moved, batch, inner, x.curve)]


def gather_back(
    model: Model,
    layer: Layer,
    inputs: Sequence[Signal],
    outputs: Sequence[Signal],
    gradients: Sequence[Gradient | None],
) -> Backflow:
    x, sizes, axis, index = _gathered(model, layer, inputs[0])
    gradient = gradients[0]
    assert gradient is not None
    size = max(1, sizes[axis])
    if axis not in x.axes:
        if outputs[0].positions == 1:
            return Backflow([Gradient(gradient.total / size)])
        return Backflow([_diluted(gradient, 1.0 / size)])
    arrays = []
    at = x.axes.index(axis)
    for array in (gradient.own, gradient.shared):
        shape = [sizes[a] for a in x.axes]
        wide = np.zeros(shape)
        shape[at] = 1
        wide[(slice(None),) * at + (slice(index, index + 1),)] = full(array, prod(shape)).reshape(shape)
        arrays.append(wide.reshape(-1))
    return Backflow([Gradient(arrays[0], NONE if gradient.shared is NONE else arrays[1])])


def _gathered(model: Model, layer: Layer, x: Signal) -> tuple[Signal, Sizes, int, int]:
    sizes, dim, index = model.sizes(layer.inputs[0]), layer.attributes.get("dim"), layer.attributes.get("index")
    if sizes is None or not isinstance(dim, int) or not sizes or not isinstance(index, int) or len(layer.inputs) > 1:
        raise NotCovered("what it takes out is not known")
    axis = dim % len(sizes) - len(sizes)
    if axis == x.batch:
        raise NotCovered("it takes one sample out")
    return x, sizes, axis, index % max(1, sizes[axis])


# --- more of the same ----------------------------------------------------------------------------------------------------


def repeat(model: Model, layer: Layer, inputs: Sequence[Signal]) -> Sequence[Signal]:
    """Expand, tile and the enlarging of images by their nearest neighbors: the same values more often."""
    x = _repeated(model, layer, inputs)
    times, units = _times(model, layer, x)
    mean, own, shared = x.mean, x.own, x.shared
    if units > 1:
        before, after = model.sizes(layer.inputs[0]), model.sizes(layer.outputs[0])
        assert before is not None
        assert after is not None
        kept = tuple(a for a in x.axes if -a <= len(before) and before[a] == after[a])
        mean, own, shared = (repeated(array, after, kept, x.axes) for array in (mean, own, shared))
    if x.positions == 1 and times > 1:
        own, shared = NONE, own + shared
    return [
        Signal(
            mean,
            own,
            shared,
            x.positions * times,
            x.axes,
            x.batch,
            None if units > 1 or x.positions == 1 else x.before,
            x.curve,
        )
    ]


def _repeated(model: Model, layer: Layer, inputs: Sequence[Signal]) -> Signal:
    """What is repeated: an activation, or a stored tensor (a class token)."""
    found = model.parameter(layer, Role.POSITION)
    if found is None:
        if not inputs or inputs[0] is None:
            raise NotCovered("its input is not known")
        return inputs[0]
    sizes = model.sizes(layer.outputs[0])
    wide = [k - len(found.shape) for k, size in enumerate(found.shape) if size > 1] or [-1]
    mean, variance = stored_units(model.values(found), sizes, (wide[-1],))
    return Signal(mean, variance, NONE, max(1, found.size // mean.size), (wide[-1],), None)


def repeat_back(
    model: Model,
    layer: Layer,
    inputs: Sequence[Signal],
    outputs: Sequence[Signal],
    gradients: Sequence[Gradient | None],
) -> Backflow:
    x, gradient = _repeated(model, layer, inputs), gradients[0]
    assert gradient is not None
    times, units = _times(model, layer, x)
    if units > 1:
        raise NotCovered("no rule for repeated units")
    own = gradient.own * times
    shared = NONE if gradient.shared is NONE else gradient.shared * times**2
    if x.positions == 1 and shared is not NONE:
        own, shared = own + shared, NONE
    back = Gradient(own, shared)
    token = model.parameter(layer, Role.POSITION)
    if token is not None:
        return Backflow([None], {token.name: float(back.total.mean())})
    return Backflow([back])


def _off(x: Signal, sizes: Sizes, axes: frozenset[int]) -> Signal:
    """A value whose units are all alike, with its units counted by none of these axes."""
    if x.mean.size > 1 or x.own.size > 1 or x.shared is not NONE or axes.isdisjoint(x.axes):
        return x
    free = [axis for axis in range(1 - len(sizes), 0) if axis not in axes]
    return lay_out(x, sizes, (free[0],)) if free else x


def _times(model: Model, layer: Layer, x: Signal) -> tuple[int, int]:
    """How often positions and units are repeated."""
    token = model.parameter(layer, Role.POSITION)
    before = token.shape if token is not None else model.sizes(layer.inputs[0])
    after = model.sizes(layer.outputs[0])
    if before is None or after is None or len(after) < len(before):
        raise NotCovered("the shape of its result is not known")
    positions = units = 1
    if len(before) == len(after):
        x = _off(x, before, frozenset(a for a in range(-len(before), 0) if before[a] != after[a]))
    for axis in range(-len(after), 0):
        old, new = before[axis] if -axis <= len(before) else 1, after[axis]
        if old == new or axis == x.batch:
            continue
        if old <= 0 or new <= 0:
            raise NotCovered("the shape of its result is not known")
        if axis in x.axes:
            units *= new // old
        elif -axis == len(after) and x.batch is None:
            continue  # one for each sample
        else:
            positions *= max(1, round(new / old))
    return positions, units


def pad(model: Model, layer: Layer, inputs: Sequence[Signal]) -> Sequence[Signal]:
    x, share, grown = _padded(model, layer, inputs[0])
    if layer.attributes.get("mode", "constant") != "constant":
        return [replace(x, positions=grown)]
    mean = x.mean * share
    shared = x.shared if x.shared is NONE else x.shared * share**2
    own = x.second * share - mean * mean - shared
    return [Signal(mean, np.maximum(own, 0.0), shared, grown, x.axes, x.batch)]


def pad_back(
    model: Model,
    layer: Layer,
    inputs: Sequence[Signal],
    outputs: Sequence[Signal],
    gradients: Sequence[Gradient | None],
) -> Backflow:
    gradient = gradients[0]
    assert gradient is not None
    _padded(model, layer, inputs[0])
    return Backflow([gradient])


def _padded(model: Model, layer: Layer, x: Signal) -> tuple[Signal, float, int]:
    before, after = model.sizes(layer.inputs[0]), model.sizes(layer.outputs[0])
    if before is None or after is None or len(before) != len(after):
        raise NotCovered("the shape of its result is not known")
    x = _off(x, before, frozenset(a for a in range(-len(before), 0) if before[a] != after[a]))
    if any(before[axis] != after[axis] for axis in x.axes):
        raise NotCovered("no rule for padded units")
    ratio = 1.0
    for old, new in zip(before, after, strict=True):
        if old != new:
            if old <= 0 or new <= 0:
                raise NotCovered("the shape of its result is not known")
            ratio *= new / old
    return x, min(1.0, 1.0 / ratio), max(1, round(x.positions * ratio))


RULES = {
    Op.CONCAT: Rule(concat, concat_back), Op.SPLIT: Rule(split, split_back, 1), Op.SLICE: Rule(slice_, slice_back, 1),
    Op.GATHER: Rule(gather, gather_back), Op.EXPAND: Rule(repeat, repeat_back, 0), Op.TILE: Rule(repeat, repeat_back, 0),
    Op.RESIZE: Rule(repeat, repeat_back, 1), Op.PAD: Rule(pad, pad_back, 1),
}  # fmt: skip
