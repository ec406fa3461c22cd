"""Moments of softmax weights over Gaussian scores, by quadrature instead of the large-count limit. numpy only.

With Z = Σ exp(s_j) and 1/Zⁿ = ∫ tⁿ⁻¹ exp(−tZ) dt / (n−1)!, every moment of p_j = exp(s_j)/Z over independent scores s ~ N(0, τ²) becomes an integral over
t of one-dimensional Gaussian integrals: exact for every number of scores and every τ, from uniform weights (τ → 0) to one winner (τ → ∞, the random
energy model of Derrida 1981).
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np

from trainaudit.frozen import frozen

_STEEPEST = 20.0
"""Standard deviation of the scores beyond which the weights' distance from one winner is taken to fall as 1/τ, which it does: two scores
within 1 of each other must compete for the first place."""
_FLATTEST = 0.08
"""Standard deviation of the scores below which the weights are taken as uniform: their squares differ by less than 1 %."""
_GRID = 0.02
"""Relative step between the standard deviations for which the integrals are done."""


@frozen
class SoftmaxMoments:
    """`squares` is E[Σ_j p_j²]. `jacobian` is E[Σ_j p_j² (1 − 2p_j + Σ_k p_k²)]: the mean square of the gradient by the scores, summed over them,
    where the gradients by the weights are independent with unit variance. `log_sum` is E[log Σ_j exp(s_j)]."""

    squares: float
    jacobian: float
    log_sum: float


def softmax_moments(count: float, std: float) -> SoftmaxMoments:
    """Moments of the softmax over `count` independent scores of that standard deviation."""
    if count <= 1.0:
        return SoftmaxMoments(1.0, 0.0, 0.0)
    if not std > _FLATTEST:
        return SoftmaxMoments(1.0 / count, (1.0 - 1.0 / count) / count, math.log(count))
    if std > _STEEPEST:
        steepest = softmax_moments(count, _STEEPEST)
        share = _STEEPEST / std
        return SoftmaxMoments(
            1.0 - (1.0 - steepest.squares) * share, steepest.jacobian * share, steepest.log_sum / share
        )
    step = round(math.log(std) / _GRID)
    return _moments(count, math.exp(step * _GRID))


def causal_moments(count: int, std: float, *, pairs: bool = False) -> SoftmaxMoments:
    """The mean over the rows of a causal mask: row t sees t scores, t = 1 … count (`log_sum` is not told). With `pairs`, over pairs of different
    rows, of which the later one's weights count."""
    if count <= 1:
        return softmax_moments(count, std)
    rows = np.arange(1, count + 1)
    seen = np.unique(np.round(np.geomspace(1, count, min(count, 12))))
    found = [softmax_moments(float(row), std) for row in seen]
    squares = np.exp(np.interp(np.log(rows), np.log(seen), [np.log(m.squares) for m in found]))
    jacobian = np.interp(np.log(rows), np.log(seen), [m.jacobian for m in found])
    weight = (rows - 1.0) * 2.0 / (count * (count - 1.0)) if pairs else np.full(count, 1.0 / count)
    return SoftmaxMoments(float(squares @ weight), float(jacobian @ weight), math.nan)


@lru_cache(maxsize=4096)
def _moments(count: float, std: float) -> SoftmaxMoments:
    step = min(0.2, 0.9 * std)
    reach = math.ceil(9.0 * std / step)
    score = step * np.arange(-reach, reach + 1)
    weight = np.exp(-0.5 * (score / std) ** 2)
    weight /= weight.sum()
    # log t and scores lie on one grid, so that E[f(t·exp(s))] is a convolution
    low, high = -9.0 * std - 5.0 - math.log(count), 9.0 * std + 5.0
    times = math.ceil((high - low) / step)
    log_u = low + step * np.arange(-reach, times + reach)
    u = np.exp(np.minimum(log_u, 50.0))
    decay = np.exp(-u)
    size = 1 << (len(u) + len(weight)).bit_length()
    functions = np.fft.rfft([decay, decay * u**2, decay * u**3, decay * u**4], size)
    expected = np.fft.irfft(functions * np.fft.rfft(weight, size), size)[:, 2 * reach : 2 * reach + times]
    first, second, third, fourth = np.maximum(expected, 0.0)
    others = first ** (count - 2.0)
    rest = others * first
    squares = step * count * float(second @ rest)
    cubes = step * count * float(third @ rest) / 2.0
    squares_squared = step * float(count * fourth @ rest + count * (count - 1.0) * second**2 @ others) / 6.0
    # log Z = ∫ (exp(−t) − exp(−tZ)) / t dt
    log_sum = step * float((np.exp(-np.exp(low + step * np.arange(times))) - rest * first).sum())
    return SoftmaxMoments(min(squares, 1.0), max(squares - 2.0 * cubes + squares_squared, 0.0), log_sum)
