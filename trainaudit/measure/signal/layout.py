"""Bringing signals to the axes that an op works on: which axes count units, which positions. numpy only.

Turning units into positions folds the spread of their means into the variance; turning positions into units repeats what is known per unit.
"""

from __future__ import annotations

from dataclasses import replace
from math import prod

import numpy as np

from trainaudit.measure.signal.prediction import NONE, Floats, Gradient, NotCovered, Signal

Sizes = tuple[int, ...]


def lay_out(signal: Signal, sizes: Sizes | None, axes: tuple[int, ...]) -> Signal:
    """The same value with its units counted by `axes` (ascending, from the end). `sizes` is its shape."""
    if signal.axes == axes:
        return signal
    before = count_of(sizes, signal.axes)
    after = count_of(sizes, axes)
    positions = max(1, signal.positions * before // after)
    if signal.mean.size == signal.own.size == 1 and signal.shared is NONE:
        return replace(signal, axes=axes, positions=positions)
    assert sizes is not None
    lost = tuple(k for k, axis in enumerate(signal.axes) if axis not in axes)
    kept = tuple(axis for axis in signal.axes if axis in axes)
    mean, own, shared = signal.mean, signal.own, signal.shared
    inner = signal.before
    if lost and before > count_of(sizes, kept):
        inner = None
        shape = tuple(sizes[axis] for axis in signal.axes)
        own = _folded(own + shared, shape, lost) + _spread(mean, shape, lost)
        mean, shared = _folded(mean, shape, lost), NONE
    mean, own, shared = (repeated(array, sizes, kept, axes) for array in (mean, own, shared))
    if positions == 1 and shared is not NONE:
        own, shared = own + shared, NONE
    if inner is not None:
        inner = lay_out(inner, sizes, axes)
    return Signal(mean, own, shared, positions, axes, signal.batch, inner, None if inner is None else signal.curve)


def lay_out_gradient(gradient: Gradient, signal: Signal, sizes: Sizes | None, axes: tuple[int, ...]) -> Gradient:
    """The gradient of a value that is laid out as `signal`, with its units counted by `axes`."""
    if signal.axes == axes:
        return gradient
    moved = lay_out(Signal(NONE, gradient.own, gradient.shared, signal.positions, signal.axes), sizes, axes)
    silent = 0.0
    if set(axes) <= set(signal.axes):
        silent = gradient.silent
    elif not set(signal.axes) & set(axes):
        silent = gradient.silent_units
    return Gradient(moved.own, moved.shared, silent=silent)


def count_of(sizes: Sizes | None, axes: tuple[int, ...]) -> int:
    """Number of elements along axes."""
    if sizes is None:
        raise NotCovered("the shape of its input is not known")
    if any(-axis > len(sizes) for axis in axes):
        raise NotCovered("its input has too few axes")
    count = prod(sizes[axis] for axis in axes)
    if count <= 0:
        raise NotCovered("the shape of its input is not known")
    return count


def full(array: Floats, units: int) -> Floats:
    """One entry per unit."""
    if array.size == units:
        return array
    if array.size == 1:
        return np.full(units, array[0])
    raise NotCovered("the number of its units does not fit")


def spread_over_positions(signal: Signal, positions: int) -> Signal:
    """A value without positions, broadcast over them: all its variance is then shared."""
    if signal.positions != 1 or positions == 1:
        return signal
    return replace(signal, own=NONE, shared=signal.own + signal.shared, positions=positions, before=None, curve=None)


def cut(array: Floats, sizes: Sizes, axes: tuple[int, ...], axis: int, start: int, width: int, step: int = 1) -> Floats:
    """A part of a vector over units, along one of their axes."""
    if array.size == 1:
        return array
    shape = tuple(sizes[a] for a in axes)
    place = axes.index(axis)
    return array.reshape(shape).take(range(start, start + width * step, step), axis=place).reshape(-1)


def repeated(array: Floats, sizes: Sizes, kept: tuple[int, ...], axes: tuple[int, ...]) -> Floats:
    """An array over the unit axes `kept`, repeated along those of `axes` that are new."""
    if array.size == 1 or kept == axes:
        return array
    shape = tuple(sizes[axis] if axis in kept else 1 for axis in axes)
    return np.ascontiguousarray(np.broadcast_to(array.reshape(shape), tuple(sizes[axis] for axis in axes))).reshape(-1)


def _folded(array: Floats, shape: tuple[int, ...], axes: tuple[int, ...]) -> Floats:
    """Mean over axes of the units."""
    return array if array.size == 1 else array.reshape(shape).mean(axis=axes).reshape(-1)


def _spread(array: Floats, shape: tuple[int, ...], axes: tuple[int, ...]) -> Floats:
    """Variance over axes of the units."""
    return NONE if array.size == 1 else array.reshape(shape).var(axis=axes).reshape(-1)
