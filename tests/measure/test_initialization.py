"""Draws of known schemes are named; what training or a fault makes is not. `benchmarks/initializers.py` measures the rates on many more."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest

from tests.measure.weight_graphs import normal, parameter, torch_uniform
from trainaudit.ir.graph import Role
from trainaudit.measure.static.distribution import KURTOSIS, normal_grid_bits, uniform_grid_bits
from trainaudit.measure.static.initialization import (
    CHANGED,
    COMPATIBLE,
    CONSTANT,
    LOOSE,
    SILENT,
    UNTOUCHED,
    Identity,
    identify_around,
    identify_bias,
    identify_weight,
)
from trainaudit.measure.static.initializer_words import initializer_words
from trainaudit.measure.static.schemes import NORMAL, TRUNCATED, TRUNCATED_STD, UNIFORM
from trainaudit.measure.static.tensor_statistics import tensor_statistics

Weights = npt.NDArray[np.float32]


def identify(values: npt.NDArray[np.generic], branches: int = 0, stored: str = "", folded: bool = False) -> Identity:
    of = parameter(values, stored=stored)
    return identify_weight(of, tensor_statistics(of), branches, folded)


def cut_normal(*shape: int, std: float, seed: int = 0) -> Weights:
    """A normal cut at two standard deviations by redrawing, as TensorFlow does."""
    size = math.prod(shape)
    values = np.random.default_rng(seed).standard_normal(2 * size + 100)
    return (values[np.abs(values) < 2.0][:size] * std).reshape(shape).astype(np.float32)


def numpy_uniform(*shape: int, bound: float, seed: int = 0) -> Weights:
    return np.random.default_rng(seed).uniform(-bound, bound, shape).astype(np.float32)


OUT, IN = 96, 128
SCHEMES: dict[str, Callable[[int], Weights]] = {
    "pytorch-default": lambda s: torch_uniform(OUT, IN, bound=IN**-0.5, seed=s),
    "xavier-uniform": lambda s: numpy_uniform(OUT, IN, bound=math.sqrt(6 / (IN + OUT)), seed=s),
    "xavier-uniform-tanh-gain": lambda s: numpy_uniform(OUT, IN, bound=5 / 3 * math.sqrt(6 / (IN + OUT)), seed=s),
    "kaiming-uniform": lambda s: torch_uniform(OUT, IN, bound=math.sqrt(6 / IN), seed=s),
    "kaiming-uniform-fan-out": lambda s: torch_uniform(OUT, IN, bound=math.sqrt(6 / OUT), seed=s),
    "lecun-uniform": lambda s: numpy_uniform(OUT, IN, bound=math.sqrt(3 / IN), seed=s),
    "uniform-0.05": lambda s: numpy_uniform(OUT, IN, bound=0.05, seed=s),
    "kaiming-normal": lambda s: normal(OUT, IN, std=math.sqrt(2 / IN), seed=s),
    "kaiming-normal-fan-out": lambda s: normal(OUT, IN, std=math.sqrt(2 / OUT), seed=s),
    "lecun-normal": lambda s: cut_normal(OUT, IN, std=IN**-0.5 / TRUNCATED_STD, seed=s),
    "xavier-normal": lambda s: cut_normal(OUT, IN, std=math.sqrt(2 / (IN + OUT)) / TRUNCATED_STD, seed=s),
    "truncated-normal-0.02": lambda s: cut_normal(OUT, IN, std=0.02, seed=s),
    "normal-0.02": lambda s: normal(OUT, IN, std=0.02, seed=s),
    "normal-0.02-residual": lambda s: normal(OUT, IN, std=0.02 / math.sqrt(24), seed=s),
    "normal-1": lambda s: normal(OUT, IN, std=1.0, seed=s),
}


@pytest.mark.parametrize("scheme", SCHEMES)
def test_schemes_are_named(scheme: str) -> None:
    for seed in range(12):
        identity = identify(SCHEMES[scheme](seed), branches=24)
        assert scheme in identity.names
        assert identity.standing in (COMPATIBLE, UNTOUCHED)
        assert len(identity.names) <= 2


@pytest.mark.parametrize(
    ("values", "family"),
    [
        (numpy_uniform(256, 64, bound=0.0317), UNIFORM),
        (normal(256, 64, std=0.0317), NORMAL),
        (cut_normal(256, 64, std=0.0317), TRUNCATED),
    ],
)
def test_families_are_seen_at_any_scale(values: Weights, family: str) -> None:
    identity = identify(values)
    assert (identity.family, identity.standing) == (family, COMPATIBLE)
    assert identify(values.astype(np.float16)).family == family


def test_draws_around_something_else_than_zero() -> None:
    """torch.rand and a normal with a mean: fresh, though no scheme that keeps a signal."""
    positive = identify(np.random.default_rng(0).random((64, 64), np.float32) * np.float32(0.125))
    assert (positive.family, positive.standing) == (UNIFORM, UNTOUCHED)
    assert positive.scheme == "uniform-0-to-0.125"
    shifted = identify(normal(64, 128) + np.float32(0.04))
    assert (shifted.family, shifted.standing) == (NORMAL, COMPATIBLE)
    assert shifted.scheme == "normal-0.05-around-0.04"


def test_coinciding_schemes_are_all_given() -> None:
    """On a square layer √(6/(n + n)) = √(3/n)."""
    assert {"xavier-uniform", "lecun-uniform"} <= set(identify(numpy_uniform(64, 64, bound=math.sqrt(3 / 64))).names)


def test_constants() -> None:
    assert identify(np.zeros((64, 64), np.float32)).scheme == "zeros"
    assert identify(np.ones((64, 64), np.float32)).scheme == "ones"
    assert identify(np.full((64, 64), 0.25, np.float32)) == Identity("constant", ("constant-0.25",), CONSTANT)


def test_identity_and_dirac() -> None:
    assert identify(np.eye(64, 128, dtype=np.float32)).family == "identity"
    kernel = np.zeros((16, 16, 3, 3), np.float32)
    kernel[np.arange(16), np.arange(16), 1, 1] = 1.0
    assert identify(kernel).scheme == "dirac"
    kernel[0, 0, 1, 1], kernel[0, 0, 0, 0] = 0.0, 1.0
    assert identify(kernel).family != "identity"


@pytest.mark.parametrize("shape", [(64, 64), (64, 256), (256, 64), (600, 500)])
@pytest.mark.parametrize("gain", [1.0, math.sqrt(2)])
def test_orthogonal(shape: tuple[int, int], gain: float) -> None:
    q, _ = np.linalg.qr(normal(max(shape), min(shape)).astype(np.float64))
    values = (gain * (q if shape[0] >= shape[1] else q.T)).astype(np.float32)
    identity = identify(values)
    assert identity.names == ("orthogonal" if gain == 1.0 else "orthogonal-1.414",)
    assert identify(values + normal(*shape, std=1e-3 * float(values.std()))).family != "orthogonal"


def test_orthogonal_gates() -> None:
    """Each gate's square block is orthogonal by itself."""
    blocks = [np.linalg.qr(normal(48, 48, seed=seed).astype(np.float64))[0] for seed in range(4)]
    of = parameter(np.concatenate(blocks).astype(np.float32)[None], Role.RECURRENT_WEIGHT, gates=4)
    assert identify_weight(of, tensor_statistics(of)).scheme == "orthogonal"


