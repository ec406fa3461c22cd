"""Elementwise functions with their derivatives, and where a quadrature has to take care. Imports ir and numpy only."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from trainaudit.frozen import frozen
from trainaudit.ir.graph import Attribute
from trainaudit.ir.ops import Op

Floats = npt.NDArray[np.float64]
Function = Callable[[Floats], Floats]

_SELU_SCALE = 1.0507009873554805
_SELU_ALPHA = 1.6732632423543772
"""Klambauer et al. 2017, arXiv:1706.02515."""
_REACH = 9.0
_STEPS = 4097
_PER_UNIT = (_STEPS - 1) / (2.0 * _REACH)
_MANY = 256
_TINY = 1e-30


@frozen(eq=False)
class Curve:
    """φ and φ'. `wave` is the phase p where φ(x) = sin(x + p). `knots` are where φ bends: kinks, or the borders of what saturates; up to `smooth_below` standard deviations of its input φ
    counts as a polynomial. `leak` is the slope for x < 0 where φ(x) = x for x > 0 and leak · x below. `is_positive` says that φ ≥ 0."""

    function: Function
    slope: Function
    knots: tuple[float, ...] = ()
    smooth_below: float = 1.0
    leak: float | None = None
    is_positive: bool = False
    wave: float | None = None


@lru_cache(maxsize=1)
def normal_table() -> tuple[Floats, Floats]:
    """Grid and Φ on it."""
    grid = np.linspace(-_REACH, _REACH, _STEPS)
    root = math.sqrt(0.5)
    return grid, np.array([0.5 * math.erfc(-x * root) for x in grid.tolist()])


def normal_cdf(x: Floats) -> Floats:
    """Φ to within 10⁻⁶."""
    return looked_up(x, normal_table()[1])


def looked_up(x: Floats, table: Floats) -> Floats:
    """What a table over the grid of `normal_table` says at x, linearly between its entries and constant beyond its ends."""
    if x.size < _MANY:
        return np.interp(x, normal_table()[0], table)
    place = np.clip(x * _PER_UNIT + 0.5 * (_STEPS - 1), 0.0, _STEPS - 1.001)  # np.interp would search for each
    index = place.astype(np.int32)
    place -= index
    low = table.take(index)
    index += 1
    return low + place * (table.take(index) - low)


def curve_of(op: Op, attributes: Mapping[str, Attribute]) -> Curve | None:
    """The function of an elementwise layer with one operand, None for another kind of layer."""
    names = _ATTRIBUTES.get(op)
    if names is None:
        return _curve(op, ())
    found = []
    for name, default in names:
        value = attributes.get(name, default)
        found.append(value if isinstance(value, int | float | str) else default)
    return _curve(op, tuple(found))


_ATTRIBUTES: dict[Op, tuple[tuple[str, float | str], ...]] = {
    Op.LEAKY_RELU: (("negative_slope", 0.01),),
    Op.PRELU: (("negative_slope", 0.25),),
    Op.ELU: (("alpha", 1.0),),
    Op.CELU: (("alpha", 1.0),),
    Op.HARD_TANH: (("min", -1.0), ("max", 1.0)),
    Op.CLIP: (("min", -math.inf), ("max", math.inf)),
    Op.THRESHOLDED_RELU: (("threshold", 1.0),),
    Op.GELU: (("approximate", "none"),),
    Op.HARD_SIGMOID: (("alpha", 1.0 / 6.0), ("beta", 0.5)),
    Op.POW: (("scalar", math.nan), ("scalar_side", "right")),
    Op.MIN: (("scalar", math.nan),),
    Op.MAX: (("scalar", math.nan),),
}


@lru_cache(maxsize=256)
def rectifier(leak: float) -> Curve:
    """ReLU, leaky ReLU and, with a slope of −1, the absolute value."""
    return Curve(
        lambda x: np.where(x > 0.0, x, leak * x), lambda x: np.where(x > 0.0, 1.0, leak), (0.0,), 0.0, leak, leak <= 0.0
    )


def affine(curve: Curve, factor: float, offset: float) -> Curve:
    """factor · φ(x) + offset."""
    if factor == 0.0:
        return Curve(lambda x: np.full_like(x, offset), np.zeros_like)
    return Curve(
        lambda x: factor * curve.function(x) + offset, lambda x: factor * curve.slope(x), curve.knots, curve.smooth_below, None,
        curve.is_positive and factor > 0.0 and offset >= 0.0,
    )  # fmt: skip


def positive_power(power: float) -> Curve:
    """x^power, and the logarithm for a power of zero, where x is positive."""
    if power == 0.0:
        return Curve(lambda x: np.log(np.maximum(x, _TINY)), lambda x: 1.0 / np.maximum(x, _TINY))
    return Curve(
        lambda x: np.maximum(x, _TINY) ** power,
        lambda x: power * np.maximum(x, _TINY) ** (power - 1.0),
        is_positive=True,
    )


_WHOLE = tuple(float(k) for k in range(-8, 9))
_STEPS_OF: dict[Op, tuple[Function, tuple[float, ...]]] = {
    Op.SIGN: (np.sign, (0.0,)), Op.FLOOR: (np.floor, _WHOLE), Op.CEIL: (np.ceil, _WHOLE),
    Op.ROUND: (np.round, tuple(k + 0.5 for k in _WHOLE)),
}  # fmt: skip


@lru_cache(maxsize=256)
def _curve(op: Op, p: tuple[float | str, ...]) -> Curve | None:
    numbers = tuple(float(value) for value in p if not isinstance(value, str))
    match op:
        case Op.RELU:
            return rectifier(0.0)
        case Op.ABS:
            return rectifier(-1.0)
        case Op.LEAKY_RELU | Op.PRELU:
            return rectifier(numbers[0])
        case Op.RELU6:
            return _clip(0.0, 6.0)
        case Op.HARD_TANH | Op.CLIP:
            return _clip(min(numbers), max(numbers))
        case Op.THRESHOLDED_RELU:
            t = numbers[0]
            return Curve(
                lambda x: np.where(x > t, x, 0.0), lambda x: np.where(x > t, 1.0, 0.0), (t,), 0.0, None, t >= 0.0
            )
        case Op.ELU:
            return _elu(numbers[0], 1.0, 1.0)
        case Op.CELU:
            return _elu(numbers[0], 1.0, numbers[0] or 1.0)
        case Op.SELU:
            return _elu(_SELU_ALPHA, _SELU_SCALE, 1.0)
        case Op.GELU:
            return _gelu(str(p[0]))
        case Op.SILU:
            return Curve(
                lambda x: x * sigmoid(x), lambda x: sigmoid(x) * (1.0 + x * (1.0 - sigmoid(x))), (-5.0, 0.0, 5.0), 2.0
            )
        case Op.MISH:
            return Curve(lambda x: x * np.tanh(softplus(x)), _mish_slope, (-5.0, 0.0, 5.0), 2.0)
        case Op.SIGMOID:
            return Curve(sigmoid, lambda x: sigmoid(x) * (1.0 - sigmoid(x)), (-5.0, 0.0, 5.0), 2.0, None, True)
        case Op.TANH:
            return Curve(np.tanh, lambda x: 1.0 - np.tanh(x) ** 2, (-2.5, 0.0, 2.5))
        case Op.SOFTPLUS:
            return Curve(softplus, sigmoid, (-5.0, 0.0, 5.0), 2.0, None, True)
        case Op.LOG_SIGMOID:
            return Curve(lambda x: -softplus(-x), lambda x: sigmoid(-x), (-5.0, 0.0, 5.0), 2.0)
        case Op.SOFTSIGN:
            return Curve(lambda x: x / (1.0 + np.abs(x)), lambda x: (1.0 + np.abs(x)) ** -2.0, (-3.0, 0.0, 3.0), 0.0)
        case Op.ERF:
            two = 2.0 / math.sqrt(math.pi)
            return Curve(
                lambda x: 2.0 * normal_cdf(math.sqrt(2.0) * x) - 1.0, lambda x: two * np.exp(-x * x), (-2.0, 0.0, 2.0)
            )
        case Op.SIN:
            return Curve(np.sin, np.cos, wave=0.0)
        case Op.COS:
            return Curve(np.cos, lambda x: -np.sin(x), wave=0.5 * math.pi)
        case Op.EXP:
            return Curve(np.exp, np.exp, (0.0,), 1.0, None, True)
        case Op.MIN if math.isfinite(numbers[0]):
            return _clip(-math.inf, numbers[0])
        case Op.MAX if math.isfinite(numbers[0]):
            return _clip(numbers[0], math.inf)
        case Op.POW if p[1] == "right" and numbers[0] in (2.0, 3.0, 4.0):
            power = numbers[0]
            return Curve(lambda x: x**power, lambda x: power * x ** (power - 1.0), is_positive=power != 3.0)
        case Op.SIGN | Op.FLOOR | Op.CEIL | Op.ROUND:
            return Curve(_STEPS_OF[op][0], np.zeros_like, _STEPS_OF[op][1], 0.0)
        case Op.HARD_SIGMOID:
            return _hard_sigmoid(*numbers)
        case Op.HARD_SWISH:
            return Curve(
                lambda x: x * np.clip(x / 6.0 + 0.5, 0.0, 1.0),
                lambda x: np.where(np.abs(x) < 3.0, x / 3.0 + 0.5, np.where(x > 0.0, 1.0, 0.0)),
                (-3.0, 3.0), 0.0,
            )  # fmt: skip
        case _:
            return None


def sigmoid(x: Floats) -> Floats:
    return 0.5 * (1.0 + np.tanh(0.5 * x))


def softplus(x: Floats) -> Floats:
    result: Floats = np.logaddexp(0.0, x)
    return result


def _mish_slope(x: Floats) -> Floats:
    inner = np.tanh(softplus(x))
    return inner + x * (1.0 - inner * inner) * sigmoid(x)


def _clip(low: float, high: float) -> Curve:
    if math.isinf(low) and math.isinf(high):
        return rectifier(1.0)
    if low == 0.0 and math.isinf(high):
        return rectifier(0.0)
    knots = tuple(k for k in (low, high) if math.isfinite(k))
    return Curve(
        lambda x: np.clip(x, low, high),
        lambda x: np.where((x > low) & (x < high), 1.0, 0.0),
        knots,
        0.0,
        None,
        low >= 0.0,
    )


def _hard_sigmoid(alpha: float, beta: float) -> Curve:
    if alpha == 0.0:
        return Curve(lambda x: np.full_like(x, beta), np.zeros_like)
    knots = tuple(sorted((-beta / alpha, (1.0 - beta) / alpha)))
    return Curve(
        lambda x: np.clip(alpha * x + beta, 0.0, 1.0), lambda x: np.where((x > knots[0]) & (x < knots[1]), alpha, 0.0), knots, 0.0,
        None, True,
    )  # fmt: skip


def _elu(alpha: float, scale: float, width: float) -> Curve:
    """scale·(x for x > 0, alpha·(exp(x/width) − 1) below): ELU, SELU and, with width = alpha, CELU."""
    return Curve(
        lambda x: scale * np.where(x > 0.0, x, alpha * np.expm1(np.minimum(x, 0.0) / width)),
        lambda x: scale * np.where(x > 0.0, 1.0, alpha / width * np.exp(np.minimum(x, 0.0) / width)),
        (-3.0 * abs(width), 0.0), 0.0,
    )  # fmt: skip


def _gelu(kind: str) -> Curve:
    """xΦ(x) (Hendrycks & Gimpel 2016, arXiv:1606.08415) and x·sigmoid(1.702x); its tanh form is the first to within 10⁻³."""
    if kind == "quick":

        def quick_slope(x: Floats) -> Floats:
            gate = sigmoid(1.702 * x)
            return gate + 1.702 * x * gate * (1.0 - gate)

        return Curve(lambda x: x * sigmoid(1.702 * x), quick_slope, (-2.5, 0.0, 2.5), 1.5)
    density = 1.0 / math.sqrt(2.0 * math.pi)
    return Curve(
        lambda x: x * normal_cdf(x),
        lambda x: normal_cdf(x) + x * density * np.exp(-0.5 * x * x),
        (-2.5, 0.0, 2.5), 1.5,
    )  # fmt: skip
