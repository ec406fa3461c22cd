"""What is known of one value: where it must lie, and where standardised inputs really take it. Stdlib and the sibling `interval` only."""

from __future__ import annotations

import math
from dataclasses import replace

from trainaudit.frozen import frozen
from trainaudit.measure.intervals.interval import ANY, INFINITY, Interval, within

NO_ZEROS, SOME_ZEROS, ZERO_VECTORS = 0, 1, 2
"""Exact zeros that pass a gradient on by a factor of zero: none known; single elements (behind a dropout or a mask); all elements of a vector
at once (the distance of a point to itself). Zeros of a rectifier are none of them: its backward pass selects, and lets nothing through."""

MANY_ROOTS = 8
"""Layers beyond which a value counts as one of its own: sums over a whole residual stream have no other dependence that matters."""

_STANDARD = (-3.0, 3.0)


@frozen
class Range:
    """`bounds` hold for every input that the declaration allows: what lies outside is impossible. `typical` is how far the values of one batch
    spread at the present weights (mean ± 3 standard deviations, within the bounds): what lies inside does occur. It is None where that
    is not known, with the `reason`; nothing may be concluded from it then.

    `uneven` is the mean and standard deviation of values that do not lie evenly in the typical interval (rectified or squared ones).
    `roots` are the layers with weights (and slices and inputs) that the value is computed from without other weights between: values with
    a root in common depend on each other. No roots: the value depends on no input. `is_raw` marks an input that has only been scaled,
    shifted and moved so far. `is_probability`: a sigmoid or softmax, whose ends training strives for.
    """

    bounds: Interval
    typical: Interval | None = None
    reason: str = ""
    zeros: int = NO_ZEROS
    uneven: tuple[float, float] | None = None
    is_probability: bool = False
    is_raw: bool = False
    roots: frozenset[int] = frozenset()

    @property
    def spread(self) -> Interval | None:
        """The typical interval; that of a standardised input where the value is a raw one."""
        return _STANDARD if self.typical is None and self.is_raw else self.typical

    @property
    def moments(self) -> tuple[float, float]:
        """Mean and standard deviation, as far as the values are typical."""
        low, high = self.spread or (0.0, 0.0)
        return self.uneven or ((low + high) / 2.0, (high - low) / 6.0)


def unknown(reason: str, roots: frozenset[int], bounds: Interval = ANY) -> Range:
    return Range(bounds, None, reason, roots=roots)


def known(
    bounds: Interval,
    typical: Interval | None,
    like: Range,
    *,
    zeros: int = NO_ZEROS,
    uneven: tuple[float, float] | None = None,
) -> Range:
    """A value made from `like` alone. A typical interval without an end tells nothing."""
    if typical is not None and not (math.isfinite(typical[0]) and math.isfinite(typical[1])):
        return Range(bounds, None, "nothing bounds it", zeros, roots=like.roots)
    return Range(bounds, typical, like.reason, zeros, uneven, roots=like.roots)


def moments_of_square(mean: float, std: float) -> tuple[float, float]:
    """Of x², x ~ N(mean, std²)."""
    return mean**2 + std**2, math.sqrt(4.0 * mean**2 * std**2 + 2.0 * std**4)


def moments_of_rectified(mean: float, std: float, slope: float) -> tuple[float, float]:
    """Of x where x > 0 and slope·x elsewhere, x ~ N(mean, std²): slope 0 is ReLU, −1 the absolute value."""
    if std == 0.0:
        return max(mean, slope * mean), 0.0
    z = mean / std
    share, density = 0.5 * math.erfc(-z / math.sqrt(2.0)), math.exp(-0.5 * z * z) / math.sqrt(2.0 * math.pi)
    above, square_above = mean * share + std * density, (mean**2 + std**2) * share + mean * std * density
    center = above + slope * (mean - above)
    square = square_above + slope**2 * (mean**2 + std**2 - square_above)
    return center, math.sqrt(max(square - center**2, 0.0))


def around(mean: float, std: float, bounds: Interval) -> Interval:
    """mean ± 3 std within the bounds. A sum that comes near a bound does not reach it: a hundredth of the way is left."""
    low, high = mean - 3.0 * std, mean + 3.0 * std
    if low <= bounds[0]:
        low = bounds[0] + 0.01 * (mean - bounds[0]) if std else bounds[0]
    if high >= bounds[1]:
        high = bounds[1] - 0.01 * (bounds[1] - mean) if std else bounds[1]
    return within((low, high), bounds)


def union_of_roots(place: int, operands: list[Range]) -> frozenset[int]:
    """The roots of what a layer makes of several operands."""
    if len(operands) == 1:
        return operands[0].roots
    roots = frozenset[int]().union(*(operand.roots for operand in operands))
    return frozenset((place,)) if len(roots) > MANY_ROOTS else roots


def new_root(place: int, operands: list[Range]) -> frozenset[int]:
    """A layer that makes values of its own, if any input reaches it."""
    return frozenset((place,)) if any(operand.roots for operand in operands) else frozenset()


def moved(range_: Range, place: int | None = None) -> Range:
    """The same values elsewhere; a part of them, if a place is given, is a root of its own."""
    return range_ if place is None or not range_.roots else replace(range_, roots=frozenset((place,)))


def sum_bounds(bounds: Interval, count: int | None) -> Interval:
    """Of a sum of `count` terms, one or more where it is not known."""
    low, high = bounds
    if count is not None:
        return (count * low if low else 0.0), (count * high if high else 0.0)
    return (low if low >= 0.0 else -INFINITY), (high if high <= 0.0 else INFINITY)
