"""Equal units within a weight, and equal weights within a model, bit for bit. Imports ir only."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from trainaudit.ir.graph import Parameter, Role
from trainaudit.measure.static.tensor_statistics import TensorStatistics

Array = npt.NDArray[np.generic]

_COMPARED_ELEMENTS = 1 << 18
_FEW_UNITS = 64
_MIXER = np.uint64(0x9E3779B97F4A7C15)


def duplicate_unit_share(parameter: Parameter, statistics: TensorStatistics) -> float | None:
    """Share of units whose incoming weights equal those of another unit of the same gate, direction or group; None where there is one unit.

    A few leading values of each unit are compared first; the whole tensor is read again only where those agree.
    """
    axis = parameter.unit_axis
    if axis is None or axis >= len(parameter.shape) or statistics.size == 0:
        return None
    units = parameter.shape[axis]
    recurrent = parameter.role in (Role.INPUT_WEIGHT, Role.RECURRENT_WEIGHT) and axis == 1
    together = units // max(1, parameter.gates * (parameter.groups if axis == 0 else 1))
    if recurrent:
        units *= parameter.shape[0]
    if together < 2:
        return 0.0 if units > 1 else None
    if statistics.is_constant:
        return 1.0
    leading = _leading_values(parameter, statistics, axis, recurrent)
    if leading is not None and _all_differ(leading, together):
        return 0.0
    stored = parameter.data.read()
    return _share((stored if recurrent else np.moveaxis(stored, axis, 0)).reshape(units, -1), together)


def _leading_values(parameter: Parameter, statistics: TensorStatistics, axis: int, recurrent: bool) -> Array | None:
    """(units, a few) stored values of each unit, from what the pass kept; None where it kept none of use."""
    shape, columns = parameter.shape, statistics.columns
    if recurrent or (axis == 0 and shape[0] == statistics.rows):
        return statistics.first_columns
    rows = statistics.first_rows
    if rows is None:
        return None
    if axis == len(shape) - 1 and shape[axis] == columns:  # stored inputs × units
        return rows.T
    if axis == 1 and shape[0] == statistics.rows and columns % shape[1] == 0:  # a transposed convolution
        return rows.reshape(len(rows), shape[1], columns // shape[1])[:, :, :4].transpose(1, 0, 2).reshape(shape[1], -1)
    return None


def _all_differ(leading: Array, together: int) -> bool:
    """No two of a run's units agree in their leading values, told by their bits, of many units by a hash of them."""
    bits = np.ascontiguousarray(leading)
    if 0 < len(bits) <= _FEW_UNITS:
        octets, width = bits.tobytes(), bits.nbytes // len(bits)
        keys = [octets[start : start + width] for start in range(0, len(octets), width)]
        return all(len(set(keys[i : i + together])) == together for i in range(0, len(keys) - together + 1, together))
    words = bits.view(np.dtype(f"u{bits.dtype.itemsize}")).reshape(len(bits), -1).astype(np.uint64)
    mixed = np.zeros(len(bits), np.uint64)
    for column in words.T:
        mixed = (mixed ^ column) * _MIXER
        mixed ^= mixed >> np.uint64(29)
    runs = np.sort(mixed[: len(mixed) // together * together].reshape(-1, together), axis=1)
    return not bool((runs[:, 1:] == runs[:, :-1]).any())


def _share(matrix: Array, together: int) -> float:
    """Share of rows that equal another row of their run of `together` rows."""
    rows = np.ascontiguousarray(matrix).reshape(len(matrix), -1)
    keys = rows.view(np.dtype((np.void, rows.dtype.itemsize * rows.shape[1]))).reshape(-1)
    equal = 0
    for start in range(0, len(keys), together):
        _, counts = np.unique(keys[start : start + together], return_counts=True)
        equal += int(counts[counts > 1].sum())
    return equal / len(keys)


def identical_parameters(measured: Iterable[tuple[Parameter, TensorStatistics]]) -> dict[str, list[str]]:
    """Weight name → names of the other weights of its role, shape and type that hold the same bits.

    Only weights that differ within themselves are compared: equal zeros, ones and biases are everyday. Moments are compared before bits.
    """
    alike: dict[tuple[object, ...], list[Parameter]] = {}
    for parameter, statistics in measured:
        if parameter.role not in (Role.WEIGHT, Role.INPUT_WEIGHT, Role.RECURRENT_WEIGHT, Role.EMBEDDING):
            continue
        if statistics.size < 2 or statistics.is_constant:
            continue
        key = (
            parameter.role, parameter.shape, statistics.dtype, statistics.mean, statistics.sum_of_squares,
            statistics.minimum, statistics.maximum,
        )  # fmt: skip
        alike.setdefault(key, []).append(parameter)
    found: dict[str, list[str]] = {}
    for group in alike.values():
        while len(group) > 1:
            first, rest = group[0], group[1:]
            same = [first, *(other for other in rest if _same_bits(first, other))]
            for parameter in same:
                if len(same) > 1:
                    found[parameter.name] = [other.name for other in same if other is not parameter]
            taken = {other.name for other in same}
            group = [other for other in rest if other.name not in taken]
    return found


def _same_bits(one: Parameter, other: Parameter) -> bool:
    for a, b in zip(one.data.blocks(_COMPARED_ELEMENTS), other.data.blocks(_COMPARED_ELEMENTS), strict=True):
        if a.tobytes() != b.tobytes():
            return False
    return True