def test_sparse() -> None:
    values = normal(128, 128, std=0.01)
    values[np.random.default_rng(1).random(values.shape) < 0.4] = 0.0
    assert identify(values).family == "sparse"


def test_padding_row_of_an_embedding_does_not_hide_the_draw() -> None:
    values = normal(500, 64, std=1.0)
    values[0] = 0.0
    of = parameter(values, Role.EMBEDDING)
    assert identify_weight(of, tensor_statistics(of)).scheme == "normal-1"


def test_grid_of_the_generator() -> None:
    values = torch_uniform(64, 64, bound=0.125)
    assert identify(values).standing == UNTOUCHED
    moved = np.clip(values * np.float32(1 + 1e-6), -0.125, 0.125).astype(np.float32)
    assert uniform_grid_bits(moved, 0.125) is None
    assert uniform_grid_bits(values.astype(np.float16).astype(np.float32), 0.125) == 0.0


@pytest.mark.parametrize("bound", [0.125, 300**-0.5, 0.05])
def test_grids_of_other_generators(bound: float) -> None:
    """Rounded as the generators' sources say: 32 bits to a float, scaled and shifted at once (CUDA); 23 bits, scaled and then shifted
    (TensorFlow, JAX)."""
    edge = float(np.float32(bound))
    for seed in range(20):
        generator = np.random.default_rng(seed)
        wide = generator.integers(0, 1 << 32, 512, dtype=np.uint64).astype(np.float32).astype(np.float64)
        share = (wide * 2.0**-32 + 2.0**-33).astype(np.float32)
        cuda = (share.astype(np.float64) * 2.0 * edge - edge).astype(np.float32)
        short = generator.integers(0, 1 << 23, 512).astype(np.float32) * np.float32(2.0**-23)
        stepwise = short * np.float32(2.0 * edge) - np.float32(edge)
        for values in (cuda, stepwise):
            assert (uniform_grid_bits(values, bound) or 0.0) > 50


