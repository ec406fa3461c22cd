"""Sizes of traced tensors in the graph's words: numbers, and polynomials of named symbols. sympy comes with torch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from trainaudit.ir.graph import Dimension, Shape
from trainaudit.load.shapes.dimension_text import spelled


def dimension(size: Any, names: Mapping[Any, str]) -> Dimension:
    """A size as the graph spells it: `names` gives the word for a symbol; None for what is no polynomial (a rounded division)."""
    if isinstance(size, int):
        return size
    expression = size.node.expr
    if expression.is_Integer:
        return int(expression)
    terms: dict[tuple[str, ...], int] = {}
    for product, coefficient in expression.expand().as_coefficients_dict().items():
        symbols: list[str] = []
        for factor, power in product.as_powers_dict().items():
            if factor.is_Integer:
                coefficient *= factor**power
            elif factor.is_Symbol and power.is_Integer and power > 0:
                symbols += [names.get(factor, str(factor))] * int(power)
            else:
                return None
        if not coefficient.is_Integer:
            return None
        key = tuple(sorted(symbols))
        terms[key] = terms.get(key, 0) + int(coefficient)
    return spelled(terms)


def shape_of(value: Any, names: Mapping[Any, str]) -> Shape:
    """The shape of a traced tensor."""
    return tuple(dimension(size, names) for size in value.shape)


def name_symbols(inputs: Iterable[Any]) -> dict[Any, str]:
    """A word for each symbol in the first axis of the inputs. Only axes as long as the first input's are left open (see `capture`), so all
    of them are the batch."""
    names: dict[Any, str] = {}
    for value in inputs:
        sizes: Any = getattr(value, "shape", ())
        if len(sizes) and not isinstance(sizes[0], int) and sizes[0].node.expr.is_Symbol:
            names[sizes[0].node.expr] = "batch"
    return names
