"""Arithmetic on tensor sizes, known and symbolic. Stdlib and ir.graph only.

A symbolic size is a text: a name ("batch") or a polynomial of names in one normal spelling ("past + sequence", "12*batch",
"((height + 1)//2)"), the spelling that torch's exporter writes too, so that equal sizes are equal texts. Whatever cannot be said
exactly is None. Every text stands for a size of at least one, because a network is not trained on empty batches; results that
this would not keep from being negative are None.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache

from trainaudit.ir.graph import Dimension

LARGEST = 2**63 - 1
"""The largest size that ONNX can store; products beyond it are unknown."""

LONGEST = 160
"""Characters of the longest symbolic size that arithmetic keeps."""

_MOST_TERMS = 8
_MOST_FACTORS = 8

_Terms = Mapping[tuple[str, ...], int]
"""Sorted symbols of a product → its coefficient; () is the constant term."""


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
    left, right = _terms(a), _terms(b)
    if left is None or right is None or len(left) * len(right) > _MOST_TERMS**2:
        return None
    result: dict[tuple[str, ...], int] = {}
    for symbols, coefficient in left.items():
        for other, factor in right.items():
            key = tuple(sorted(symbols + other))
            result[key] = result.get(key, 0) + coefficient * factor
    return _dimension(result)


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
    numerator, denominator = _terms(a), _terms(b)
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
    return _dimension(result)


def floor_divide(a: Dimension, b: int) -> Dimension:
    """⌊a / b⌋ for b > 0."""
    if a is None or b <= 0:
        return None
    if isinstance(a, int):
        return a // b
    if b == 1:
        return a
    terms = _terms(a)
    if terms is None:
        return None
    whole = {symbols: coefficient // b for symbols, coefficient in terms.items()}
    rest = _dimension({symbols: coefficient % b for symbols, coefficient in terms.items()})
    if isinstance(rest, int):
        return _dimension(whole)  # what is left is a constant below b
    if rest is None:
        return None
    inner = rest if _is_symbol(rest) else f"({rest})"
    return add(_dimension(whole), _kept(f"({inner}//{b})"))


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
    first, second = sorted((str(a), str(b)))
    return _kept(f"min({first}, {second})")


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
    first, second = sorted((str(a), str(b)))
    return _kept(f"max({first}, {second})")


def is_nonnegative(size: Dimension) -> bool:
    """Whether `size` is surely at least zero, its symbols being at least one."""
    if isinstance(size, int):
        return size >= 0
    terms = _terms(size)
    if terms is None:
        return False
    return all(coefficient > 0 for symbols, coefficient in terms.items() if symbols) and sum(terms.values()) >= 0


def as_size(value: Dimension) -> Dimension:
    """`value` where it can be the size of an axis, else None."""
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
    left, right = _terms(a), _terms(b)
    if left is None or right is None:
        return None
    result = dict(left)
    for symbols, coefficient in right.items():
        result[symbols] = result.get(symbols, 0) + sign * coefficient
    return _dimension(result)


def _bounded(value: int) -> int | None:
    return value if -LARGEST <= value <= LARGEST else None


def _kept(text: str) -> str | None:
    return text if len(text) <= LONGEST else None


def _dimension(terms: _Terms) -> Dimension:
    """The normal spelling: products of more factors first, then by name, the constant last."""
    parts = sorted((-len(symbols), symbols, coefficient) for symbols, coefficient in terms.items() if coefficient)
    if not parts:
        return 0
    if len(parts) > _MOST_TERMS or parts[0][0] < -_MOST_FACTORS:
        return None
    text = ""
    for _, symbols, coefficient in parts:
        if not -LARGEST <= coefficient <= LARGEST:
            return None
        size = abs(coefficient)
        sign = (" - " if coefficient < 0 else " + ") if text else ("-" if coefficient < 0 else "")
        factors = symbols if size == 1 and symbols else (str(size), *symbols)
        text += sign + "*".join(factors)
    if not parts[-1][1] and len(parts) == 1:
        return parts[0][2]
    return _kept(text)


def _terms(size: Dimension) -> _Terms | None:
    if isinstance(size, int):
        return {(): size}
    return None if size is None else _parse(size)


@lru_cache(maxsize=8192)
def _parse(text: str) -> _Terms | None:
    """The polynomial that `text` spells, or None where it is a mere label that arithmetic must not touch."""
    if text.isidentifier():
        return {(text,): 1}
    if len(text) > LONGEST:
        return None
    result: dict[tuple[str, ...], int] = {}
    for sign, term in _signed_terms(text):
        coefficient = sign
        symbols: list[str] = []
        for position, factor in enumerate(_split(term, "*")):
            if position == 0 and factor.isascii() and factor.isdigit():
                coefficient *= int(factor)
            elif _is_symbol(factor):
                symbols.append(factor)
            else:
                return None
        key = tuple(sorted(symbols))
        result[key] = result.get(key, 0) + coefficient
    # A label such as "02" or "b + a" would come back in another spelling: it is not one of ours, leave it alone.
    return result if _dimension(result) == text else None


def _signed_terms(text: str) -> Iterable[tuple[int, str]]:
    sign = 1
    if text.startswith("-"):
        sign, text = -1, text[1:]
    for position, term in enumerate(_split(text, " ")):
        if position % 2 == 0:
            yield sign, term
        elif term in ("+", "-"):
            sign = 1 if term == "+" else -1
        else:
            yield 1, ""  # not a sign between two terms: no polynomial


def _split(text: str, separator: str) -> list[str]:
    """`text` cut at the separators outside parentheses."""
    if "(" not in text:
        return text.split(separator)
    parts = [""]
    depth = 0
    for character in text:
        depth += (character == "(") - (character == ")")
        if character == separator and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    return parts


def _is_symbol(text: str) -> bool:
    """Whether it can stand in a product: a dotted name, "(…)", "min(…)" or "max(…)" with parentheses that match."""
    if text.replace(".", "_").isidentifier():
        return True
    head, _, _ = text.partition("(")
    if head not in ("", "min", "max") or not text.endswith(")"):
        return False
    depth = 0
    for position, character in enumerate(text):
        depth += (character == "(") - (character == ")")
        if depth == 0 and position >= len(head) and position < len(text) - 1:
            return False
    return depth == 0
