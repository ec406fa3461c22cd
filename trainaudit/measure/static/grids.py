"""Does a tensor lie on the grid of a random generator, and for which bound or spread? Only values that were stored as they were drawn do.
Imports measure.static.distribution, schemes and tensor_statistics only."""

from __future__ import annotations

import math
from collections.abc import Iterable
from itertools import product

import numpy as np
import numpy.typing as npt

from trainaudit.measure.static.distribution import fits_scale, normal_grid_bits, round_bounds, uniform_grid_bits
from trainaudit.measure.static.schemes import NORMAL, UNIFORM, Scheme
from trainaudit.measure.static.tensor_statistics import TensorStatistics

_SURE_BITS = 20.0
"""Of evidence for a uniform generator's grid: 1 in 10⁶ by chance."""
_SURE_SCALED_BITS = 24.0
"""The same where several bounds are tried."""
_SURE_NORMAL_BITS = 14.0
"""For a normal: four columns of a matrix that is stored transposed give no more. 1 in 10⁴ for a tensor that a normal fits anyway."""
_FOLDED_FACTORS = ((1.0 + 1e-5) ** -0.5, (1.0 + 1e-3) ** -0.5)
"""What a fresh BatchNorm (mean 0, variance 1, γ 1) multiplies into the weights before it, for torch's and Keras's ε."""
_ROUNDED_ONCE = 0.6
_ROUNDED_AGAIN = 2.0
"""Errors, in steps of the grid, of a draw as it was stored, and of one that was multiplied by something afterwards."""
_GRIDS = ((1.0, _ROUNDED_ONCE), (1.0, _ROUNDED_AGAIN), *((factor, _ROUNDED_AGAIN) for factor in _FOLDED_FACTORS))
"""Factor and error: as drawn; as drawn and normalized to its own length (a fresh weight normalization, Salimans & Kingma 2016); folded."""
_NORMAL_GRIDS = ((1.0, 5.0), *((factor, 8.0) for factor in (1.0, *_FOLDED_FACTORS)))
"""The same for a normal."""
_GRID_VALUES = 8192


def uniform_grid_names(
    statistics: TensorStatistics, sample: npt.NDArray[np.float32], schemes: Iterable[Scheme]
) -> tuple[float | None, tuple[str, ...]]:
    """The named bound whose grid the values surely lie on, as they are or multiplied by what is 1 when fresh, and the schemes of that bound.
    The bound is 0 where no grid is sure, and None where the grids of all bounds that fit are ruled out."""
    flat = sample.reshape(-1)[:_GRID_VALUES]
    candidates = list(schemes)
    fitting = [s for s in candidates if s.family == UNIFORM and fits_scale(statistics, UNIFORM, s.scale)]
    sure, found, possible = _SURE_BITS, 0.0, not fitting
    for bound in {s.scale for s in fitting}:
        for factor, rounding in _GRIDS:
            bits = uniform_grid_bits(flat, bound * factor, rounding)
            possible |= bits is not None
            if bits is not None and bits > sure:
                sure, found = bits, bound
                break
    if not found and candidates:  # values that were moved or scaled here have no grid but that of their rounding
        found, names = _scaled_grid_names(statistics, flat, candidates)
        if found:
            return found, names
    if not found:
        return (0.0 if possible else None), ()
    return found, tuple(dict.fromkeys(s.name for s in fitting if math.isclose(s.scale, found, rel_tol=1e-6)))


def _scaled_grid_names(
    statistics: TensorStatistics, flat: npt.NDArray[np.float32], schemes: Iterable[Scheme]
) -> tuple[float, tuple[str, ...]]:
    """The same for a bound that is a round number, or a round multiple of torch's default (a loop that scales all parameters)."""
    n = statistics.size - statistics.non_finite_count
    default = next((s.scale for s in schemes if s.name == "pytorch-default"), 0.0)
    for unit, name in ((1.0, "uniform-{:g}"), (default, "pytorch-default-times-{:g}")):
        for number in round_bounds(statistics.absmax / unit, n) if unit else ():
            if not fits_scale(statistics, UNIFORM, number * unit):
                continue
            for rounding in (_ROUNDED_ONCE, _ROUNDED_AGAIN):
                bits = uniform_grid_bits(flat, number * unit, rounding)
                if bits is not None and bits > _SURE_SCALED_BITS:
                    return number * unit, (name.format(number),)
    return 0.0, ()


def normal_grid_names(statistics: TensorStatistics, schemes: Iterable[Scheme]) -> tuple[str, ...]:
    """The normal schemes by whose scale the values surely come from torch's generator, drawn as stored or stored transposed."""
    fitting = [s for s in schemes if s.family == NORMAL and fits_scale(statistics, NORMAL, s.scale)]
    orders = [statistics.head]
    if statistics.is_whole:
        orders.append(statistics.sample.T.reshape(-1)[: statistics.head.size])
    elif statistics.first_columns is not None:
        orders.append(statistics.first_columns.T.reshape(-1).astype(np.float32))
    for scale in {s.scale for s in fitting}:
        for order, (factor, rounding) in product(orders, _NORMAL_GRIDS):
            bits = normal_grid_bits(order, scale * factor, rounding)
            if bits is not None and bits >= _SURE_NORMAL_BITS:
                return tuple(dict.fromkeys(s.name for s in fitting if math.isclose(s.scale, scale, rel_tol=1e-6)))
    return ()


def starts_at_zero(statistics: TensorStatistics) -> bool:
    """Values of U(0, b) on the grid, for a round b."""
    if statistics.minimum < 0.0 or statistics.dtype != "float32":
        return False
    flat = statistics.sample.reshape(-1)[:_GRID_VALUES]
    found = (uniform_grid_bits(flat, b) for b in round_bounds(statistics.maximum, statistics.size))
    return any(bits is not None and bits > _SURE_SCALED_BITS for bits in found)
