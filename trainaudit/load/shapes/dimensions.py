"""Arithmetic on tensor sizes, known and symbolic. Stdlib, ir.graph and load.dimension_text only.

A symbolic size is a text: a name ("batch") or a polynomial of names in one normal spelling ("past + sequence", "12*batch",
"((height + 1)//2)"), the spelling that torch's exporter writes too, so that equal sizes are equal texts. Whatever cannot be said
exactly is None. Every text stands for a size of at least one, because a network is not trained on empty batches; results that
this would not keep from being negative are None.
"""

from __future__ import annotations

from collections.abc import Iterable

from trainaudit.ir.graph import Dimension
from trainaudit.load.shapes.dimension_text import LARGEST, MOST_TERMS, is_symbol, kept, quotient_of, spelled, terms_of


def add(a: Dimension, b: Dimension) -> Dimension:
    """a + b."""
    if isinstance(a, int) and isinstance(b, int):
        return _bounded(a + b)
    return _combine(a, b, 1)


def subtract(a: Dimension, b: Dimension) -> Dimension:
    """a − b; may be negative where both are numbers."""
    if isinstance(a, int) and isinstance(b, int):
        return _bounded(a - b)
    if isinstance(a, str) and a == b:
        return 0
    return _combine(a, b, -1)


def multiply(a: Dimension, b: Dimension) -> Dimension:
    """a · b."""
    if isinstance(a, int) and isinstance(b, int):
        return _bounded(a * b)
    if a == 0 or b == 0:
        return 0
    if a == 1:
        return b
    if b == 1:
        return a
    left, right = terms_of(a), terms_of(b)
    if left is None or right is None or len(left) * len(right) > MOST_TERMS**2:
        return None
    result: dict[tuple[str, ...], int] = {}
    for symbols, coefficient in left.items():
        for other, factor in right.items():
            key = tuple(sorted(symbols + other))
            result[key] = result.get(key, 0) + coefficient * factor
    return spelled(result)


def product(sizes: Iterable[Dimension]) -> Dimension:
    """The product of all of them, 1 for none."""
    result: Dimension = 1
    for size in sizes:
        result = multiply(result, size)
        if result is None:
            return None
    return result


def divide(a: Dimension, b: Dimension) -> Dimension:
    """a / b where that is exact, else None."""
    if b == 0 or a is None or b is None:
        return None
    if isinstance(a, int) and isinstance(b, int):
        return a // b if a % b == 0 else None
    if a == b:
        return 1
    if b == 1:
        return a
    numerator, denominator = terms_of(a), terms_of(b)
    if numerator is None or denominator is None or len(denominator) != 1:
        return None
    ((divisor_symbols, divisor),) = denominator.items()
    result: dict[tuple[str, ...], int] = {}
    for symbols, coefficient in numerator.items():
        if coefficient % divisor:
            return None
        rest = list(symbols)
        for symbol in divisor_symbols:
            if symbol not in rest:
                return None
            rest.remove(symbol)
        result[tuple(rest)] = coefficient // divisor
    return spelled(result)


