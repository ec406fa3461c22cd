"""Spectral radius of a recurrent weight. Imports measure.static.spectrum only."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from trainaudit.measure.static.spectrum import start_vector

_EXACT = 96
_SQUARINGS = 10
_LARGEST_SQUARED = 768
_STEPS = 120


def spectral_radius(matrix: npt.NDArray[np.float64]) -> float:
    """Largest absolute eigenvalue of a square finite matrix.

    Up to 96 × 96 from the eigenvalues. Above, ‖Mᵏ‖^(1/k) with k = 1024 by repeated squaring (Gelfand's formula, within about 1 %);
    above 768 × 768 the growth of a random vector over the last 60 of 120 products.
    """
    size = len(matrix)
    scale = float(np.abs(matrix).max(initial=0.0))
    if scale == 0.0:
        return 0.0
    if size <= _EXACT:
        return float(np.abs(np.linalg.eigvals(matrix)).max())
    if size <= _LARGEST_SQUARED:
        power = matrix
        logarithm = 0.0
        for _ in range(_SQUARINGS):
            norm = float(np.linalg.norm(power))
            if norm == 0.0:
                return 0.0
            power = power / norm
            logarithm = 2.0 * (logarithm + math.log(norm))
            power = power @ power
        norm = float(np.linalg.norm(power))
        return math.exp((logarithm + math.log(norm)) / 2**_SQUARINGS) if norm > 0.0 else 0.0
    narrow = matrix.astype(np.float32)
    vector = start_vector(size)
    logarithms = []
    for _ in range(_STEPS):
        vector = narrow @ vector
        norm = float(np.linalg.norm(vector))
        if norm == 0.0:
            return 0.0
        logarithms.append(math.log(norm))
        vector /= np.float32(norm)
    return math.exp(float(np.mean(logarithms[_STEPS // 2 :])))
