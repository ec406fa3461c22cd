"""Matrices that no independent draw gives: orthogonal ones, the identity and its convolution. Imports ir only."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from trainaudit.ir.graph import Parameter, Role
from trainaudit.measure.static.tensor_statistics import TensorStatistics

_ORTHOGONAL_ROUNDING = {"float64": 3e-5, "float32": 3e-5, "float16": 3e-3, "bfloat16": 2e-2}


def orthogonal_gain(parameter: Parameter, statistics: TensorStatistics) -> float | None:
    """The common norm of rows (or columns, or each gate's columns) that are orthogonal to each other; None where they are not.

    Four leading rows are orthogonal by chance to a part in 10⁴ with a probability far below 1e-9 (Saxe et al. 2014, arXiv:1312.6120).
    """
    rows, columns = statistics.rows, statistics.columns
    if statistics.first_rows is None or statistics.first_columns is None or min(rows, columns) < 4:
        return None
    tolerance = _ORTHOGONAL_ROUNDING[statistics.dtype]
    leading = _widen(statistics.first_columns).T
    sides = [leading] if rows >= columns else []
    if rows <= columns:
        sides.append(_widen(statistics.first_rows))
    if parameter.role is Role.RECURRENT_WEIGHT and rows > columns:
        sides.insert(0, leading[:, :columns])  # the first gate's square block
    for side in sides:
        vectors = side.astype(np.float64, copy=False)
        first, second = vectors[0], vectors[1]
        if abs(float(first @ second)) > 2.0 * tolerance * float(first @ first):
            continue  # two rows tell for most matrices
        gram = vectors @ vectors.T
        norms = np.diag(gram)
        size = float(norms.mean())
        if size > 0.0 and bool(np.all(np.abs(gram - size * np.eye(len(gram))) <= tolerance * size)):
            return math.sqrt(size)
    return None


def _widen(stored: npt.NDArray[np.generic]) -> npt.NDArray[np.floating]:
    if stored.dtype == np.uint16:
        return (stored.astype(np.uint32) << 16).view(np.float32)
    return stored.astype(np.float64)


def is_identity(parameter: Parameter, statistics: TensorStatistics) -> bool:
    """Ones on the diagonal (of the kernel's center) and zeros elsewhere: torch.nn.init.eye_ and dirac_."""
    ones = statistics.size - statistics.zero_count
    if statistics.minimum != 0.0 or statistics.maximum != 1.0 or statistics.sum_of_squares != ones:
        return False
    shape = parameter.shape
    if len(shape) < 2 or statistics.size > 1 << 22 or ones < 2:
        return False
    center = tuple(n // 2 for n in shape[2:])
    values = _widen(parameter.data.read())
    per_group = max(1, shape[0] // parameter.groups)
    diagonal = [(i, i % per_group) for i in range(shape[0]) if i % per_group < shape[1]]
    return len(diagonal) == ones and all(float(values[(*at, *center)]) == 1.0 for at in diagonal)
