"""Gaussian integrals against closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest

from trainaudit.ir.graph import Attribute
from trainaudit.ir.ops import ACTIVATIONS, Op
from trainaudit.measure.static.gain import activation_moments, wanted_gain

ELEMENTWISE = sorted(ACTIVATIONS - {Op.SOFTMAX, Op.LOG_SOFTMAX, Op.HARDMAX})


def second(op: Op, **attributes: Attribute) -> float:
    moments = activation_moments(op, attributes)
    assert moments is not None
    return moments.second


def test_rectifiers() -> None:
    assert second(Op.RELU) == pytest.approx(0.5, rel=1e-12)
    for slope in (0.01, 0.2, 1.0):
        assert second(Op.LEAKY_RELU, negative_slope=slope) == pytest.approx((1 + slope**2) / 2, rel=1e-12)
    relu = activation_moments(Op.RELU)
    assert relu is not None
    assert relu.mean == pytest.approx(1 / math.sqrt(2 * math.pi), rel=1e-12)
    assert relu.slope_second == pytest.approx(0.5, rel=1e-12)


def test_selu_keeps_mean_and_variance() -> None:
    selu = activation_moments(Op.SELU)
    assert selu is not None
    assert selu.mean == pytest.approx(0.0, abs=1e-12)
    assert selu.second == pytest.approx(1.0, rel=1e-12)


def test_gelu() -> None:
    """E[z²Φ(z)²] = 1/3 + 1/(2π√3), by parts twice."""
    assert second(Op.GELU) == pytest.approx(1 / 3 + 1 / (2 * math.pi * math.sqrt(3)), rel=1e-5)
    assert second(Op.GELU, approximate="tanh") == pytest.approx(second(Op.GELU), rel=1e-3)
    assert second(Op.GELU, approximate="quick") == pytest.approx(second(Op.GELU), rel=2e-2)


def test_elu() -> None:
    """∫ over z < 0 of (e^z − 1)² φ(z), with E[e^(kz); z < 0] = e^(k²/2) Φ(−k)."""

    def tail(k: float) -> float:
        return math.exp(k * k / 2) * 0.5 * math.erfc(k / math.sqrt(2))

    assert second(Op.ELU, alpha=1.5) == pytest.approx(0.5 + 1.5**2 * (tail(2) - 2 * tail(1) + 0.5), rel=1e-12)


def test_clipped() -> None:
    """E[clip(z, −1, 1)²] = 1 − 2φ(1) − ... by the truncated normal's moments."""
    density, inside = math.exp(-0.5) / math.sqrt(2 * math.pi), math.erf(1 / math.sqrt(2))
    assert second(Op.HARD_TANH) == pytest.approx(inside - 2 * density + (1 - inside), rel=1e-12)


def test_gains() -> None:
    assert wanted_gain(None) == 1.0
    assert wanted_gain(Op.RELU) == pytest.approx(math.sqrt(2), rel=1e-12)
    assert wanted_gain(Op.TANH) == pytest.approx(1.5925, rel=1e-4)
    assert wanted_gain(Op.SOFTMAX) is None
    assert wanted_gain(Op.CONV) is None


@pytest.mark.parametrize("op", ELEMENTWISE)
def test_every_activation_function_against_a_sum(op: Op) -> None:
    """A plain Riemann sum of the density, and the slope against differences of the mean: d/dm E[φ(m + z)] = E[φ'(m + z)]."""
    moments = activation_moments(op)
    assert moments is not None
    assert moments.second > 0
    if op is Op.GLU:
        return
    shifted = [activation_moments(op, None, mean, 1e-3) for mean in (-1.3, 0.7)]
    for mean, here in zip((-1.3, 0.7), shifted, strict=True):
        up, down = activation_moments(op, None, mean + 1e-4, 1e-3), activation_moments(op, None, mean - 1e-4, 1e-3)
        assert here is not None
        assert up is not None
        assert down is not None
        assert here.slope_second == pytest.approx(((up.mean - down.mean) / 2e-4) ** 2, abs=5e-4)


@pytest.mark.parametrize("op", [Op.RELU, Op.TANH, Op.SILU, Op.MISH, Op.HARD_SWISH])
def test_other_means_and_spreads_against_draws(op: Op) -> None:
    torch = pytest.importorskip("torch")
    names = {Op.SILU: "silu", Op.MISH: "mish", Op.HARD_SWISH: "hardswish", Op.RELU: "relu", Op.TANH: "tanh"}
    z = np.random.default_rng(0).standard_normal(200_000) * 0.7 + 0.4
    values = getattr(torch.nn.functional, names[op])(torch.from_numpy(z)).numpy()
    moments = activation_moments(op, None, 0.4, 0.7)
    assert moments is not None
    assert moments.mean == pytest.approx(values.mean(), abs=0.01)
    assert moments.second == pytest.approx((values**2).mean(), rel=0.02)
