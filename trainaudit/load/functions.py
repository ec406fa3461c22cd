"""Known activation functions as values at fixed points, and elementwise operators as functions on numpy arrays. Stdlib, numpy and ir only."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from trainaudit.ir.graph import Attribute
from trainaudit.ir.ops import Op

Points = npt.NDArray[np.float64]

POINTS: Points = np.array(
    [-14.0, -9.5, -6.5, -5.0, -4.1, -3.3, -2.7, -2.0, -1.5, -1.1, -0.8, -0.5, -0.3, -0.1, 0.1, 0.2, 0.4, 0.7, 1.0, 1.3,
     1.8, 2.4, 3.0, 3.6, 4.5, 5.5, 6.4, 7.7, 12.0, 23.0]
)  # fmt: skip
_TOLERANCE = 1.5e-3
"""Half-precision constants (0.7979 for √(2/π)) shift a GELU by about 5e-4 at these points."""


def _sigmoid(x: Points) -> Points:
    return 1.0 / (1.0 + np.exp(-x))


def _softplus(x: Points) -> Points:
    return np.logaddexp(0.0, x)


def _erf(x: Points) -> Points:
    return np.array([math.erf(value) for value in x.tolist()])


def _known() -> list[tuple[Op, dict[str, Attribute], Points]]:
    x = POINTS
    return [
        (Op.GELU, {"approximate": "none"}, x * 0.5 * (1.0 + _erf(x / math.sqrt(2.0)))),
        (Op.GELU, {"approximate": "tanh"}, x * 0.5 * (1.0 + np.tanh(math.sqrt(2.0 / math.pi) * (x + 0.044715 * x**3)))),
        (Op.GELU, {"approximate": "quick"}, x * _sigmoid(1.702 * x)),
        (Op.SILU, {}, x * _sigmoid(x)),
        (Op.MISH, {}, x * np.tanh(_softplus(x))),
        (Op.HARD_SWISH, {}, x * np.clip(x + 3.0, 0.0, 6.0) / 6.0),
        (Op.HARD_SIGMOID, {"alpha": 1.0 / 6.0, "beta": 0.5}, np.clip(x / 6.0 + 0.5, 0.0, 1.0)),
        (Op.HARD_SIGMOID, {"alpha": 0.2, "beta": 0.5}, np.clip(0.2 * x + 0.5, 0.0, 1.0)),
        (Op.SIGMOID, {}, _sigmoid(x)),
        (Op.TANH, {}, np.tanh(x)),
        (Op.SOFTPLUS, {}, _softplus(x)),
        (Op.LOG_SIGMOID, {}, -_softplus(-x)),
        (Op.SOFTSIGN, {}, x / (1.0 + np.abs(x))),
        (Op.RELU, {}, np.maximum(x, 0.0)),
        (Op.RELU6, {}, np.clip(x, 0.0, 6.0)),
        (Op.HARD_TANH, {"min": -1.0, "max": 1.0}, np.clip(x, -1.0, 1.0)),
        (Op.SELU, {}, 1.0507009873554805 * np.where(x > 0, x, 1.6732632423543772 * np.expm1(x))),
        (Op.ELU, {"alpha": 1.0}, np.where(x > 0, x, np.expm1(x))),
    ]


KNOWN = _known()
_TABLE: Points = np.stack([values for _, _, values in KNOWN])
_SCALE: Points = np.maximum(np.abs(_TABLE), 1.0)


def name_function(values: Points) -> tuple[Op, dict[str, Attribute]] | None:
    """The known function with these values at `POINTS`, or None."""
    error = np.abs((_TABLE - values) / _SCALE).max(axis=1)
    best = int(error.argmin())
    if error[best] < _TOLERANCE:
        op, attributes, _ = KNOWN[best]
        return op, dict(attributes)
    return _name_by_parameter(values)


def _name_by_parameter(values: Points) -> tuple[Op, dict[str, Attribute]] | None:
    """A function with one free number, read off the values and then checked at every point."""
    x = POINTS
    slope = float(values[0] / x[0])
    # a slope of one is no bend: x · 0.9995 is a factor
    if 0 < abs(slope) < 0.99 and np.allclose(values, np.where(x > 0, x, slope * x), rtol=1e-3, atol=1e-6):
        return Op.LEAKY_RELU, {"negative_slope": round(slope, 7)}
    alpha = -float(values[0])
    if 0 < alpha < 10 and np.allclose(values, np.where(x > 0, x, alpha * np.expm1(x)), rtol=1e-3, atol=1e-4):
        return Op.ELU, {"alpha": round(alpha, 5)}
    inside = (values > 0) & (values < 1)
    if values.min() == 0 and values.max() == 1 and inside.sum() >= 2:
        slope, offset = np.polyfit(x[inside], values[inside], 1)
        if np.allclose(values, np.clip(slope * x + offset, 0, 1), atol=1e-4):
            return Op.HARD_SIGMOID, {"alpha": round(float(slope), 6), "beta": round(float(offset), 6)}
    passed = values != 0
    if passed.any() and not passed.all() and (values[passed] == x[passed]).all() and x[passed].min() > x[~passed].max():
        return Op.THRESHOLDED_RELU, {"threshold": round(float(x[passed].min() + x[~passed].max()) / 2, 6)}
    return None


Given = dict[str, Any]
"""A node's attributes."""


def _leaky(given: Given, x: Any) -> Any:
    return np.where(x > 0, x, given.get("alpha", 0.01) * x)


def _elu(given: Given, x: Any) -> Any:
    return np.where(x > 0, x, given.get("alpha", 1.0) * np.expm1(x))


def _hard_sigmoid(given: Given, x: Any) -> Any:
    return np.clip(given.get("alpha", 0.2) * x + given.get("beta", 0.5), 0.0, 1.0)


def _clip(given: Given, x: Any, low: Any = None, high: Any = None) -> Any:
    low = given.get("min", -np.inf) if low is None else low
    high = given.get("max", np.inf) if high is None else high
    return np.clip(x, low, high)


def _two(function: Callable[..., Any]) -> Callable[..., Any]:
    return lambda _given, *operands: function(*operands)


ELEMENTWISE: dict[str, Callable[..., Any]] = {
    "Neg": _two(np.negative), "Abs": _two(np.abs), "Exp": _two(np.exp), "Log": _two(np.log), "Sqrt": _two(np.sqrt),
    "Reciprocal": _two(np.reciprocal), "Tanh": _two(np.tanh), "Erf": _two(_erf), "Sigmoid": _two(_sigmoid),
    "Softplus": _two(_softplus), "Relu": _two(lambda x: np.maximum(x, 0.0)), "HardSigmoid": _hard_sigmoid, "Elu": _elu,
    "LeakyRelu": _leaky, "Clip": _clip, "Cast": _two(lambda x: x), "Sign": _two(np.sign), "Not": _two(np.logical_not),
    "Add": _two(np.add), "Sub": _two(np.subtract), "Mul": _two(np.multiply), "Div": _two(np.divide), "Pow": _two(np.power),
    "Sum": _two(lambda *terms: sum(terms)), "Max": _two(np.maximum), "Min": _two(np.minimum), "Where": _two(np.where), "Greater": _two(np.greater),
    "GreaterOrEqual": _two(np.greater_equal), "Less": _two(np.less), "LessOrEqual": _two(np.less_equal),
}  # fmt: skip
"""Elementwise operators as functions of (attributes, *operands)."""

PARAMETRIC = frozenset({"HardSigmoid", "Elu", "LeakyRelu", "Clip"})
