"""One pass over one tensor in cache-sized blocks: moments, range, zeros, non-finite and denormal values, a bounded sample, and what
the later tests need of it. Imports ir only.

Every block is read once while it lies in cache: a dot product for the sum of squares, a matrix–vector product for the column sums
(whose sum is the sum), minimum, maximum, and one comparison that finds zeros and denormals together. A non-finite value shows as a
non-finite sum of squares, so only then is a block looked at again.
"""

from __future__ import annotations

import math
import zlib
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from trainaudit.frozen import frozen
from trainaudit.ir.graph import Parameter, Role, TensorData
from trainaudit.measure.static.stored_blocks import LEADING, LeadingValues, regular, widened

Array = npt.NDArray[np.generic]
Floats = npt.NDArray[np.floating]
Float32s = npt.NDArray[np.float32]

BLOCK = 131_072
"""Elements of a block of 4-byte values: 512 KiB, which stays in a second-level cache."""
HALF_BLOCK = 32_768
"""Elements of a block of 2-byte values: the widened copy takes 128 KiB."""
SAMPLE = 65_536
_HEAD = 16_384
_SAMPLE_WIDTH = 256
FLOATS = frozenset({"float32", "float16", "bfloat16", "float64"})
_SMALLEST_NORMAL = {"float32": 2.0**-126, "float16": 2.0**-14, "bfloat16": 2.0**-126, "float64": 2.0**-1022}
_SQUARES_SAFE_FROM = 1e-24
"""A float32 sum of squares below this may have lost terms to underflow."""


@frozen(eq=False)
class TensorStatistics:
    """Of one floating-point tensor. Moments, range and sample are over the finite values.

    `rows` × `columns` is the stored matrix (row-major) that the sample is cut from; `sample` holds every `sample_step`-th row
    of it, and of those the columns from `sample_offset` on, float32. `column_sums` has one float64 sum per column, or is None where the tensor was not
    read row by row. `first_rows` and `first_columns` hold the stored bits of up to four leading rows and columns.
    """

    size: int
    dtype: str
    mean: float
    std: float
    sum_of_squares: float
    minimum: float
    maximum: float
    zero_count: int
    denormal_count: int
    nan_count: int
    infinite_count: int
    first_non_finite: int | None
    rows: int
    columns: int
    sample: Float32s
    sample_step: int
    sample_offset: int
    column_sums: npt.NDArray[np.float64] | None
    first_rows: Array | None
    first_columns: Array | None
    head: Float32s
    """The first values in the order they are stored in, at most 16,384."""

    @property
    def absmax(self) -> float:
        return max(abs(self.minimum), abs(self.maximum))

    @property
    def non_finite_count(self) -> int:
        return self.nan_count + self.infinite_count

    @property
    def is_constant(self) -> bool:
        """Every value is the same finite number."""
        return self.minimum == self.maximum and self.non_finite_count == 0

    @property
    def is_whole(self) -> bool:
        """The sample is the whole tensor, in its order."""
        return self.sample.size == self.size


def matrix_shape(parameter: Parameter) -> tuple[int, int]:
    """The stored tensor as (rows, columns), row-major: filters are rows of a convolution; every gate's unit is a row of a recurrent
    weight; stacked matrices (experts) are put under one another; vectors are one row."""
    shape = [n for n in parameter.shape if n != 1] or [1]
    size = math.prod(shape)
    if len(shape) == 1 or size == 0:
        return 1, size
    recurrent = parameter.role in (Role.INPUT_WEIGHT, Role.RECURRENT_WEIGHT)
    if recurrent or (len(shape) == 3 and parameter.unit_axis == len(parameter.shape) - 1):
        return size // shape[-1], shape[-1]
    return shape[0], size // shape[0]


def tensor_statistics(parameter: Parameter) -> TensorStatistics:
    """The pass over a parameter whose stored type is one of `FLOATS`. Raises nothing of its own."""
    data = parameter.data
    rows, columns = matrix_shape(parameter)
    size = rows * columns
    limit = BLOCK if data.dtype in ("float32", "float64") else HALF_BLOCK
    if size <= limit and size <= SAMPLE:
        return _small(data, rows, columns)
    return _large(data, rows, columns, limit, zlib.crc32(parameter.name.encode()))


