"""What an activation function does to a Gaussian signal: E[φ(z)], E[φ(z)²] and E[φ'(z)²], by quadrature. Imports ir and `measure.signal.curves`.

The integrals are split where φ or φ' has a kink and each piece is integrated by Gauss–Legendre against the normal density, so that
rectifiers come out to machine precision, where plain Gauss–Hermite converges like 1/n. Nothing is computed before it is asked for.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import lru_cache
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from trainaudit.frozen import frozen
from trainaudit.ir.graph import Attribute
from trainaudit.ir.ops import ACTIVATIONS, Op
from trainaudit.measure.signal.curves import Curve, curve_of

Floats = npt.NDArray[np.float64]

_BENDING = ACTIVATIONS | {Op.CLIP}
_REACH = 12.0
"""Standard deviations to integrate over: the density beyond is below 1e-31."""
_NODES = 64


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
    if op is Op.GLU:
        gate = activation_moments(Op.SIGMOID, None, mean, std)
        assert gate is not None
        second = mean * mean + std * std
        return GaussianMoments(mean * gate.mean, second * gate.second, gate.second)
    curve = curve_of(op, attributes or {}) if op in _BENDING else None
    return None if curve is None else _moments(curve, mean, std)


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


@lru_cache(maxsize=4096)
def _moments(curve: Curve, mean: float, std: float) -> GaussianMoments:
    points, weights = _quadrature(tuple(k for k in curve.knots if math.isfinite(k)), mean, std)
    values, slopes = curve.function(points), curve.slope(points)
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
