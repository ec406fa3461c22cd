"""What an elementwise function does to Gaussian units: mean, variance, the variance that positions share, and the same of its slope. numpy only.

With z = mean + s + o, s common to the positions of a sample and o each position's own, the shared variance of φ(z) is Var_s(E_o φ(z)), which is
the dual activation at the correlation Var(s)/Var(z) (Daniely et al. 2016, arXiv:1602.05897; Poole et al. 2016, arXiv:1606.05340).
"""

from __future__ import annotations

import math
from dataclasses import replace
from functools import lru_cache

import numpy as np

from trainaudit.ir.ops import Op
from trainaudit.measure.signal.curves import Curve, curve_of, looked_up, normal_cdf, normal_table
from trainaudit.measure.signal.prediction import NONE, Floats, Signal

_NODES = 24
_PIECE_NODES = 14
_REACH = 7.5
"""Standard deviations to integrate over: the density beyond is below 1e-12."""
_SHARED_NODES = 16
_DEGREE = 12
"""Hermite coefficients that the shared variance of a general function is summed over."""
_TINY = 1e-300


def through(curve: Curve, mean: Floats, own: Floats, shared: Floats) -> tuple[Floats, Floats, Floats]:
    """Mean, own and shared variance of φ(z), per unit."""
    if curve.wave is not None:
        return _waved(curve.wave, mean, own, shared)
    variance = own if shared is NONE else own + shared
    std = np.sqrt(variance)
    if curve.leak is not None:
        center, spread = _rectified(curve.leak, mean, std)
        total = variance * spread
        if shared is NONE:
            return center, total, NONE
        common = _variance_of_means(curve.leak, mean, own, shared)
    else:
        points, weights = _points(curve, mean, std)
        values = curve.function(points)
        center = (values * weights).sum(axis=-1)
        deviation = values - center[:, None]
        total = (deviation * deviation * weights).sum(axis=-1)
        if shared is NONE:
            return center, total, NONE
        common = _dual(deviation, points, weights, mean, std, shared / np.maximum(variance, _TINY), total)
    common = np.minimum(common, total)
    return center, total - common, common


def slopes(curve: Curve, mean: Floats, own: Floats, shared: Floats, *, pairs: bool) -> tuple[Floats, Floats]:
    """E[φ'(z)²], and E[φ'(z₁)φ'(z₂)] for two positions of a sample (where `pairs` asks for it), per unit."""
    if curve.wave is not None:
        center, far, near = _waved(curve.wave + 0.5 * math.pi, mean, own, shared)
        return center * center + far + near, center * center + near
    variance = own if shared is NONE else own + shared
    std = np.sqrt(variance)
    if curve.leak is not None:
        leak = curve.leak
        share = normal_cdf(mean / np.maximum(std, _TINY))
        second = share + leak * leak * (1.0 - share)
        if not pairs:
            return second, NONE
        if shared is NONE:
            center = share + leak * (1.0 - share)
            return second, center * center
        nodes, weights = _hermite(_SHARED_NODES)
        near = np.sqrt(np.maximum(own, _TINY))
        common = np.sqrt(shared)
        shares = normal_cdf((mean[:, None] + common[:, None] * nodes) / near[:, None])
        return second, (leak + (1.0 - leak) * shares) ** 2 @ weights
    points, weights = _points(curve, mean, std)
    values = curve.slope(points)
    second = (values * values * weights).sum(axis=-1)
    if not pairs:
        return second, NONE
    center = (values * weights).sum(axis=-1)
    square = center * center
    if shared is NONE:
        return second, square
    deviation = values - center[:, None]
    ratio = shared / np.maximum(variance, _TINY)
    return second, square + _dual(deviation, points, weights, mean, std, ratio, np.maximum(second - square, 0.0))


def slope_mean(curve: Curve, z: Signal) -> Floats:
    """E[φ'(z)], per unit."""
    std = np.sqrt(z.variance)
    if curve.leak is not None:
        return curve.leak + (1.0 - curve.leak) * normal_cdf(z.mean / np.maximum(std, _TINY))
    points, weights = _points(curve, z.mean, std)
    center: Floats = (curve.slope(points) * weights).sum(axis=-1)
    return center


