"""Arithmetic of closed intervals [low, high] of the extended real line. Stdlib only.

An operation gives the smallest interval that holds the results for all operands in theirs, as far as plain doubles tell.
"""

from __future__ import annotations

import math
from collections.abc import Callable

Interval = tuple[float, float]

INFINITY = math.inf
ANY: Interval = (-INFINITY, INFINITY)
NON_NEGATIVE: Interval = (0.0, INFINITY)
UNIT: Interval = (0.0, 1.0)


def hull(*intervals: Interval) -> Interval:
    """The smallest interval around all of them."""
    return min(low for low, _ in intervals), max(high for _, high in intervals)


def within(interval: Interval, limits: Interval) -> Interval:
    """What clamping to the limits leaves."""
    low, high = limits
    return min(max(interval[0], low), high), min(max(interval[1], low), high)


def add(a: Interval, b: Interval) -> Interval:
    return _sum(a[0], b[0], -INFINITY), _sum(a[1], b[1], INFINITY)


def negative(a: Interval) -> Interval:
    return -a[1], -a[0]


def subtract(a: Interval, b: Interval) -> Interval:
    return add(a, negative(b))


def multiply(a: Interval, b: Interval) -> Interval:
    products = [_product(x, y) for x in a for y in b]
    return min(products), max(products)


def reciprocal(a: Interval) -> Interval:
    """1/x; everything where x may be zero from both sides."""
    low, high = a
    if low > 0.0 or high < 0.0:
        return 1.0 / high, 1.0 / low
    if low == 0.0 and high > 0.0:
        return 1.0 / high, INFINITY
    if high == 0.0 and low < 0.0:
        return -INFINITY, 1.0 / low
    return ANY


def absolute(a: Interval) -> Interval:
    low, high = a
    if low >= 0.0:
        return a
    return (-high, -low) if high <= 0.0 else (0.0, max(-low, high))


def square(a: Interval) -> Interval:
    low, high = absolute(a)
    return _product(low, low), _product(high, high)


def power(a: Interval, exponent: float) -> Interval:
    """x ** exponent, as far as it is real: a negative base of a fractional power is left out."""
    if exponent == 0.0:
        return 1.0, 1.0
    if exponent < 0.0:
        return reciprocal(power(a, -exponent))
    if exponent != int(exponent):
        a = within(a, NON_NEGATIVE)
    elif int(exponent) % 2 == 0:
        a = absolute(a)
    return _power(a[0], exponent), _power(a[1], exponent)


def monotone(function: Callable[[float], float], a: Interval) -> Interval:
    """The image under a non-decreasing function."""
    return function(a[0]), function(a[1])


def dipping(function: Callable[[float], float], a: Interval, lowest: float, least: float) -> Interval:
    """The image under a function that falls to `least` at `lowest` and rises from there (GELU, SiLU, Mish)."""
    low, high = function(a[0]), function(a[1])
    return (least if a[0] < lowest < a[1] else min(low, high)), max(low, high)


def _sum(x: float, y: float, otherwise: float) -> float:
    total = x + y
    return otherwise if math.isnan(total) else total


def _product(x: float, y: float) -> float:
    return 0.0 if x == 0.0 or y == 0.0 else x * y


def _power(x: float, exponent: float) -> float:
    try:
        return math.copysign(abs(x) ** exponent, x)
    except OverflowError:
        return math.copysign(INFINITY, x)
