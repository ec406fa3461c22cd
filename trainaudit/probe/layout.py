"""How readings lie in memory between the device and the record: the order of numbers, and the bounds of what is read. Stdlib only."""

from __future__ import annotations

from collections.abc import Sequence

from trainaudit.ir.ops import Op

AT_ONCE = ("gradient_squares", "non_finite", "overflow")
"""The numbers of a tap that are written while the step runs."""

SCALARS = (*AT_ONCE, "sum", "norm", "nonzero", "saturated")
"""All numbers of a tap, in the order in which they are fetched."""

GRADIENT_SQUARES, NON_FINITE, OVERFLOW = range(len(AT_ONCE))

CAP = 4096
"""Elements of an activation that sums and counts are over, at most: a standard error of the rms of about one percent."""

SAMPLES = 8
"""Samples that they come from at least, where there are as many."""

BLOCK, BLOCKS = 16, 512
"""Of a large parameter as many blocks are read, each of so many values that lie next to each other (a cache line of float32)."""

WHOLE = 2 * BLOCK * BLOCKS
"""Values up to which a parameter is read whole."""

NUMBERS = ("weight", "gradient", "absmax", "update")
"""The numbers of a parameter: ‖w‖ before the step, ‖∂loss/∂w‖, its largest magnitude, and ‖Δw‖."""

SATURATION = {Op.TANH: (0.0, 0.97), Op.SIGMOID: (0.5, 0.47)}
"""Op → (middle, distance): values further from the middle count as saturated."""

BINS = 32
"""Of a histogram."""

RANK_ROWS = 64
"""Rows of units behind an effective rank, at most."""

RANK_COLUMNS = 1024
"""Units of each such row, at most."""


def rank_bound(rows: int, units: int) -> int:
    """The largest effective rank that so many centred rows of units can have: min(rows − 1, units), since centring takes one."""
    return min(rows - 1, -(-units // -(-units // RANK_COLUMNS)))


def unit_axis(op: Op, shape: Sequence[int], last: tuple[int, int]) -> int:
    """The axis that counts units. `last` is (axis, size) of the weighted layer or normalization before, in the order of calls: an activation
    function keeps it unless its sizes say otherwise."""
    rank = len(shape)
    if op in (Op.CONV, Op.CONV_TRANSPOSE, Op.BATCH_NORM, Op.GROUP_NORM, Op.INSTANCE_NORM, Op.LOCAL_RESPONSE_NORM):
        return 1 if rank > 1 else 0
    if op in (Op.LINEAR, Op.LAYER_NORM, Op.RMS_NORM, Op.EMBEDDING, Op.ATTENTION, Op.RNN, Op.LSTM, Op.GRU):
        return rank - 1
    axis, size = last
    if axis == 1 and rank > 1 and (shape[1] == size or shape[-1] != size):
        return 1
    if axis != 1 and rank > 2 and shape[-1] != size and shape[1] == size:
        return 1
    return rank - 1