def floor_divide(a: Dimension, b: int) -> Dimension:
    """⌊a / b⌋ for b > 0."""
    if a is None or b <= 0:
        return None
    if isinstance(a, int):
        return a // b
    if b == 1:
        return a
    terms = terms_of(a)
    if terms is None:
        return None
    whole = spelled({symbols: coefficient // b for symbols, coefficient in terms.items()})
    left = {symbols: coefficient % b for symbols, coefficient in terms.items() if coefficient % b}
    rest = spelled(left)
    if isinstance(rest, int):
        return whole  # what is left is a constant below b
    if rest is None:
        return None
    constant = left.pop((), 0)
    ((symbols, coefficient), *others) = left.items()
    if len(symbols) == 1 and coefficient == 1 and not others and (inner := quotient_of(symbols[0])) is not None:
        # ⌊(⌊n / d⌋ + c) / b⌋ = ⌊(n + c·d) / (d·b)⌋: strides multiply
        numerator, divisor = inner
        return add(whole, floor_divide(add(numerator, constant * divisor), divisor * b))
    text = rest if is_symbol(rest) else f"({rest})"
    return add(whole, kept(f"({text}//{b})"))


def ceil_divide(a: Dimension, b: int) -> Dimension:
    """⌈a / b⌉ for b > 0."""
    return floor_divide(add(a, b - 1), b)


def minimum(a: Dimension, b: Dimension) -> Dimension:
    """The smaller one; "min(a, b)" where that depends on the symbols."""
    if a is None or b is None:
        return None
    if isinstance(a, int) and isinstance(b, int):
        return min(a, b)
    if is_nonnegative(difference := subtract(b, a)):
        return a
    if difference is not None and is_nonnegative(subtract(a, b)):
        return b
    return _extreme("min", a, b)


def maximum(a: Dimension, b: Dimension) -> Dimension:
    """The larger one; "max(a, b)" where that depends on the symbols."""
    if a is None or b is None:
        return None
    if isinstance(a, int) and isinstance(b, int):
        return max(a, b)
    if is_nonnegative(difference := subtract(a, b)):
        return a
    if difference is not None and is_nonnegative(subtract(b, a)):
        return b
    return _extreme("max", a, b)


def _extreme(name: str, a: int | str, b: int | str) -> str | None:
    if not is_nonnegative(a) or not is_nonnegative(b):
        return None
    first, second = sorted((str(a), str(b)))
    return kept(f"{name}({first}, {second})")


def is_nonnegative(size: Dimension) -> bool:
    """Whether `size` is surely at least zero: names stand for at least one, quotients, minima and maxima for at least zero."""
    if isinstance(size, int):
        return size >= 0
    terms = terms_of(size)
    if terms is None:
        return False
    least = 0
    for symbols, coefficient in terms.items():
        if symbols and coefficient < 0:
            return False
        if not any(symbol.endswith(")") for symbol in symbols):
            least += coefficient
    return least >= 0


def as_size(value: Dimension) -> Dimension:
    """`value` where it can be the size of an axis, else None."""
    if isinstance(value, int):
        return value if 0 <= value <= LARGEST else None
    return value if is_nonnegative(value) else None


def broadcast(a: Dimension, b: Dimension) -> Dimension:
    """The size that two aligned axes have together under numpy's broadcasting; None for two that do not fit."""
    if a == b or b == 1:
        return a
    if a == 1:
        return b
    if isinstance(a, int):
        return None if isinstance(b, int) else a  # the other one is 1 or the same
    if isinstance(b, int):
        return b
    if a is None or b is None:
        return None
    # A mask of 1024 positions cut to the sequence fits the sequence, or the model does not run.
    if _is_minimum_of(a, b):
        return b
    if _is_minimum_of(b, a):
        return a
    return None


def merge(a: Dimension, b: Dimension) -> Dimension:
    """The more specific of two statements about one size: a number, else a symbol, else nothing. `a` wins a draw."""
    if isinstance(a, int) or b is None:
        return a
    return b if a is None or isinstance(b, int) else a


def _is_minimum_of(a: str, b: str) -> bool:
    return a.startswith("min(") and (a.startswith(f"min({b}, ") or a.endswith(f", {b})")) and len(a) > len(b) + 7


def _combine(a: Dimension, b: Dimension, sign: int) -> Dimension:
    if a is None or b is None:
        return None
    if b == 0:
        return a
    if a == 0 and sign == 1:
        return b
    left, right = terms_of(a), terms_of(b)
    if left is None or right is None:
        return None
    result = dict(left)
    for symbols, coefficient in right.items():
        result[symbols] = result.get(symbols, 0) + sign * coefficient
    return spelled(result)


def _bounded(value: int) -> int | None:
    return value if -LARGEST <= value <= LARGEST else None
