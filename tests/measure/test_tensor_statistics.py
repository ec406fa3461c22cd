"""The pass over a tensor against numpy on the whole array in float64."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.measure.weight_graphs import normal, parameter
from trainaudit.ir.graph import Parameter, Role
from trainaudit.ir.tensor import ArrayData, widen_bfloat16
from trainaudit.measure.static.tensor_statistics import (
    SAMPLE,
    TensorStatistics,
    matrix_shape,
    tensor_statistics,
    trimmed,
)

SHAPES = [(), (1,), (10,), (64, 64), (512, 512), (5000, 77), (3, 200_000), (300_001,), (64, 3, 7, 7), (2, 400, 300)]


def stored(values: npt.NDArray[np.float32], dtype: str) -> Parameter:
    values = np.asarray(values)
    if dtype == "bfloat16":
        bits = (values.view(np.uint32) >> 16).astype(np.uint16)
        return parameter(bits, stored="bfloat16")
    return parameter(values.astype(dtype))


def measured(of: Parameter) -> TensorStatistics:
    with np.errstate(all="ignore"):
        return tensor_statistics(of)


def expect(of: Parameter) -> TensorStatistics:
    """Measure, and hold every number against the plain computation."""
    statistics = measured(of)
    array = np.asarray(of.data.array)  # type: ignore[attr-defined]
    values = (widen_bfloat16(array) if of.dtype == "bfloat16" else array).astype(np.float64).reshape(-1)
    finite = values[np.isfinite(values)]
    tiny = {"float16": 2.0**-14, "float64": 2.0**-1022}.get(of.dtype, 2.0**-126)
    assert statistics.size == values.size
    assert statistics.mean == pytest.approx(finite.mean(), rel=1e-4, abs=1e-6 * finite.std())
    assert statistics.std == pytest.approx(finite.std(), rel=1e-4)
    assert (statistics.minimum, statistics.maximum) == (finite.min(), finite.max())
    assert statistics.zero_count == np.count_nonzero(values == 0)
    assert statistics.denormal_count == np.count_nonzero((np.abs(values) < tiny) & (values != 0))
    assert statistics.nan_count == np.count_nonzero(np.isnan(values))
    assert statistics.infinite_count == np.count_nonzero(np.isinf(values))
    bad = np.flatnonzero(~np.isfinite(values))
    assert statistics.first_non_finite == (None if bad.size == 0 else bad[0])
    assert statistics.sample.size <= SAMPLE
    assert np.isin(statistics.sample[np.isfinite(statistics.sample)].astype(np.float64), [*finite, 0.0]).all()
    return statistics


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "float64"])
@pytest.mark.parametrize("shape", SHAPES)
def test_numbers_are_those_of_the_whole_array(shape: tuple[int, ...], dtype: str) -> None:
    expect(stored(normal(*shape, std=0.05) + np.float32(0.01), dtype))


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "float64"])
@pytest.mark.parametrize("shape", [(40,), (512, 512), (300_001,)])
def test_special_values_are_counted(shape: tuple[int, ...], dtype: str) -> None:
    values = normal(*shape)
    values.flat[3] = np.nan
    values.flat[-1] = -np.inf
    values.flat[7] = 0.0
    values.flat[9] = -0.0
    values.flat[11] = 1e-40 if dtype != "float16" else 2.0**-20
    statistics = expect(stored(values, dtype))
    assert (statistics.denormal_count > 0) == (dtype != "float64")


@pytest.mark.parametrize("shape", [(40,), (512, 512)])
@pytest.mark.parametrize("scale", [1e38, 1e-25, 1e-38])
def test_extreme_magnitudes_neither_overflow_nor_vanish(shape: tuple[int, ...], scale: float) -> None:
    values = np.clip(normal(*shape, std=1.0), -3, 3) * np.float32(scale)
    assert expect(parameter(values)).std > 0.5 * scale


def test_values_close_together_far_from_zero_keep_their_spread() -> None:
    values = (1.0 + 1e-4 * np.random.default_rng(0).standard_normal((600, 600))).astype(np.float32)
    assert measured(parameter(values)).std == pytest.approx(1e-4, rel=0.02)


def test_constant_tensors_have_no_spread() -> None:
    for size in (10, 300_000):
        statistics = measured(parameter(np.full(size, 0.1, np.float32)))
        assert statistics.is_constant
        assert (statistics.mean, statistics.std) == (np.float32(0.1), 0.0)


@given(st.lists(st.floats(width=32, allow_nan=True, allow_infinity=True), min_size=1, max_size=40))
@settings(max_examples=60, deadline=None)
def test_any_floats(values: list[float]) -> None:
    statistics = measured(parameter(np.array(values, np.float32)))
    assert np.isfinite([statistics.mean, statistics.std, statistics.minimum, statistics.maximum]).all()
    assert statistics.non_finite_count == sum(not np.isfinite(v) for v in values)


class Streamed(ArrayData):
    """Blocks of irregular length, as a decoded stream gives them."""

    def blocks(self, elements: int) -> Iterator[npt.NDArray[np.generic]]:
        flat = self.array.reshape(-1)
        for start in range(0, flat.size, 1777):
            yield flat[start : start + min(1777, elements)]


def test_irregular_blocks_give_the_same() -> None:
    values = normal(700, 700)
    regular = measured(parameter(values))
    streamed = measured(Parameter("weight", values.shape, "float32", Role.WEIGHT, True, (0,), Streamed(values), 0))
    assert streamed.sum_of_squares == regular.sum_of_squares
    assert np.array_equal(streamed.sample, regular.sample)
    assert regular.column_sums is not None
    assert streamed.column_sums == pytest.approx(regular.column_sums)


def test_sample_is_spread_and_repeatable() -> None:
    values = np.arange(4096 * 1024, dtype=np.float32).reshape(4096, 1024)
    first, again = measured(parameter(values)), measured(parameter(values))
    assert np.array_equal(first.sample, again.sample)
    rows = first.sample[:, 0] // 1024
    assert rows[0] == 0
    assert rows[-1] > 0.95 * 4096
    assert len(set((rows % 64).tolist())) > 32  # not in step with heads of 64 units


def test_column_sums_cover_the_whole_tensor() -> None:
    values = normal(3000, 100)
    sums = measured(parameter(values)).column_sums
    assert sums == pytest.approx(values.sum(axis=0, dtype=np.float64), rel=1e-3, abs=1e-4)


def test_recurrent_weights_are_read_unit_by_unit() -> None:
    assert matrix_shape(parameter(normal(2, 96, 24), Role.RECURRENT_WEIGHT)) == (192, 24)
    assert matrix_shape(parameter(normal(32, 16, 3))) == (32, 48)


def test_what_is_kept_of_a_large_tensor_is_small_and_knows_its_rows() -> None:
    values = np.arange(3000 * 500, dtype=np.float32).reshape(3000, 500)
    kept = trimmed(measured(parameter(values)), 64)
    assert kept.sample.size <= 64 * 64
    assert kept.head.size == 0
    rows = kept.sample[:, 0].astype(np.int64) // 500
    assert rows.tolist() == [kept.sample_step * i for i in range(len(rows))]
    assert rows[-1] > 0.9 * 3000
