"""How symbolic sizes are spelled: polynomials of names as text, and back. Stdlib and ir.graph only.

Every text that `spelled` gives is read back by `terms_of` as the same polynomial. Other texts are labels: they equal themselves and
take no part in arithmetic.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache

from trainaudit.ir.graph import Dimension

LARGEST = 2**63 - 1
"""The largest size that ONNX can store; products beyond it are unknown."""

LONGEST = 160
"""Characters of the longest symbolic size that arithmetic keeps."""

MOST_TERMS = 8

_MOST_FACTORS = 8

Terms = Mapping[tuple[str, ...], int]
"""Sorted symbols of a product → its coefficient; () is the constant term."""


def terms_of(size: Dimension) -> Terms | None:
    """A size as a polynomial; None where it is unknown or a mere label."""
    if isinstance(size, int):
        return {(): size}
    return None if size is None else _parse(size)


def spelled(terms: Terms) -> Dimension:
    """The normal spelling: products of more factors first, then by name, the constant last."""
    parts = sorted((-len(symbols), symbols, coefficient) for symbols, coefficient in terms.items() if coefficient)
    if not parts:
        return 0
    if len(parts) > MOST_TERMS or parts[0][0] < -_MOST_FACTORS:
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
    return kept(text)


def kept(text: str) -> str | None:
    """`text`, unless it has grown too long to be of use."""
    return text if len(text) <= LONGEST else None


def quotient_of(symbol: str) -> tuple[Dimension, int] | None:
    """Numerator and divisor of "(n//d)"."""
    numerator, slashes, divisor = symbol[1:-1].rpartition("//")
    if not slashes or not symbol.startswith("(") or not (divisor.isascii() and divisor.isdigit()) or int(divisor) == 0:
        return None
    if numerator.startswith("(") and numerator.endswith(")") and _parse(numerator[1:-1]) is not None:
        return numerator[1:-1], int(divisor)
    return (numerator, int(divisor)) if is_symbol(numerator) else None


def is_symbol(text: str) -> bool:
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


@lru_cache(maxsize=8192)
def _parse(text: str) -> Terms | None:
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
            elif is_symbol(factor):
                symbols.append(factor)
            else:
                return None
        key = tuple(sorted(symbols))
        result[key] = result.get(key, 0) + coefficient
    # A label such as "02" or "b + a" would come back in another spelling: it is not one of ours, leave it alone.
    return result if spelled(result) == text else None


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
