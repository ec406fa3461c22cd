"""Initial values for test models: PyTorch's defaults, the faulty draws that rules look for, and weights that look trained."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.floating]
Initializer = Callable[[np.random.Generator, tuple[int, ...]], Array]
"""(random, shape) → values. Shapes are torch's: (out, in) and (out, in / groups, *kernel)."""


def fan_in(shape: tuple[int, ...]) -> int:
    """Inputs of one unit of a weight of that shape."""
    return math.prod(shape[1:])


def torch_default(random: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """U(±1/√fan_in): nn.Linear and nn.Conv2d."""
    return uniform(1 / math.sqrt(fan_in(shape)))(random, shape)


def he_normal(random: np.random.Generator, shape: tuple[int, ...]) -> Array:
    return normal(math.sqrt(2 / fan_in(shape)))(random, shape)


def lecun_normal(random: np.random.Generator, shape: tuple[int, ...]) -> Array:
    return normal(math.sqrt(1 / fan_in(shape)))(random, shape)


def xavier_uniform(random: np.random.Generator, shape: tuple[int, ...]) -> Array:
    return uniform(math.sqrt(6 / (shape[0] + fan_in(shape))))(random, shape)


def orthogonal(random: np.random.Generator, shape: tuple[int, ...]) -> Array:
    matrix = random.standard_normal((shape[0], fan_in(shape)))
    left, _, right = np.linalg.svd(matrix, full_matrices=False)
    return (left @ right).reshape(shape)


def uniform(bound: float, low: float | None = None) -> Initializer:
    """U(low, bound) on the grid of torch's CPU generator, 2⁻²⁴ of the range apart; `low` is −bound unless it is given."""
    start = np.float32(-bound if low is None else low)
    span = np.float32(bound) - start

    def draw(random: np.random.Generator, shape: tuple[int, ...]) -> Array:
        share = random.integers(0, 1 << 24, shape).astype(np.float32) * np.float32(2.0**-24)
        return share * span + start

    return draw


def normal(std: float, mean: float = 0.0) -> Initializer:
    return lambda random, shape: random.normal(mean, std, shape)


def constant(value: float) -> Initializer:
    return lambda _random, shape: np.full(shape, value)


def copied_rows(random: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """One row of PyTorch's default for all units."""
    return np.broadcast_to(torch_default(random, (1, *shape[1:])) * 1.0, shape).copy()


def trained(random: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """What training leaves behind: a few strong directions over a heavy-tailed rest, rows of different size."""
    rows, columns = shape[0], math.prod(shape[1:])
    rank = max(1, min(rows, columns) // 8)
    structure = random.standard_normal((rows, rank)) @ random.standard_normal((rank, columns)) / math.sqrt(rank)
    rest = random.standard_t(3, (rows, columns))
    scale = random.lognormal(0.0, 0.5, (rows, 1))
    return (scale * (0.7 * structure + 0.5 * rest) / math.sqrt(columns) + 0.02 / math.sqrt(columns)).reshape(shape)


def trained_vector(random: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """A trained bias or shift."""
    return random.standard_t(4, shape) * 0.1