def test_grids_of_torch_itself() -> None:
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    uniform = torch.empty(200, 30).uniform_(-0.1, 0.1).numpy()
    assert (uniform_grid_bits(uniform, 0.1) or 0.0) > 100
    drawn = torch.empty(128, 64).normal_(0, 0.02).numpy().reshape(-1)
    assert (normal_grid_bits(drawn, 0.02) or 0.0) > 20
    assert normal_grid_bits(drawn * np.float32(1 + 1e-5), 0.02) is None
    assert normal_grid_bits(normal(8192, std=0.02), 0.02) is None
    assert identify(torch.empty(64, 128).normal_(0, 0.02).numpy().T.copy()).standing == UNTOUCHED


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_changed_weights_are_no_draw(dtype: str) -> None:
    base = torch_uniform(64, 128, bound=128**-0.5)
    direction = np.outer(normal(64, std=1.0, seed=1), np.abs(normal(128, std=1.0, seed=2))).astype(np.float32)
    for changed in (base + 0.02 * direction, base * np.linspace(0.3, 2, 64, dtype=np.float32)[:, None]):
        if dtype == "bfloat16":
            stored = (changed.astype(np.float32).view(np.uint32) >> 16).astype(np.uint16)
            assert identify(stored, stored="bfloat16").standing == CHANGED
        else:
            assert identify(changed.astype(dtype)).standing == CHANGED


def test_smooth_kernels_are_no_draw() -> None:
    kernels = normal(64, 32, 3, 3)
    smooth = kernels + np.roll(kernels, 1, axis=3)
    assert identify(kernels).standing != CHANGED
    assert identify(smooth.astype(np.float32)).standing == CHANGED


def test_folded_normalization_hides_the_scale_and_not_the_draw() -> None:
    values = normal(64, 16, 3, 3) * np.linspace(0.5, 3, 64, dtype=np.float32)[:, None, None, None]
    assert identify(values).standing == CHANGED
    assert identify(values, folded=True).standing == COMPATIBLE
    fresh = torch_uniform(64, 16, 3, 3, bound=1 / 12) * np.float32((1 + 1e-5) ** -0.5)
    assert identify(fresh).names == ("pytorch-default",)


def test_fresh_weight_normalization_is_fresh() -> None:
    """g·v/‖v‖ with g = ‖v‖, each row a rounding or two away from v."""
    direction = torch_uniform(64, 32, 3, bound=96**-0.5).astype(np.float32)
    length = np.sqrt((direction * direction).sum((1, 2), keepdims=True, dtype=np.float32))
    again = np.sqrt((direction.astype(np.float64) ** 2).sum((1, 2), keepdims=True)).astype(np.float32)
    found = identify((direction * (length / again)).astype(np.float32))
    assert (found.names, found.standing) == (("pytorch-default",), UNTOUCHED)
    assert identify(direction * np.float32(0.99999)).standing == CHANGED


def test_fresh_normalization_folded_into_a_normal_of_torch() -> None:
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    drawn = torch.empty(64, 32, 3, 3).normal_(0, 0.02).numpy()
    for epsilon in (0.0, 1e-5, 1e-3):
        assert identify(drawn * np.float32((1 + epsilon) ** -0.5)).standing == UNTOUCHED


def bias(values: npt.NDArray[np.float32], fan_in: int | None = 100, hidden: int | None = None) -> Identity:
    return identify_bias(tensor_statistics(parameter(values, Role.BIAS)), fan_in, hidden, hidden is not None)