def _waved(phase: float, mean: Floats, own: Floats, shared: Floats) -> tuple[Floats, Floats, Floats]:
    """Mean, own and shared variance of sin(z + phase): E[e^(iz)] = e^(im − v/2)."""
    mean, variance = mean + phase, own + shared
    center = np.sin(mean) * np.exp(-0.5 * variance)
    double = np.cos(2.0 * mean)
    total = np.maximum(0.5 * (1.0 - double * np.exp(-2.0 * variance)) - center * center, 0.0)
    if shared is NONE:
        return center, total, NONE
    common = 0.5 * (np.exp(shared - variance) - double * np.exp(-variance - shared)) - center * center
    common = np.clip(common, 0.0, total)
    return center, total - common, common


def _rectified(leak: float, mean: Floats, std: Floats) -> tuple[Floats, Floats]:
    """Mean of max(z, leak·z), and its variance as a share of z's."""
    ratio = mean / np.maximum(std, _TINY)
    below, spread = _rectifier_table()
    center = np.maximum(mean, 0.0) + std * looked_up(-np.abs(ratio), below)
    if leak == 0.0:
        return center, looked_up(ratio, spread)
    rest = 1.0 - leak
    variance = leak * leak + rest * rest * looked_up(ratio, spread) + 2.0 * leak * rest * normal_cdf(ratio)
    return leak * mean + rest * center, np.maximum(variance, 0.0)


@lru_cache(maxsize=1)
def _rectifier_table() -> tuple[Floats, Floats]:
    """Mean and variance of max(z, 0), z ~ N(r, 1), over the grid of r."""
    grid, cdf = normal_table()
    density = np.exp(-0.5 * grid * grid) / math.sqrt(2.0 * math.pi)
    center = np.maximum(grid * cdf + density, 0.0)
    second = (1.0 + grid * grid) * cdf + grid * density
    return center, np.clip(second - center * center, 0.0, 1.0)


def _variance_of_means(leak: float, mean: Floats, own: Floats, shared: Floats) -> Floats:
    nodes, weights = _hermite(_SHARED_NODES)
    near = np.sqrt(own)
    means = mean[:, None] + np.sqrt(shared)[:, None] * nodes
    centers, _ = _rectified(leak, means, np.broadcast_to(near[:, None], means.shape))
    return np.maximum(centers**2 @ weights - (centers @ weights) ** 2, 0.0)


def _dual(
    deviation: Floats, points: Floats, weights: Floats, mean: Floats, std: Floats, ratio: Floats, total: Floats
) -> Floats:
    """Σ cₙ²ρⁿ over n ≥ 1, with the Hermite coefficients cₙ of a function whose deviations from its mean at the points are given. What is missing
    of the total, in coefficients of a higher degree, is added as if it all were of half as high a degree again."""
    if weights.ndim == 1:
        squares = (deviation @ (_polynomials() * weights).T) ** 2
        found = squares[:, 1:].sum(axis=1)
        dual = (squares[:, 1:] * ratio[:, None] ** np.arange(1, _DEGREE)).sum(axis=1)
    else:
        t = (points - mean[:, None]) / np.maximum(std[:, None], _TINY)
        before, polynomial = np.ones_like(t), t
        weighted = deviation * weights
        found, dual = np.zeros(len(t)), np.zeros(len(t))
        for n in range(1, _DEGREE):
            square = (weighted * polynomial).sum(axis=1) ** 2
            found, dual = found + square, dual + square * ratio**n
            before, polynomial = polynomial, (t * polynomial - math.sqrt(n) * before) / math.sqrt(n + 1.0)
    rest = np.maximum(total - found, 0.0) * ratio ** (1.5 * _DEGREE)
    result: Floats = np.minimum(dual + rest, total)
    return result


def _points(curve: Curve, mean: Floats, std: Floats) -> tuple[Floats, Floats]:
    """Points x, (units, n), and weights w, (n,) or (units, n), with Σ w f(x) ≈ E[f(x)] for x ~ N(mean, std²)."""
    if not curve.knots or float(std.max()) < curve.smooth_below:
        nodes, weights = _hermite(_NODES)
        return mean[:, None] + std[:, None] * nodes, weights
    knots = (np.array(curve.knots) - mean[:, None]) / np.maximum(std[:, None], _TINY)
    units = len(knots)
    edges = np.empty((units, knots.shape[1] + 2))
    edges[:, 0], edges[:, -1] = -_REACH, _REACH
    edges[:, 1:-1] = np.clip(knots, -_REACH, _REACH)
    nodes, masses = _legendre()
    half = 0.5 * np.diff(edges, axis=1)
    inner = (edges[:, :-1, None] + half[:, :, None] * (nodes + 1.0)).reshape(units, -1)
    density = np.exp(-0.5 * inner * inner) * (1.0 / math.sqrt(2.0 * math.pi))
    weights = (half[:, :, None] * masses).reshape(units, -1) * density
    return mean[:, None] + std[:, None] * inner, weights


