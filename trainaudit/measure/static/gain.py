"""What an activation function does to a Gaussian signal: E[φ(z)], E[φ(z)²] and E[φ'(z)²], by quadrature. Imports ir only.

The integrals are split where φ or φ' has a kink and each piece is integrated by Gauss–Legendre against the normal density, so that
rectifiers come out to machine precision, where plain Gauss–Hermite converges like 1/n. Nothing is computed before it is asked for.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import lru_cache
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from trainaudit.frozen import frozen
from trainaudit.ir.graph import Attribute
from trainaudit.ir.ops import Op

Floats = npt.NDArray[np.float64]
Function = Callable[[Floats], Floats]

_REACH = 12.0
"""Standard deviations to integrate over: the density beyond is below 1e-31."""
_NODES = 64
_SELU_SCALE = 1.0507009873554805
_SELU_ALPHA = 1.6732632423543772
"""Klambauer et al. 2017, arXiv:1706.02515."""


@frozen
class GaussianMoments:
    """Of φ(x) with x ~ N(mean, std²): E[φ], E[φ²] and E[φ'²]."""

    mean: float
    second: float
    slope_second: float


def activation_moments(
    op: Op, attributes: Mapping[str, Attribute] | None = None, mean: float = 0.0, std: float = 1.0
) -> GaussianMoments | None:
    """The three integrals for an activation function, None for an op that is not an elementwise one (softmax, conv, …).

    `attributes` are the layer's (negative_slope, alpha, min, max, threshold, approximate). For GLU the gate is an independent
    draw: E[σ²]·E[x²]; its slope is that of the gated half.
    """
    return _moments(op, _shape_parameters(op, attributes or {}), mean, std)


def wanted_gain(op: Op | None, attributes: Mapping[str, Attribute] | None = None) -> float | None:
    """std(W)·√fan_in that keeps the second moment through φ: 1/√E[φ(z)²], z ~ N(0, 1); 1 where no activation function follows.

    √2 for ReLU (He et al. 2015, arXiv:1502.01852). None for an op that is not elementwise.
    """
    if op is None:
        return 1.0
    moments = activation_moments(op, attributes)
    if moments is None or moments.second <= 0.0:
        return None
    return 1.0 / math.sqrt(moments.second)


@lru_cache(maxsize=256)
def plain_gain(op: Op | None) -> float | None:
    """`wanted_gain` of an activation function without attributes."""
    return wanted_gain(op)


def _shape_parameters(op: Op, attributes: Mapping[str, Attribute]) -> tuple[float, ...]:
    """The numbers that shape φ, with torch's defaults."""

    def number(name: str, default: float) -> float:
        value = attributes.get(name, default)
        return float(value) if isinstance(value, int | float) else default

    match op:
        case Op.LEAKY_RELU:
            return (number("negative_slope", 0.01),)
        case Op.PRELU:
            return (number("negative_slope", 0.25),)
        case Op.ELU | Op.CELU:
            return (number("alpha", 1.0),)
        case Op.HARD_TANH:
            return (number("min", -1.0), number("max", 1.0))
        case Op.CLIP:
            return (number("min", -math.inf), number("max", math.inf))
        case Op.THRESHOLDED_RELU:
            return (number("threshold", 1.0),)
        case Op.GELU:
            return ({"none": 0.0, "tanh": 1.0, "quick": 2.0}.get(str(attributes.get("approximate", "none")), 0.0),)
        case _:
            return ()


@lru_cache(maxsize=4096)
def _moments(op: Op, parameters: tuple[float, ...], mean: float, std: float) -> GaussianMoments | None:
    if op is Op.GLU:
        gate = _moments(Op.SIGMOID, (), mean, std)
        assert gate is not None
        second = mean * mean + std * std
        return GaussianMoments(mean * gate.mean, second * gate.second, gate.second)
    shape = _curve(op, parameters)
    if shape is None:
        return None
    function, slope, kinks = shape
    points, weights = _quadrature(tuple(k for k in kinks if math.isfinite(k)), mean, std)
    values, slopes = function(points), slope(points)
    return GaussianMoments(
        float(weights @ values), float(weights @ (values * values)), float(weights @ (slopes * slopes))
    )


@lru_cache(maxsize=1)
def _legendre() -> tuple[Floats, Floats]:
    """Gauss–Legendre nodes and weights on [−1, 1], from the eigenvalues of the Jacobi matrix (Golub & Welsch 1969). numpy.polynomial has them too,
    and takes longer to import than they take to compute."""
    k = np.arange(1, _NODES)
    beside = k / np.sqrt(4.0 * k * k - 1.0)
    nodes, vectors = np.linalg.eigh(np.diag(beside, 1) + np.diag(beside, -1))
    return nodes, 2.0 * vectors[0] ** 2


def _quadrature(kinks: tuple[float, ...], mean: float, std: float) -> tuple[Floats, Floats]:
    """Points x and weights w with Σ w f(x) ≈ E[f(x)], x ~ N(mean, std²), exact pieces between the kinks."""
    if std <= 0.0:
        return np.array([mean]), np.array([1.0])
    inner = sorted({(kink - mean) / std for kink in kinks} | {-3.0, 0.0, 3.0})
    edges = [-_REACH, *(z for z in inner if -_REACH < z < _REACH), _REACH]
    nodes, weights = _legendre()
    points, masses = [], []
    for left, right in pairwise(edges):
        half = 0.5 * (right - left)
        z = left + half * (nodes + 1.0)
        points.append(z)
        masses.append(half * weights * np.exp(-0.5 * z * z) / math.sqrt(2.0 * math.pi))
    return mean + std * np.concatenate(points), np.concatenate(masses)


def _erf(x: Floats) -> Floats:
    return np.array([math.erf(value) for value in x.tolist()])


def _normal_cdf(x: Floats) -> Floats:
    return 0.5 * (1.0 + _erf(x / math.sqrt(2.0)))


def _sigmoid(x: Floats) -> Floats:
    return 0.5 * (1.0 + np.tanh(0.5 * x))


def _softplus(x: Floats) -> Floats:
    return np.logaddexp(0.0, x)


def _curve(op: Op, p: tuple[float, ...]) -> tuple[Function, Function, tuple[float, ...]] | None:
    """φ, φ' and the kinks of an elementwise activation function."""
    match op:
        case Op.RELU:
            return lambda x: np.maximum(x, 0.0), lambda x: (x > 0.0) * 1.0, (0.0,)
        case Op.LEAKY_RELU | Op.PRELU:
            a = p[0]
            return lambda x: np.where(x > 0.0, x, a * x), lambda x: np.where(x > 0.0, 1.0, a), (0.0,)
        case Op.RELU6:
            return lambda x: np.clip(x, 0.0, 6.0), lambda x: ((x > 0.0) & (x < 6.0)) * 1.0, (0.0, 6.0)
        case Op.THRESHOLDED_RELU:
            t = p[0]
            return lambda x: np.where(x > t, x, 0.0), lambda x: (x > t) * 1.0, (t,)
        case Op.ELU:
            return _elu(p[0], 1.0, 1.0)
        case Op.CELU:
            return _elu(p[0], 1.0, p[0])
        case Op.SELU:
            return _elu(_SELU_ALPHA, _SELU_SCALE, 1.0)
        case Op.GELU:
            return _gelu(p[0])
        case Op.SILU:
            return lambda x: x * _sigmoid(x), lambda x: _sigmoid(x) * (1.0 + x * (1.0 - _sigmoid(x))), ()
        case Op.MISH:

            def mish_slope(x: Floats) -> Floats:
                inner = np.tanh(_softplus(x))
                return inner + x * (1.0 - inner * inner) * _sigmoid(x)

            return lambda x: x * np.tanh(_softplus(x)), mish_slope, ()
        case Op.SIGMOID:
            return _sigmoid, lambda x: _sigmoid(x) * (1.0 - _sigmoid(x)), ()
        case Op.TANH:
            return np.tanh, lambda x: 1.0 - np.tanh(x) ** 2, ()
        case Op.SOFTPLUS:
            return _softplus, _sigmoid, ()
        case Op.SOFTSIGN:
            return lambda x: x / (1.0 + np.abs(x)), lambda x: (1.0 + np.abs(x)) ** -2.0, (0.0,)
        case Op.LOG_SIGMOID:
            return lambda x: -_softplus(-x), lambda x: _sigmoid(-x), ()
        case Op.HARD_TANH | Op.CLIP:
            low, high = p
            return lambda x: np.clip(x, low, high), lambda x: ((x > low) & (x < high)) * 1.0, (low, high)
        case Op.HARD_SIGMOID:
            return lambda x: np.clip(x / 6.0 + 0.5, 0.0, 1.0), lambda x: (np.abs(x) < 3.0) / 6.0, (-3.0, 3.0)
        case Op.HARD_SWISH:
            return (
                lambda x: x * np.clip(x / 6.0 + 0.5, 0.0, 1.0),
                lambda x: np.where(np.abs(x) < 3.0, x / 3.0 + 0.5, (x > 0.0) * 1.0),
                (-3.0, 3.0),
            )
        case _:
            return None


def _elu(alpha: float, scale: float, width: float) -> tuple[Function, Function, tuple[float, ...]]:
    """scale·(x for x > 0, alpha·(exp(x/width) − 1) below): ELU, SELU and, with width = alpha, CELU."""
    return (
        lambda x: scale * np.where(x > 0.0, x, alpha * np.expm1(np.minimum(x, 0.0) / width)),
        lambda x: scale * np.where(x > 0.0, 1.0, alpha / width * np.exp(np.minimum(x, 0.0) / width)),
        (0.0,),
    )


def _gelu(kind: float) -> tuple[Function, Function, tuple[float, ...]]:
    """xΦ(x) (Hendrycks & Gimpel 2016, arXiv:1606.08415), its tanh form, or x·sigmoid(1.702x)."""
    if kind == 2.0:

        def quick_slope(x: Floats) -> Floats:
            gate = _sigmoid(1.702 * x)
            return gate + 1.702 * x * gate * (1.0 - gate)

        return lambda x: x * _sigmoid(1.702 * x), quick_slope, ()
    if kind == 1.0:
        root = math.sqrt(2.0 / math.pi)

        def tanh_slope(x: Floats) -> Floats:
            inner = np.tanh(root * (x + 0.044715 * x**3))
            return 0.5 * (1.0 + inner) + 0.5 * x * (1.0 - inner**2) * root * (1.0 + 3.0 * 0.044715 * x**2)

        return lambda x: 0.5 * x * (1.0 + np.tanh(root * (x + 0.044715 * x**3))), tanh_slope, ()
    density = 1.0 / math.sqrt(2.0 * math.pi)
    return (
        lambda x: x * _normal_cdf(x),
        lambda x: _normal_cdf(x) + x * density * np.exp(-0.5 * x * x),
        (),
    )
