"""Moments of functions of Gaussian units against closed forms and against random numbers."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainaudit.ir.ops import Op
from trainaudit.measure.signal.curves import Curve, affine, curve_of, normal_cdf, rectifier
from trainaudit.measure.signal.elementwise import composed
from trainaudit.measure.signal.gaussian import largest_of, slope_mean, slope_of_largest, slopes, through
from trainaudit.measure.signal.prediction import NONE, Signal

CURVES = {
    op: curve
    for op in Op
    if (curve := curve_of(op, {"scalar": 2.0, "scalar_side": "right", "min": -0.5, "max": 1.5})) is not None
}
STEPS = (Op.SIGN, Op.FLOOR, Op.CEIL, Op.ROUND)
CONTINUOUS = {op: curve for op, curve in CURVES.items() if op not in STEPS}
SAMPLES = np.random.default_rng(5).standard_normal(400_000)
OTHERS = np.random.default_rng(6).standard_normal(400_000)


def one(value: float) -> np.ndarray:
    return np.full(1, value)


def test_relu_of_a_standard_normal() -> None:
    relu = rectifier(0.0)
    mean, own, shared = through(relu, one(0.0), one(1.0), NONE)
    assert mean[0] == pytest.approx(1 / math.sqrt(2 * math.pi), rel=1e-5)
    assert mean[0] ** 2 + own[0] == pytest.approx(0.5, rel=1e-5)
    assert shared is NONE
    second, pair = slopes(relu, one(0.0), one(1.0), NONE, pairs=True)
    assert second[0] == pytest.approx(0.5, rel=1e-5)
    assert pair[0] == pytest.approx(0.25, rel=1e-5)


@pytest.mark.parametrize("std", [0.0, 1e-200, 1e-9])
def test_relu_of_what_hardly_varies(std: float) -> None:
    mean, own, _ = through(rectifier(0.0), np.array([0.7, -0.7]), np.full(2, std**2), NONE)
    assert mean == pytest.approx([0.7, 0.0], abs=1e-12)
    assert own == pytest.approx([std**2, 0.0], abs=1e-30)


@pytest.mark.parametrize("correlation", [0.1, 0.5, 0.9])
def test_shared_variance_through_relu_is_the_arc_cosine_kernel(correlation: float) -> None:
    """Cho & Saul 2009: E[relu(u)relu(v)] = (√(1 − ρ²) + ρ(π − arccos ρ)) / 2π; of the slopes (π − arccos ρ) / 2π."""
    angle = math.acos(correlation)
    relu = rectifier(0.0)
    mean, _, shared = through(relu, one(0.0), one(1.0 - correlation), one(correlation))
    together = (math.sin(angle) + (math.pi - angle) * correlation) / (2 * math.pi)
    assert mean[0] ** 2 + shared[0] == pytest.approx(together, rel=2e-2)
    _, pair = slopes(relu, one(0.0), one(1.0 - correlation), one(correlation), pairs=True)
    assert pair[0] == pytest.approx((math.pi - angle) / (2 * math.pi), rel=3e-2)


def test_shared_variance_through_erf_is_the_arc_sine_kernel() -> None:
    """Williams 1997: E[erf(u)erf(v)] = (2/π) arcsin(2ρ / 3) for unit variances."""
    curve = curve_of(Op.ERF, {})
    assert curve is not None
    _, _, shared = through(curve, one(0.0), one(0.4), one(0.6))
    assert shared[0] == pytest.approx(2 / math.pi * math.asin(2 * 0.6 / 3), rel=1e-3)


@pytest.mark.parametrize("op", CONTINUOUS, ids=lambda op: op.value)
@pytest.mark.parametrize(("mean", "std"), [(0.0, 1.0), (0.7, 0.4), (-1.0, 3.0), (0.3, 0.05)])
def test_every_function_against_random_numbers(op: Op, mean: float, std: float) -> None:
    curve = CURVES[op]
    if op is Op.EXP and std > 2:
        pytest.skip("no sample is large enough to show its moments")
    shared = 0.4 * std * std
    common = math.sqrt(shared) * SAMPLES
    far = math.sqrt(0.6) * std
    first = mean + common + far * OTHERS
    second = mean + common + far * OTHERS[::-1]
    center, own, both = through(curve, one(mean), one(std * std - shared), one(shared))
    values = curve.function(first)
    size = math.sqrt(float((values * values).mean()))
    assert center[0] == pytest.approx(float(values.mean()), abs=0.01 * size + 0.01)
    assert own[0] + both[0] == pytest.approx(float(values.var()), rel=0.04, abs=1e-4)
    together = float((values * curve.function(second)).mean())
    assert center[0] ** 2 + both[0] == pytest.approx(together, rel=0.03, abs=0.01 * size * size)
    slope = curve.slope(first)
    total, pair = slopes(curve, one(mean), one(std * std - shared), one(shared), pairs=True)
    assert total[0] == pytest.approx(float((slope * slope).mean()), rel=0.05, abs=2e-3)
    assert pair[0] == pytest.approx(float((slope * curve.slope(second)).mean()), rel=0.08, abs=0.01)
    z = Signal(one(mean), one(std * std))
    assert slope_mean(curve, z)[0] == pytest.approx(float(slope.mean()), rel=0.03, abs=5e-3)


@pytest.mark.parametrize("op", CURVES, ids=lambda op: op.value)
def test_slopes_are_the_derivatives(op: Op) -> None:
    curve = CURVES[op]
    x = np.linspace(-4.03, 4.03, 201)
    x = x[np.min(np.abs(x[:, None] - np.array([*curve.knots, *range(-5, 6), -0.5, 1.5])), axis=1) > 1e-3]
    step = 1e-6
    if op in (Op.GELU, Op.ERF):
        step = 1e-2  # Φ is interpolated
    difference = (curve.function(x + step) - curve.function(x - step)) / (2 * step)
    assert curve.slope(x) == pytest.approx(difference, rel=2e-3, abs=2e-3)


@pytest.mark.parametrize("op", STEPS, ids=lambda op: op.value)
def test_steps(op: Op) -> None:
    """No gradient passes."""
    curve = CURVES[op]
    mean, own, _ = through(curve, one(0.3), one(2.0), NONE)
    values = curve.function(0.3 + math.sqrt(2.0) * SAMPLES)
    assert mean[0] == pytest.approx(float(values.mean()), abs=0.01)
    assert own[0] == pytest.approx(float(values.var()), rel=0.01)
    assert slopes(curve, one(0.3), one(2.0), NONE, pairs=False)[0][0] == 0.0


def test_normal_cdf() -> None:
    x = np.linspace(-7, 7, 999)
    assert normal_cdf(x) == pytest.approx(np.array([0.5 * math.erfc(-v / math.sqrt(2)) for v in x]), abs=1e-6)


@pytest.mark.parametrize("count", [1, 2, 4, 9])
def test_largest_of_several(count: int) -> None:
    draws = np.random.default_rng(7).standard_normal((100_000, count)).max(axis=1) * 2.0 + 0.5
    mean, own, _ = largest_of(Signal(one(0.5), one(4.0)), count)
    assert mean[0] == pytest.approx(float(draws.mean()), abs=0.03)
    assert own[0] == pytest.approx(float(draws.var()), rel=0.03)
    relu = rectifier(0.0)
    z = Signal(one(0.0), one(1.0))
    center, variance, _ = through(relu, z.mean, z.own, NONE)
    rectified = Signal(center, variance, before=z, curve=relu)
    mean, own, _ = largest_of(rectified, count)
    values = np.maximum(np.random.default_rng(8).standard_normal((100_000, count)), 0.0).max(axis=1)
    assert mean[0] == pytest.approx(float(values.mean()), abs=0.01)
    assert own[0] == pytest.approx(float(values.var()), rel=0.03)
    assert slope_of_largest(relu, z, count)[0] == pytest.approx(1 - 0.5**count, abs=0.04)


def test_functions_of_functions() -> None:
    tanh, relu = CURVES[Op.TANH], rectifier(0.0)
    both = composed(tanh, relu)
    mean, own, _ = through(both, one(0.2), one(1.0), NONE)
    values = np.tanh(np.maximum(0.2 + SAMPLES, 0.0))
    assert mean[0] == pytest.approx(float(values.mean()), abs=5e-3)
    assert own[0] == pytest.approx(float(values.var()), rel=0.02)
    moved = affine(relu, -2.0, 3.0)
    mean, own, _ = through(moved, one(0.0), one(1.0), NONE)
    assert mean[0] == pytest.approx(3 - 2 / math.sqrt(2 * math.pi), rel=1e-4)
    assert own[0] == pytest.approx(4 * (0.5 - 0.5 / math.pi), rel=1e-3)


@given(
    st.sampled_from(list(CURVES.values())),
    st.floats(-30, 30),
    st.floats(0, 100).filter(lambda variance: variance == 0 or variance > 1e-12),
    st.floats(0, 1),
)
@settings(max_examples=200, deadline=None)
def test_variances_are_never_negative(curve: Curve, mean: float, variance: float, ratio: float) -> None:
    with np.errstate(all="ignore"):
        center, own, shared = through(curve, one(mean), one(variance * (1 - ratio)), one(variance * ratio))
        second, pair = slopes(curve, one(mean), one(variance * (1 - ratio)), one(variance * ratio), pairs=True)
    for value in (own, shared, second):
        assert not value[0] < 0.0
        assert not math.isnan(value[0])
    assert math.isfinite(center[0])
    assert not math.isnan(pair[0])
