"""Stable rank against singular values, spectral radius against eigenvalues."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tests.measure.weight_graphs import normal
from trainaudit.measure.static.recurrent import spectral_radius
from trainaudit.measure.static.spectrum import is_rank_deficient, stable_rank_ratio


def exact(matrix: np.ndarray[tuple[int, int], np.dtype[np.float32]]) -> float:
    rows, columns = matrix.shape
    values = np.linalg.svd(matrix.astype(np.float64), compute_uv=False)
    return float((values**2).sum() / values[0] ** 2 / (rows * columns / (math.sqrt(rows) + math.sqrt(columns)) ** 2))


@pytest.mark.parametrize("shape", [(16, 16), (16, 64), (100, 128), (128, 40)])
def test_small_matrices_match_their_singular_values(shape: tuple[int, int]) -> None:
    matrix = normal(*shape)
    assert stable_rank_ratio(matrix) == pytest.approx(exact(matrix), rel=0.03)


def test_a_narrow_matrix_has_no_ratio() -> None:
    assert stable_rank_ratio(normal(8, 64)) is None


@pytest.mark.parametrize("shape", [(64, 64), (256, 256), (256, 100)])
def test_random_matrices_are_near_one(shape: tuple[int, int]) -> None:
    ratios = [stable_rank_ratio(normal(*shape, seed=seed)) for seed in range(20)]
    assert all(ratio is not None and 0.85 < ratio < 1.35 for ratio in ratios)


@pytest.mark.parametrize("rank", [1, 4, 10])
def test_low_rank_is_seen(rank: int) -> None:
    matrix = normal(256, rank, seed=1) @ normal(rank, 256, seed=2)
    assert stable_rank_ratio(matrix) == pytest.approx(exact(matrix), rel=0.03)
    assert is_rank_deficient(matrix)
    assert not is_rank_deficient(normal(256, 256))


def test_orthogonal_matrices_are_above_one() -> None:
    q, _ = np.linalg.qr(normal(128, 128).astype(np.float64))
    ratio = stable_rank_ratio(q.astype(np.float32))
    assert ratio is not None
    assert ratio > 3


def test_tiny_and_zero_matrices_have_none() -> None:
    assert stable_rank_ratio(normal(4, 100)) is None
    assert stable_rank_ratio(np.zeros((16, 16), np.float32)) is None


@pytest.mark.parametrize("size", [5, 64, 150, 900])
@pytest.mark.parametrize("scale", [0.3, 1.0, 2.0])
def test_spectral_radius(size: int, scale: float) -> None:
    matrix = normal(size, size, std=scale / math.sqrt(size)).astype(np.float64)
    if size == 900:
        q, _ = np.linalg.qr(matrix)
        assert spectral_radius(q * scale) == pytest.approx(scale, rel=1e-3)
        return
    assert spectral_radius(matrix) == pytest.approx(np.abs(np.linalg.eigvals(matrix)).max(), rel=0.02)


def test_spectral_radius_of_nothing() -> None:
    assert spectral_radius(np.zeros((8, 8))) == 0.0
    assert spectral_radius(np.triu(np.ones((200, 200)), 1)) == pytest.approx(0.0, abs=1e-6)
