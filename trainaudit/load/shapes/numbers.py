"""Arithmetic on the elements of small tensors: numbers, symbolic whole numbers and unknowns. Stdlib and load only.

Texts stand for whole numbers, also in tensors of floats. Booleans are 0 and 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from trainaudit.ir.graph import Dimension
from trainaudit.load.shapes import dimensions as size
from trainaudit.load.shapes.dimension_text import LARGEST
from trainaudit.load.shapes.known import Number

Operation = Callable[[Number, Number], Number]


def as_whole(value: Number) -> Dimension:
    """`value` for the arithmetic of sizes: a float counts where it is whole."""
    if isinstance(value, float):
        return int(value) if value.is_integer() else None
    return value


def finite(value: float) -> float | None:
    """`value`, unless it is infinite or no number."""
    return value if math.isfinite(value) else None


def operation(
    whole: Callable[[Dimension, Dimension], Dimension], real: Callable[[float, float], float] | None = None
) -> Operation:
    """An operation on elements from one on sizes and, where floats have it, one on floats."""

    def apply(a: Number, b: Number) -> Number:
        if a is None or b is None:
            return None
        if isinstance(a, str) or isinstance(b, str) or (isinstance(a, int) and isinstance(b, int)):
            return whole(as_whole(a), as_whole(b))
        return None if real is None else finite(real(a, b))

    return apply


add = operation(size.add, lambda a, b: a + b)
subtract = operation(size.subtract, lambda a, b: a - b)
minimum = operation(size.minimum, min)
maximum = operation(size.maximum, max)
_multiply = operation(size.multiply, lambda a, b: a * b)


def multiply(a: Number, b: Number) -> Number:
    """a · b; zero times anything is zero."""
    return 0 if a == 0 or b == 0 else _multiply(a, b)


def divide_real(a: Number, b: Number) -> Number:
    """a / b in tensors of floats."""
    if isinstance(a, (int, float)) and isinstance(b, (int, float)):
        return finite(a / b)
    return size.divide(as_whole(a), as_whole(b))


def _quotient(a: Dimension, b: Dimension) -> Dimension:
    exact = size.divide(a, b)
    if exact is not None or not isinstance(b, int) or b == 0:
        return exact
    if isinstance(a, int):
        return abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)
    return size.floor_divide(a, b) if b > 0 and size.is_nonnegative(a) else None


divide_whole = operation(_quotient)
"""a / b in tensors of whole numbers: towards zero, as in C."""


def _remainder(a: Dimension, b: Dimension) -> Dimension:
    if isinstance(a, int) and isinstance(b, int):
        return a % b if b else None
    return 0 if size.divide(a, b) is not None else None


modulo = operation(_remainder)


def power(a: Number, b: Number) -> Number:
    """a to the power b, within bounds."""
    if b == 1:
        return a
    if not isinstance(a, (int, float)) or not isinstance(b, (int, float)) or abs(b) > 64 or abs(a) > 2**32:
        return None
    result = a**b
    if isinstance(result, int):
        return result if abs(result) <= LARGEST else None
    return finite(result) if isinstance(result, float) else None


def equal(a: Number, b: Number) -> Number:
    """Whether a = b, as far as that does not depend on the symbols."""
    if a is None or b is None:
        return None
    if a == b:
        return 1
    if isinstance(a, (int, float)) and isinstance(b, (int, float)):
        return 0
    return 0 if less(a, b) == 1 or less(b, a) == 1 else None


def less(a: Number, b: Number) -> Number:
    """Whether a < b, as far as that does not depend on the symbols."""
    if isinstance(a, (int, float)) and isinstance(b, (int, float)):
        return int(a < b)
    distance = size.subtract(as_whole(b), as_whole(a))
    if size.is_nonnegative(size.subtract(distance, 1)):
        return 1
    return 0 if size.is_nonnegative(size.subtract(as_whole(a), as_whole(b))) else None


def greater(a: Number, b: Number) -> Number:
    """Whether a > b."""
    return less(b, a)


def less_or_equal(a: Number, b: Number) -> Number:
    """Whether a ≤ b."""
    return negation(less(b, a))


def greater_or_equal(a: Number, b: Number) -> Number:
    """Whether a ≥ b."""
    return negation(less(a, b))


def negation(a: Number) -> Number:
    """Not a."""
    return int(not a) if isinstance(a, (int, float)) else None


def conjunction(a: Number, b: Number) -> Number:
    """a and b."""
    if a == 0 or b == 0:
        return 0
    return 1 if a == 1 and b == 1 else None


def disjunction(a: Number, b: Number) -> Number:
    """a or b."""
    if a == 1 or b == 1:
        return 1
    return 0 if a == 0 and b == 0 else None


def choice(condition: Number, a: Number, b: Number) -> Number:
    """a where the condition holds, else b."""
    if condition is None:
        return a if a == b else None
    return a if condition else b


def negative(a: Number) -> Number:
    """−a."""
    return -a if isinstance(a, (int, float)) else size.subtract(0, a)


def absolute(a: Number) -> Number:
    """|a|."""
    if isinstance(a, (int, float)):
        return abs(a)
    return size.as_size(a)


def of_real(function: Callable[[float], float]) -> Callable[[Number], Number]:
    """A function of numbers that says nothing about symbols."""

    def apply(a: Number) -> Number:
        return finite(function(a)) if isinstance(a, (int, float)) else None

    return apply


def rounding(function: Callable[[float], int]) -> Callable[[Number], Number]:
    """Floor, ceil or round: symbols are whole already."""

    def apply(a: Number) -> Number:
        return float(function(a)) if isinstance(a, float) else a

    return apply
