"""Stable rank against what independent entries give, and exact rank deficiency. Imports numpy only."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

Matrix = npt.NDArray[np.float32]

_STEPS = 16
_STACKED_ELEMENTS = 1 << 18
_RANK_BLOCK = 48
_RANK_ROUNDING = 1e-5


def stable_rank_ratio(matrix: Matrix) -> float | None:
    """‖W‖F²/‖W‖₂² over mn/(√m + √n)², what an m × n matrix of independent entries tends to (Marchenko & Pastur 1967; Vershynin 2010,
    arXiv:1011.3027). About 1 for a random matrix, more for an orthogonal one, far less where few directions carry the weight.

    A block stands for the whole: a part of a matrix of low rank has low rank as well. None for zeros, and below 16 × 16, where
    the limit of large matrices says little.
    """
    return stable_rank_ratios([("", matrix)]).get("")


def stable_rank_ratios(matrices: Iterable[tuple[str, Matrix]]) -> dict[str, float]:
    """Name → ratio (see `stable_rank_ratio`); names of matrices that have none are left out. Matrices of one shape are worked on together."""
    found: dict[str, float | None] = {}
    stacks: dict[tuple[int, ...], list[tuple[str, Matrix]]] = {}
    for name, matrix in matrices:
        if min(matrix.shape) < 16:
            continue
        found[name] = None
        stack = stacks.setdefault(matrix.shape, [])
        stack.append((name, matrix))
        if len(stack) * matrix.size >= _STACKED_ELEMENTS:
            found.update(_ratios(stacks.pop(matrix.shape)))
    for stack in stacks.values():
        found.update(_ratios(stack))
    return {name: ratio for name, ratio in found.items() if ratio is not None}


def _ratios(stack: list[tuple[str, Matrix]]) -> dict[str, float]:
    """Of matrices of one shape that are not all zeros."""
    values = np.stack([matrix for _, matrix in stack])
    scales = np.abs(values).max(axis=(1, 2))
    used = np.flatnonzero(scales)
    if not used.size:
        return {}
    count, rows, columns = used.size, *values.shape[1:]
    values = values[used] / scales[used, None, None]
    flat = values.reshape(count, 1, -1)
    frobenius = (flat @ flat.transpose(0, 2, 1)).reshape(-1).astype(np.float64)
    expected = rows * columns / (math.sqrt(rows) + math.sqrt(columns)) ** 2
    ratios = frobenius / _squared_norms(values) / expected
    return dict(zip((stack[i][0] for i in used), ratios.tolist(), strict=True))


def _squared_norms(matrices: Matrix) -> npt.NDArray[np.float64]:
    """‖W‖₂² of each of n matrices (n × rows × columns), by Lanczos steps on WᵀW with full reorthogonalization (Golub & Van Loan,
    section 10.1): within 1 % in 16 steps."""
    count, rows, columns = matrices.shape
    steps = min(_STEPS, rows, columns)
    start = start_vector(columns)
    basis = np.zeros((count, steps, columns), np.float32)
    basis[:, 0] = start / np.linalg.norm(start)
    tridiagonal = np.zeros((count, steps, steps))
    found = np.zeros(count)
    waiting = np.arange(count)
    for k in range(steps):
        newest = basis[:, k, :, None]
        image = _turned(matrices) @ (matrices @ newest)
        tridiagonal[:, k, k] = (_turned(image) @ newest).reshape(-1)
        past = basis[:, : k + 1]
        for _ in range(2):  # once more, since what is left may be small against what was taken away
            image -= _turned(past) @ (past @ image)
        norms = np.sqrt(_turned(image) @ image).reshape(-1)
        ends = (norms <= 1e-4 * tridiagonal.max(axis=(1, 2))) | (k + 1 == steps)
        if ends.any():
            found[waiting[ends]] = np.linalg.eigvalsh(tridiagonal[ends, : k + 1, : k + 1])[:, -1]
            if ends.all():
                break
            goes_on = ~ends
            waiting, matrices, basis = waiting[goes_on], matrices[goes_on], basis[goes_on]
            tridiagonal, image, norms = tridiagonal[goes_on], image[goes_on], norms[goes_on]
        tridiagonal[:, k, k + 1] = tridiagonal[:, k + 1, k] = norms
        basis[:, k + 1] = image[:, :, 0] / norms[:, None]
    return found


def _turned(matrices: Matrix) -> Matrix:
    """Each matrix transposed."""
    return matrices.transpose(0, 2, 1)


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
