"""Moments of softmax weights over Gaussian scores, by quadrature instead of the large-count limit. numpy only.

With Z = Σ exp(s_j) and 1/Zⁿ = ∫ tⁿ⁻¹ exp(−tZ) dt / (n−1)!, every moment of p_j = exp(s_j)/Z over independent scores s ~ N(0, τ²) becomes an integral over
t of one-dimensional Gaussian integrals: exact for every number of scores and every τ, from uniform weights (τ → 0) to one winner (τ → ∞, the random
energy model of Derrida 1981).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

_STEEPEST = 20.0
"""Standard deviation of the scores beyond which the weights' distance from one winner is taken to fall as 1/τ, which it does: two scores
within 1 of each other must compete for the first place."""
_GRID = 0.02
"""Relative step between the standard deviations for which the integrals are done."""


@dataclass(frozen=True, slots=True)
class SoftmaxMoments:
    """`squares` is E[Σ_j p_j²]. `jacobian` is E[Σ_j p_j² (1 − 2p_j + Σ_k p_k²)]: the mean square of the gradient by the scores, summed over them,
    where the gradients by the weights are independent with unit variance."""

    squares: float
    jacobian: float


def softmax_moments(count: float, std: float) -> SoftmaxMoments:
    """Moments of the softmax over `count` independent scores of that standard deviation."""
    if count <= 1.0:
        return SoftmaxMoments(1.0, 0.0)
    if not std > 0.0:
        return SoftmaxMoments(1.0 / count, 1.0 / count * (1.0 - 1.0 / count))
    if std > _STEEPEST:
        steepest = softmax_moments(count, _STEEPEST)
        share = _STEEPEST / std
        return SoftmaxMoments(1.0 - (1.0 - steepest.squares) * share, steepest.jacobian * share)
    step = round(math.log(max(std, 1e-3)) / _GRID)
    return _moments(count, math.exp(step * _GRID))


def causal_moments(count: int, std: float, *, pairs: bool = False) -> SoftmaxMoments:
    """The mean over the rows of a causal mask: row t sees t scores, t = 1 … count. With `pairs`, over pairs of different rows, of which the later
    one's weights count."""
    if count <= 1:
        return softmax_moments(count, std)
    rows = np.arange(1, count + 1)
    seen = np.unique(np.round(np.geomspace(1, count, min(count, 12))))
    found = [softmax_moments(float(row), std) for row in seen]
    squares = np.exp(np.interp(np.log(rows), np.log(seen), [np.log(m.squares) for m in found]))
    jacobian = np.interp(np.log(rows), np.log(seen), [m.jacobian for m in found])
    weight = (rows - 1.0) * 2.0 / (count * (count - 1.0)) if pairs else np.full(count, 1.0 / count)
    return SoftmaxMoments(float(squares @ weight), float(jacobian @ weight))


@lru_cache(maxsize=4096)
def _moments(count: float, std: float) -> SoftmaxMoments:
    z = np.linspace(-9.0, 9.0, 61 + 2 * int(18 * std))
    weight = np.exp(-0.5 * z * z)
    weight /= weight.sum()
    highest = 9.0 * std + 5.0
    log_t = np.linspace(-highest - math.log(count), highest, 120 + int(30 * std))
    step = log_t[1] - log_t[0]
    u = np.exp(np.minimum(log_t[:, None] + std * z, 50.0))  # t·exp(s)
    decay = np.exp(-u)
    first = decay @ weight
    square = u * u
    decay *= square
    second = decay @ weight
    decay *= u
    third = decay @ weight
    decay *= u
    fourth = decay @ weight
    others = first ** (count - 2.0)
    rest = others * first
    squares = step * count * float(second @ rest)
    cubes = step * count * float(third @ rest) / 2.0
    squares_squared = step * float(count * fourth @ rest + count * (count - 1.0) * second**2 @ others) / 6.0
    return SoftmaxMoments(min(squares, 1.0), max(squares - 2.0 * cubes + squares_squared, 0.0))