def trimmed(statistics: TensorStatistics, side: int) -> TensorStatistics:
    """What is kept of a tensor once it is identified: of a large one at most `side` rows and columns of the sample and one leading row, so that memory
    stays bounded however many tensors there are."""
    if statistics.size <= side * side:
        return statistics  # its head is a view of its sample
    rows = statistics.first_rows
    every = -(-len(statistics.sample) // side)
    every += every > 1 and every % 2 == 0
    return replace(
        statistics, sample=statistics.sample[::every, :side].copy(), sample_step=statistics.sample_step * every,
        head=statistics.head[:0].copy(), column_sums=None, first_rows=None if rows is None else rows[:1].copy(), first_columns=None,
    )  # fmt: skip


def _small(data: TensorData, rows: int, columns: int) -> TensorStatistics:
    """A tensor of one block: the same numbers, in float64 and in fewer steps."""
    size = rows * columns
    stored = next(regular(data.blocks(size), size), None) if size else None
    if stored is None:
        return _empty(data.dtype, rows, columns)
    bits = stored.copy()
    values = next(widened([bits], size))
    sample = values.astype(np.float32)
    wide = values.astype(np.float64)
    squares = float(wide @ wide)
    nan = infinite = 0
    first = None
    finite = wide
    if not math.isfinite(squares):
        good = np.isfinite(wide)
        nan = int(np.count_nonzero(np.isnan(wide)))
        infinite = size - int(np.count_nonzero(good)) - nan
        if nan + infinite:
            first = int(np.argmin(good))
            finite = wide[good]
            sample = finite.astype(np.float32)
            squares = float(finite @ finite)
    count = finite.size
    if count == 0:
        mean = std = low = high = squares = 0.0
    else:
        low, high = float(np.minimum.reduce(finite)), float(np.maximum.reduce(finite))
        mean = float(np.add.reduce(finite)) / count
        if low == high:
            mean, std = low, 0.0
        else:
            centered = finite - mean
            std = math.sqrt(float(centered @ centered) / count)
    zeros = size - int(np.count_nonzero(wide))
    denormals = 0
    tiny = _SMALLEST_NORMAL[data.dtype]
    if zeros != size:
        near = int(np.count_nonzero(np.abs(wide) < tiny))
        denormals = near - zeros
    matrix = sample.reshape(rows, columns) if first is None else sample.reshape(1, -1)
    stored_matrix = bits.reshape(rows, columns)
    return TensorStatistics(
        size=size, dtype=data.dtype, mean=mean, std=std, sum_of_squares=squares, minimum=low, maximum=high,
        zero_count=zeros, denormal_count=denormals, nan_count=nan, infinite_count=infinite, first_non_finite=first,
        rows=rows, columns=columns, sample=matrix, sample_step=1, sample_offset=0, column_sums=None,
        first_rows=stored_matrix[:LEADING], first_columns=stored_matrix[:, :LEADING], head=sample.reshape(-1)[:_HEAD],
    )  # fmt: skip


def _empty(dtype: str, rows: int, columns: int) -> TensorStatistics:
    nothing = np.zeros((1, 0), np.float32)
    return TensorStatistics(
        size=0, dtype=dtype, mean=0.0, std=0.0, sum_of_squares=0.0, minimum=0.0, maximum=0.0, zero_count=0, denormal_count=0,
        nan_count=0, infinite_count=0, first_non_finite=None, rows=rows, columns=columns, sample=nothing, sample_step=1,
        sample_offset=0, column_sums=None, first_rows=None, first_columns=None, head=nothing[0],
    )  # fmt: skip


def _large(data: TensorData, rows: int, columns: int, limit: int, seed: int) -> TensorStatistics:
    by_rows = rows > 1 and columns <= limit
    width = columns if by_rows else _SAMPLE_WIDTH
    elements = (limit // width) * width
    take = min(width, _SAMPLE_WIDTH)
    step, offset, most = _sampling(rows * columns // width, width, take, seed)
    sample = np.empty((most, take), np.float32)
    sums = np.zeros(width, np.float64)
    ones = np.ones(elements // width, np.float32)
    tiny = _SMALLEST_NORMAL[data.dtype]
    keys = LeadingValues(width)
    total = squares = 0.0
    low, high = math.inf, -math.inf
    near = zeros = nan = infinite = start = filled = 0
    first: int | None = None
    head = np.zeros(0, np.float32)
    flags = np.empty(elements, np.bool_)
    magnitudes = np.empty(elements, np.float64 if data.dtype == "float64" else np.float32)
    stored = regular(data.blocks(elements), elements)
    for block in widened(keys.watch(stored) if by_rows else stored, elements):
        n = block.size
        part = float(np.dot(block, block))
        block_low, block_high = float(block.min()), float(block.max())
        whole_rows = n // width
        if _SQUARES_SAFE_FROM < part < math.inf:
            matrix = block[: whole_rows * width].reshape(whole_rows, width)
            column_sums = ones[:whole_rows] @ matrix if block.dtype == np.float32 else matrix.sum(axis=0)
            sums += column_sums
            total += float(column_sums.sum(dtype=np.float64))
            if whole_rows * width < n:
                total += float(block[whole_rows * width :].sum(dtype=np.float64))
        elif block_low == 0.0 == block_high:
            part = 0.0
        else:
            wide = block.astype(np.float64)
            finite = np.isfinite(wide)
            bad = n - int(np.count_nonzero(finite))
            if bad:
                block_nan = int(np.count_nonzero(np.isnan(wide)))
                nan, infinite = nan + block_nan, infinite + bad - block_nan
                first = start + int(np.argmin(finite)) if first is None else first
                wide[~finite] = 0.0
                kept = block[finite]
                block_low, block_high = (float(kept.min()), float(kept.max())) if kept.size else (math.inf, -math.inf)
            part = float(wide @ wide)
            total += float(wide.sum())
            sums += wide[: whole_rows * width].reshape(whole_rows, width).sum(axis=0)
        squares += part
        low, high = min(low, block_low), max(high, block_high)
        if block_low < tiny and block_high > -tiny:
            np.absolute(block, out=magnitudes[:n])
            np.less(magnitudes[:n], tiny, out=flags[:n])
            block_near = int(np.count_nonzero(flags[:n]))
            if block_near:
                near += block_near
                np.equal(block, 0, out=flags[:n])
                zeros += int(np.count_nonzero(flags[:n]))
        chosen = block[: whole_rows * width].reshape(whole_rows, width)[(-(start // width)) % step :: step]
        m = min(len(chosen), most - filled)
        if start == 0:
            head = block[:_HEAD].astype(np.float32)
        if m > 0:
            sample[filled : filled + m] = chosen[:m, offset : offset + take]
            filled += m
        start += n
    size = rows * columns
    sample = sample[:filled]
    if nan + infinite:
        sample = np.where(np.isfinite(sample), sample, np.float32(0.0))
    count = size - nan - infinite
    mean = total / count if count else 0.0
    if low > high:
        low = high = 0.0
    return TensorStatistics(
        size=size, dtype=data.dtype, mean=low if low == high else mean, std=_deviation(squares, mean, count, low, high, sample),
        sum_of_squares=squares, minimum=low, maximum=high, zero_count=zeros, denormal_count=near - zeros, nan_count=nan,
        infinite_count=infinite, first_non_finite=first, rows=rows, columns=columns, sample=sample,
        sample_step=step, sample_offset=offset, column_sums=sums if by_rows else None, first_rows=keys.first_rows, first_columns=keys.first_columns(), head=head,
    )  # fmt: skip


def _deviation(squares: float, mean: float, count: int, low: float, high: float, sample: Float32s) -> float:
    """√(E[x²] − E[x]²); where that difference drowns in rounding (values far from zero, close together), the sample's."""
    if count == 0 or low == high:
        return 0.0
    variance = squares / count - mean * mean
    if variance <= 1e-3 * mean * mean:
        return float(np.std(sample, dtype=np.float64))
    return math.sqrt(variance)


def _sampling(rows: int, columns: int, take: int, seed: int) -> tuple[int, int, int]:
    """Every how many rows to sample, from which column on, and at most how many rows: at most `SAMPLE` values in all.

    The step shares no factor with 2, 3, 5 and 7, so that it does not fall into step with heads, gates or groups; the column
    window is placed by the parameter's name, so that two runs take the same sample.
    """
    wanted = max(1, SAMPLE // take)
    step = max(1, -(-rows // wanted))
    while step > 1 and math.gcd(step, 210) > 1:
        step += 1
    offset = seed % (columns - take + 1)
    return step, offset, min(wanted, -(-rows // step))
