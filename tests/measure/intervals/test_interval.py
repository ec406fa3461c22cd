"""Intervals hold every result: of arithmetic, and of each activation function as torch computes it."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainaudit.ir.ops import Op
from trainaudit.measure.intervals import interval as iv
from trainaudit.measure.intervals.functions import image

NUMBERS = st.floats(-50, 50, allow_subnormal=False).filter(lambda number: number == 0.0 or abs(number) > 1e-9)
ROUNDING = 1e-9


@st.composite
def intervals_with_points(draw: st.DrawFn, numbers: st.SearchStrategy[float] = NUMBERS) -> tuple[iv.Interval, float]:
    low, high = sorted((draw(numbers) + 0.0, draw(numbers) + 0.0))
    return (low, high), draw(st.floats(low, high))


def holds(interval: iv.Interval, number: float) -> bool:
    slack = ROUNDING * max(1.0, abs(number))
    return interval[0] - slack <= number <= interval[1] + slack


@given(intervals_with_points(), intervals_with_points())
def test_arithmetic(first: tuple[iv.Interval, float], second: tuple[iv.Interval, float]) -> None:
    (a, x), (b, y) = first, second
    assert holds(iv.add(a, b), x + y)
    assert holds(iv.subtract(a, b), x - y)
    assert holds(iv.multiply(a, b), x * y)
    assert holds(iv.absolute(a), abs(x))
    assert holds(iv.square(a), x * x)
    assert holds(iv.hull(a, b), x)
    assert holds(iv.within(a, b), min(max(x, b[0]), b[1]))
    if y:
        assert holds(iv.multiply(a, iv.reciprocal(b)), x / y)


@given(intervals_with_points(st.floats(-9, 9)), st.sampled_from([-2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0, 2.5, 3.0]))
def test_power(drawn: tuple[iv.Interval, float], exponent: float) -> None:
    a, x = drawn
    if (x < 0 and exponent != int(exponent)) or (abs(x) < 1e-3 and exponent < 0):
        return
    assert holds(iv.power(a, exponent), x**exponent)


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        (iv.multiply((0.0, 1.0), (0.0, math.inf)), (0.0, math.inf)),
        (iv.multiply((0.0, 0.0), iv.ANY), (0.0, 0.0)),
        (iv.add((-math.inf, 0.0), (1.0, math.inf)), iv.ANY),
        (iv.reciprocal((0.0, 4.0)), (0.25, math.inf)),
        (iv.reciprocal((-1.0, 1.0)), iv.ANY),
        (iv.square(iv.ANY), iv.NON_NEGATIVE),
    ],
)
def test_ends(expression: iv.Interval, expected: iv.Interval) -> None:
    assert expression == expected


torch = pytest.importorskip("torch")

FUNCTIONS = {
    Op.RELU: torch.relu, Op.RELU6: torch.nn.functional.relu6, Op.LEAKY_RELU: torch.nn.functional.leaky_relu, Op.ELU: torch.nn.functional.elu,
    Op.SELU: torch.selu, Op.CELU: torch.celu, Op.GELU: torch.nn.functional.gelu, Op.SILU: torch.nn.functional.silu,
    Op.MISH: torch.nn.functional.mish, Op.SIGMOID: torch.sigmoid, Op.HARD_SIGMOID: torch.nn.functional.hardsigmoid,
    Op.HARD_SWISH: torch.nn.functional.hardswish, Op.TANH: torch.tanh, Op.SOFTPLUS: torch.nn.functional.softplus,
    Op.SOFTSIGN: torch.nn.functional.softsign, Op.LOG_SIGMOID: torch.nn.functional.logsigmoid, Op.EXP: torch.exp, Op.ABS: torch.abs,
    Op.NEG: torch.neg, Op.SIN: torch.sin, Op.COS: torch.cos, Op.ERF: torch.erf, Op.SIGN: torch.sign, Op.ROUND: torch.round,
    Op.FLOOR: torch.floor, Op.CEIL: torch.ceil,
}  # fmt: skip


@pytest.mark.parametrize("op", FUNCTIONS)
@given(drawn=intervals_with_points(st.floats(-20, 20)))
def test_functions(op: Op, drawn: tuple[iv.Interval, float]) -> None:
    a, x = drawn
    found = image(op, {}, a)
    assert found is not None
    assert holds((found[0] - 1e-7, found[1] + 1e-7), float(FUNCTIONS[op](torch.tensor(x, dtype=torch.float64))))


@pytest.mark.parametrize("op", FUNCTIONS)
def test_functions_of_everything(op: Op) -> None:
    """No NaN at infinite ends."""
    found = image(op, {}, iv.ANY)
    assert found is not None
    assert found[0] <= found[1]


@pytest.mark.parametrize("approximate", ["none", "tanh", "quick"])
def test_every_gelu_has_its_own_dip(approximate: str) -> None:
    points = torch.linspace(-8, 8, 4001, dtype=torch.float64)
    if approximate == "quick":
        values = points * torch.sigmoid(1.702 * points)
    else:
        values = torch.nn.functional.gelu(points, approximate=approximate)
    found = image(Op.GELU, {"approximate": approximate}, (-8.0, 8.0))
    assert found is not None
    assert found[0] <= float(values.min()) <= found[0] + 2e-3
