"""Are the entries of a matrix independent draws, as fresh ones are? Training makes some rows and columns larger, gives them a common direction
and makes neighbours alike. Imports measure.static.tensor_statistics only.

The limits fix the error rate of the identification (see `distribution`); each true hypothesis is refused about once in 10⁵ draws.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from trainaudit.measure.static.tensor_statistics import TensorStatistics

Float32s = npt.NDArray[np.float32]

_LIMIT = 5.5
"""Standard deviations. Sums of products have longer tails than a normal, so this is further out than for a mean."""


def is_independent(statistics: TensorStatistics, scaled: Float32s, squares: Float32s, kurtosis: float) -> bool:
    """`scaled` is the sample over the tensor's standard deviation, `squares` its square, at least 8 × 8."""
    rows, columns = scaled.shape
    if abs(_lag(scaled)) > _LIMIT:
        return False
    spread = max(kurtosis - 1.0, 0.1)
    if _dispersion(_means(squares, 1) - 1.0, spread / columns) > _LIMIT:
        return False
    if _dispersion(_means(squares, 0) - 1.0, spread / rows) > _LIMIT:
        return False
    if _dispersion(_means(scaled, 1), 1.0 / columns) > _LIMIT:
        return False
    if statistics.column_sums is not None and statistics.std > 0.0:
        means = statistics.column_sums / (statistics.rows * statistics.std)
        return _dispersion(means, 1.0 / statistics.rows) <= _LIMIT
    return _dispersion(_means(scaled, 0), 1.0 / rows) <= _LIMIT


def _means(matrix: Float32s, axis: int) -> Float32s:
    """What `ndarray.mean` gives, which takes three times as long on a small matrix."""
    means: Float32s = np.add.reduce(matrix, axis=axis) / matrix.shape[axis]
    return means


def _lag(scaled: Float32s) -> float:
    """Correlation of neighbours within a row, in standard deviations."""
    products = np.einsum("ij,ij->", scaled[:, 1:], scaled[:, :-1])
    return float(products) / math.sqrt(scaled.shape[0] * (scaled.shape[1] - 1))


def _dispersion(deviations: npt.NDArray[np.floating], variance: float) -> float:
    """How far the deviations spread beyond what `variance` gives: a χ² in standard deviations of a normal (Wilson & Hilferty 1931)."""
    n = len(deviations)
    chi_square = float(np.dot(deviations, deviations)) / variance
    cube_root = (chi_square / n) ** (1.0 / 3.0)
    return float((cube_root - 1.0 + 2.0 / (9.0 * n)) / math.sqrt(2.0 / (9.0 * n)))
