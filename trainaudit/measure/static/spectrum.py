"""Stable rank against what independent entries give, and exact rank deficiency. Imports numpy only."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

Matrix = npt.NDArray[np.float32]

_STEPS = 16
_RANK_BLOCK = 48
_RANK_ROUNDING = 1e-5


def stable_rank_ratio(matrix: Matrix) -> float | None:
    """‖W‖F²/‖W‖₂² over mn/(√m + √n)², what an m × n matrix of independent entries tends to (Marchenko & Pastur 1967; Vershynin 2010,
    arXiv:1011.3027). About 1 for a random matrix, more for an orthogonal one, far less where few directions carry the weight.

    A block stands for the whole: a part of a matrix of low rank has low rank as well. None for zeros, and below 16 × 16, where
    the limit of large matrices says little.
    """
    return _ratio(matrix) if min(matrix.shape) >= 16 else None


def _ratio(matrix: Matrix) -> float | None:
    scale = float(np.abs(matrix).max(initial=0.0))
    if scale == 0.0:
        return None
    scaled = matrix / np.float32(scale)
    rows, columns = scaled.shape
    frobenius = float(np.vdot(scaled, scaled))
    stable_rank = frobenius / _squared_norm(scaled)
    return float(stable_rank / (rows * columns / (math.sqrt(rows) + math.sqrt(columns)) ** 2))


def _squared_norm(matrix: Matrix) -> float:
    """‖W‖₂² by Lanczos steps on WᵀW with full reorthogonalization (Golub & Van Loan, section 10.1): within 1 % in 16 steps."""
    steps = min(_STEPS, *matrix.shape)
    basis = np.zeros((steps, matrix.shape[1]), np.float32)
    basis[0] = start_vector(matrix.shape[1])
    basis[0] /= np.linalg.norm(basis[0])
    tridiagonal = np.zeros((steps, steps))
    for k in range(steps):
        image = matrix.T @ (matrix @ basis[k])
        tridiagonal[k, k] = float(image @ basis[k])
        for _ in range(2):  # once more, since what is left may be small against what was taken away
            image -= basis[: k + 1].T @ (basis[: k + 1] @ image)
        norm = float(np.linalg.norm(image))
        if k + 1 == steps or norm <= 1e-4 * float(tridiagonal.max()):
            return float(np.linalg.eigvalsh(tridiagonal[: k + 1, : k + 1])[-1])
        tridiagonal[k, k + 1] = tridiagonal[k + 1, k] = norm
        basis[k + 1] = image / norm
    raise AssertionError("the last step returns")


def start_vector(size: int) -> Matrix:
    """A fixed vector without structure (chirp); numpy.random takes longer to import than all that is done with it here."""
    return np.cos(0.7 * np.arange(1, size + 1, dtype=np.float64) ** 2).astype(np.float32)


def is_rank_deficient(matrix: Matrix) -> bool:
    """A block of it has singular values at rounding: no draw and no training leaves that, only a product of thin matrices."""
    block = matrix[:_RANK_BLOCK, :_RANK_BLOCK].astype(np.float64)
    if min(block.shape) < 8:
        return False
    values = np.linalg.svd(block, compute_uv=False)
    return bool(values[-1] < _RANK_ROUNDING * values[0])