@lru_cache(maxsize=4)
def _hermite(count: int) -> tuple[Floats, Floats]:
    """Gauss–Hermite nodes and weights for the standard normal, from the Jacobi matrix (Golub & Welsch 1969)."""
    beside = np.sqrt(np.arange(1.0, count))
    nodes, vectors = np.linalg.eigh(np.diag(beside, 1) + np.diag(beside, -1))
    return nodes, vectors[0] ** 2


@lru_cache(maxsize=1)
def _legendre() -> tuple[Floats, Floats]:
    """Gauss–Legendre nodes and weights on [−1, 1]."""
    k = np.arange(1, _PIECE_NODES)
    beside = k / np.sqrt(4.0 * k * k - 1.0)
    nodes, vectors = np.linalg.eigh(np.diag(beside, 1) + np.diag(beside, -1))
    return nodes, 2.0 * vectors[0] ** 2


@lru_cache(maxsize=1)
def _polynomials() -> Floats:
    """Normalised Hermite polynomials at the Gauss–Hermite nodes, (degree, nodes)."""
    nodes, _ = _hermite(_NODES)
    rows = [np.ones_like(nodes), nodes]
    for n in range(1, _DEGREE - 1):
        rows.append((nodes * rows[n] - math.sqrt(n) * rows[n - 1]) / math.sqrt(n + 1.0))
    return np.array(rows)


def log_normal(x: Signal) -> Signal:
    """A positive value with the same moments, as the exponential of a Gaussian one."""
    if not (x.mean > 0.0).all():
        return x
    square = x.mean * x.mean
    variance = np.log1p(x.variance / square)
    shared = NONE if x.shared is NONE else np.log1p(x.shared / square)
    center = np.log(x.mean) - 0.5 * variance
    inner = Signal(center, variance - shared if shared is not NONE else variance, shared, x.positions, x.axes, x.batch)
    return replace(x, before=inner, curve=curve_of(Op.EXP, {}))


# --- the largest of several ----------------------------------------------------------------------------------------------


@lru_cache(maxsize=256)
def _largest(count: float) -> tuple[Floats, Floats]:
    """Points and weights for the largest of `count` standard normal numbers: its density is n·Φⁿ⁻¹·φ."""
    grid = np.linspace(-6.0, 8.0, 113)
    cdf = normal_cdf(grid)
    weights = np.maximum(count, 1.0) * cdf ** (count - 1.0) * np.exp(-0.5 * grid * grid)
    return grid, weights / weights.sum()


def largest_of(x: Signal, count: float) -> tuple[Floats, Floats, Floats]:
    """Mean, own and shared variance of the largest of `count` neighboring positions."""
    z, function = (x, None) if x.before is None or x.curve is None else (x.before, x.curve.function)
    points, weights = _largest(round(max(count, 1.0), 3))
    if z.shared is NONE:
        values = z.mean[:, None] + np.sqrt(z.own)[:, None] * points
        values = values if function is None else function(values)
        center = values @ weights
        return center, np.maximum((values * values) @ weights - center * center, 0.0), NONE
    nodes, masses = _hermite(_SHARED_NODES)
    values = (z.mean[:, None] + np.sqrt(z.shared)[:, None] * nodes)[:, :, None] + np.sqrt(z.own)[:, None, None] * points
    values = values if function is None else function(values)
    centers = values @ weights
    center = centers @ masses
    common = np.maximum((centers * centers) @ masses - center * center, 0.0)
    total = np.maximum(((values * values) @ weights) @ masses - center * center, common)
    return center, total - common, common


def slope_of_largest(curve: Curve, z: Signal, count: int) -> Floats:
    """E[φ'(z)²] at the largest of `count` neighboring positions."""
    points, weights = _largest(float(count))
    values = curve.slope(z.mean[:, None] + np.sqrt(z.own + z.shared)[:, None] * points)
    return (values * values) @ weights
