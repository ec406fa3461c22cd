"""Symbolic sizes: whatever arithmetic says must hold for every choice of the symbols."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainaudit.ir.graph import Dimension
from trainaudit.load.shapes import dimensions as size
from trainaudit.load.shapes.dimension_text import LONGEST

SYMBOLS = ("N", "past", "seq", "s0")


def _halved_sum(a: Dimension, b: Dimension) -> Dimension:
    return size.floor_divide(size.add(a, b), 2)


sizes = st.recursive(
    st.one_of(st.integers(0, 40), st.sampled_from(SYMBOLS)),
    lambda inner: st.builds(
        lambda operation, a, b: operation(a, b),
        st.sampled_from([size.add, size.multiply, size.minimum, size.maximum, _halved_sum]),
        inner,
        inner,
    ),
    max_leaves=6,
)


def value(of: Dimension, symbols: dict[str, int]) -> int:
    """A symbolic size with numbers put in: its spelling is Python's."""
    assert of is not None
    return of if isinstance(of, int) else eval(of, {"min": min, "max": max}, dict(symbols))


numbers = st.fixed_dictionaries({name: st.integers(1, 30) for name in SYMBOLS})


@given(sizes, sizes, numbers)
def test_sums_differences_and_products_hold_for_all_symbols(
    a: Dimension, b: Dimension, symbols: dict[str, int]
) -> None:
    if a is None or b is None:
        return
    left, right = value(a, symbols), value(b, symbols)
    for operation, expected in (
        (size.add, left + right),
        (size.subtract, left - right),
        (size.multiply, left * right),
        (size.minimum, min(left, right)),
        (size.maximum, max(left, right)),
    ):
        result = operation(a, b)
        assert result is None or value(result, symbols) == expected


@given(sizes, st.integers(1, 9), numbers)
def test_divisions_hold_for_all_symbols(a: Dimension, divisor: int, symbols: dict[str, int]) -> None:
    if a is None:
        return
    whole = value(a, symbols)
    for result, expected in (
        (size.floor_divide(a, divisor), whole // divisor),
        (size.ceil_divide(a, divisor), -(-whole // divisor)),
        (size.divide(size.multiply(a, divisor), divisor), whole),
    ):
        assert result is None or value(result, symbols) == expected


@given(sizes, sizes, numbers)
def test_exact_division_undoes_multiplication(a: Dimension, b: Dimension, symbols: dict[str, int]) -> None:
    quotient = size.divide(size.multiply(a, b), b)
    assert quotient is None or a is None or value(quotient, symbols) == value(a, symbols)


@settings(max_examples=500)
@given(sizes, numbers)
def test_what_is_called_nonnegative_is(a: Dimension, symbols: dict[str, int]) -> None:
    for shifted in (a, size.subtract(a, 1), size.subtract(a, "N"), size.subtract(3, a)):
        if size.is_nonnegative(shifted):
            assert value(shifted, symbols) >= 0


@given(sizes, sizes, numbers)
def test_broadcasting_agrees_with_numpy_where_numpy_broadcasts(
    a: Dimension, b: Dimension, symbols: dict[str, int]
) -> None:
    result = size.broadcast(a, b)
    if a is None or b is None or result is None:
        return
    left, right = value(a, symbols), value(b, symbols)
    if left == right or 1 in (left, right):
        assert value(result, symbols) == (right if left == 1 else left)


@pytest.mark.parametrize(
    "result, expected",
    [
        (size.multiply("N", 12), "12*N"),
        (size.add("past", "seq"), "past + seq"),
        (size.add("seq", "past"), "past + seq"),
        (size.subtract("past + seq", "past"), "seq"),
        (size.divide("12*N", "N"), 12),
        (size.add(size.subtract("N", 1), 1), "N"),
        (size.add(size.floor_divide(size.subtract("H", 1), 2), 1), "((H + 1)//2)"),
        (size.floor_divide(size.add("((H + 1)//2)", 1), 2), "((H + 3)//4)"),
        (size.floor_divide("((a) + (b)//2)", 2), "(((a) + (b)//2)//2)"),
        (size.minimum("N", "N + past"), "N"),
        (size.broadcast("min(1024, seq)", "seq"), "seq"),
        (size.broadcast("a", "b"), None),
        (size.broadcast(2, 3), None),
        (size.broadcast(None, 3), 3),
        (size.broadcast("N", None), None),
        (size.as_size("N - 5"), None),
        (size.as_size("N - 1"), "N - 1"),
    ],
)
def test_spelling(result: Dimension, expected: Dimension) -> None:
    assert result == expected


@pytest.mark.parametrize(
    "label", ["02", "b + a", "a b", "3x", "N**2", "-", "a + ", "2*3", "f(", ")(", "é é", "1", "N *2"]
)
def test_labels_that_are_no_arithmetic_stay_labels(label: str) -> None:
    assert size.add(label, 1) is None
    assert size.multiply(label, 2) is None
    assert size.subtract(label, label) == 0
    assert size.broadcast(label, 1) == label


def test_sizes_are_bounded() -> None:
    assert size.multiply(2**62, 4) is None
    assert size.add(2**63 - 1, 1) is None
    grown: Dimension = "N"
    for _ in range(100):
        grown = size.multiply(grown, size.add(grown, "M")) or grown
        assert len(str(grown)) <= LONGEST
    assert size.add("x" * 10_000, 1) is None
    assert size.multiply("y" * 150, "z" * 150) is None