def test_biases() -> None:
    assert bias(np.zeros(64, np.float32)).scheme == "zeros"
    assert bias(np.full(64, -4.6, np.float32)).standing == CONSTANT
    assert bias(torch_uniform(64, bound=0.1)) == Identity("uniform", ("pytorch-default",), UNTOUCHED)
    assert bias(torch_uniform(128, bound=0.25), None, 16).standing == UNTOUCHED
    assert bias(torch_uniform(64, bound=0.1) + normal(64, std=0.003)).standing == CHANGED
    assert bias(normal(64, std=0.5)).standing == LOOSE
    assert bias(normal(64, std=0.5) ** 3).standing == CHANGED
    assert bias(np.array([0.3, -2.0], np.float32)).standing == SILENT


def test_scaled_defaults_and_round_bounds_are_draws() -> None:
    def weight(values: npt.NDArray[np.float32]) -> Identity:
        return identify_weight(parameter(values), tensor_statistics(parameter(values)))

    default = torch_uniform(48, 64, bound=0.125)
    for factor in (100.0, 10.0, 2.0, 0.5, 0.1, 0.37):
        assert weight(default * np.float32(factor)).standing == UNTOUCHED
    assert weight(torch_uniform(48, 64, bound=0.123)).standing == UNTOUCHED
    positive = np.random.default_rng(0).integers(0, 1 << 24, (48, 64)).astype(np.float32) / np.float32(1 << 24)
    assert weight(positive) == Identity("uniform", ("uniform-0-to-1",), UNTOUCHED)
    assert weight(positive[:12, :12] + np.float32(1e-6) * normal(12, 12)).standing != UNTOUCHED
    assert weight(default * np.float32(10.0) + normal(48, 64, std=1e-3)).standing != UNTOUCHED


def test_xavier_of_another_generator_within_the_default_bound_is_no_changed_default() -> None:
    """(16, 3, 3, 3): Xavier's bound is 0.187, the default's 0.192."""
    bound = math.sqrt(6 / (19 * 9))
    for seed in range(20):
        values = np.random.default_rng(seed).uniform(-bound, bound, (16, 3, 3, 3)).astype(np.float32)
        found = identify_weight(parameter(values), tensor_statistics(parameter(values)))
        assert found.standing == COMPATIBLE
        assert "xavier-uniform" in found.names


def test_forget_gate_bias_of_one() -> None:
    values = np.zeros((4, 32), np.float32)
    values[2] = 1.0
    assert bias(values.reshape(-1), None, 32).scheme == "zeros-forget-ones"


def test_normalizations() -> None:
    def around(values: npt.NDArray[np.float32], home: float) -> str:
        return identify_around(tensor_statistics(parameter(values, Role.SCALE)), home).standing

    assert around(np.ones(64, np.float32), 1.0) == CONSTANT
    assert around(np.zeros(64, np.float32), 0.0) == CONSTANT
    assert around(1.0 + normal(64, std=1e-3), 1.0) == CHANGED


def test_non_finite_and_empty_tensors_are_unknown() -> None:
    values = normal(64, 64)
    values[3, 4] = np.nan
    with np.errstate(all="ignore"):
        assert identify(values).family == "unknown"
    assert identify(np.zeros((0, 64), np.float32)).family == "unknown"


def test_kurtosis_of_the_truncated_normal() -> None:
    z = np.linspace(-2, 2, 400_001)
    density = np.exp(-z * z / 2)
    density /= density.sum()
    second = float(density @ z**2)
    assert math.sqrt(second) == pytest.approx(TRUNCATED_STD, rel=1e-5)
    assert float(density @ z**4) / second**2 == pytest.approx(KURTOSIS[TRUNCATED], rel=1e-3)


@pytest.mark.parametrize(
    ("schemes", "words"),
    [
        ("normal-0.02|normal-0.05", "normal, std 0.02 or 0.05"),
        ("normal-0.02|uniform-0.05", "normal, std 0.02 or uniform, bound 0.05"),
        ("kaiming-normal|normal-0.05", "He normal, std √(2/fan_in) or normal, std 0.05"),
        ("unknown", "no known scheme, std 0.1"),
    ],
)
def test_what_it_was_drawn_from_in_words(schemes: str, words: str) -> None:
    assert initializer_words(schemes, 0.1) == words
