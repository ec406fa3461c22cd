"""Activation functions and elementwise mathematics on intervals. Stdlib, ir and the sibling `interval` only."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from trainaudit.ir.graph import Attribute
from trainaudit.ir.ops import Op
from trainaudit.measure.intervals.interval import (
    INFINITY,
    NON_NEGATIVE,
    UNIT,
    Interval,
    absolute,
    dipping,
    monotone,
    negative,
    reciprocal,
    within,
)

_SELU_SCALE, _SELU_ALPHA = 1.0507009873554805, 1.6732632423543772
"""Klambauer et al. 2017, arXiv:1706.02515."""


def exponential(x: float) -> float:
    """eˣ, infinite where it leaves the doubles."""
    try:
        return math.exp(x)
    except OverflowError:
        return INFINITY


def logarithm(x: float) -> float:
    """ln x, −∞ from zero downward."""
    return -INFINITY if x <= 0.0 else math.log(x)


def sigmoid(x: float) -> float:
    return 1.0 / (1.0 + exponential(-x)) if x >= 0.0 else 1.0 - sigmoid(-x)


def softplus(x: float) -> float:
    return max(x, 0.0) + math.log1p(exponential(-abs(x)))


def _elu(alpha: float) -> Callable[[float], float]:
    return lambda x: x if x > 0.0 else alpha * math.expm1(x)


def _selu(x: float) -> float:
    return _SELU_SCALE * (x if x > 0.0 else _SELU_ALPHA * math.expm1(x))


def _root(x: float) -> float:
    return math.sqrt(max(x, 0.0))


def _normal(x: float) -> float:
    """Probability that a standard normal stays below x."""
    return 0.5 * math.erfc(-x / math.sqrt(2.0))


def _gated(gate: Callable[[float], float]) -> Callable[[float], float]:
    """x·gate(x), 0 at −∞."""
    return lambda x: 0.0 if x == -INFINITY else x * gate(x)


_MONOTONE: dict[Op, Callable[[float], float]] = {
    Op.RELU: lambda x: max(x, 0.0),
    Op.RELU6: lambda x: min(max(x, 0.0), 6.0),
    Op.SELU: _selu,
    Op.SIGMOID: sigmoid,
    Op.TANH: math.tanh,
    Op.ERF: math.erf,
    Op.SOFTPLUS: softplus,
    Op.SOFTSIGN: lambda x: math.copysign(1.0, x) if math.isinf(x) else x / (1.0 + abs(x)),
    Op.LOG_SIGMOID: lambda x: -softplus(-x),
    Op.EXP: exponential,
    Op.LOG: logarithm,
    Op.SQRT: _root,
    Op.SIGN: lambda x: 0.0 if x == 0.0 else math.copysign(1.0, x),
    Op.ROUND: lambda x: x if math.isinf(x) else float(round(x)),
    Op.FLOOR: lambda x: x if math.isinf(x) else float(math.floor(x)),
    Op.CEIL: lambda x: x if math.isinf(x) else float(math.ceil(x)),
}

_DIPPING: dict[Op, tuple[Callable[[float], float], float, float]] = {
    Op.GELU: (_gated(_normal), -0.7517916243460315, -0.16997120747990369),
    Op.SILU: (_gated(sigmoid), -1.2784645427610737, -0.27846454276107374),
    Op.MISH: (_gated(lambda x: math.tanh(softplus(x))), -1.1924312145154954, -0.3088434130172503),
    Op.HARD_SWISH: (_gated(lambda x: min(max(x / 6.0 + 0.5, 0.0), 1.0)), -1.5, -0.375),
}
"""Function, where it is lowest, and how low it is there. The tanh and sigmoid forms of GELU differ in the third digit and get their own."""

_QUICK_GELU = (_gated(lambda x: sigmoid(1.702 * x)), -1.2784645427610737 / 1.702, -0.27846454276107374 / 1.702)


def image(op: Op, attributes: Mapping[str, Attribute], a: Interval) -> Interval | None:
    """The interval of φ(x) for x in `a`; None for an op that is no function of one number."""
    function = _MONOTONE.get(op)
    if function is not None:
        return monotone(function, a)
    dip = _DIPPING.get(op)
    if dip is not None:
        if op is Op.GELU and attributes.get("approximate") == "quick":
            dip = _QUICK_GELU
        low, high = dipping(dip[0], a, dip[1], dip[2])
        # the tanh form of GELU lies within 1e-3 of the exact one
        return (low - 1e-3 if op is Op.GELU and low < 0.0 else low), high
    if op in (Op.LEAKY_RELU, Op.PRELU):
        slope = _number(attributes, "negative_slope", 0.01 if op is Op.LEAKY_RELU else 0.25)
        return monotone(lambda x: x if x > 0.0 else slope * x, a) if slope > 0.0 else None
    if op in (Op.ELU, Op.CELU):
        return monotone(_elu(_number(attributes, "alpha", 1.0)), a)
    if op in (Op.CLIP, Op.HARD_TANH):
        return within(a, (_number(attributes, "min", -INFINITY), _number(attributes, "max", INFINITY)))
    if op is Op.HARD_SIGMOID:
        alpha, beta = _number(attributes, "alpha", 1.0 / 6.0), _number(attributes, "beta", 0.5)
        return within((alpha * a[0] + beta, alpha * a[1] + beta), UNIT) if alpha > 0.0 else UNIT
    if op is Op.THRESHOLDED_RELU:
        return (0.0 if a[0] <= _number(attributes, "threshold", 1.0) else a[0]), max(a[1], 0.0)
    if op is Op.ABS:
        return absolute(a)
    if op is Op.NEG:
        return negative(a)
    if op is Op.RECIPROCAL:
        return reciprocal(a)
    if op in (Op.SIN, Op.COS):
        return -1.0, 1.0
    if op is Op.LOG_SOFTMAX:
        return -INFINITY, 0.0
    if op in (Op.SOFTMAX, Op.HARDMAX, Op.COMPARE, Op.LOGICAL, Op.ONE_HOT, Op.IS_FINITE):
        return UNIT
    return NON_NEGATIVE if op in (Op.ARGMAX, Op.NONZERO) else None


def _number(attributes: Mapping[str, Attribute], name: str, default: float) -> float:
    found = attributes.get(name)
    return float(found) if isinstance(found, (int, float)) else default
