"""Quotients by norms, sums and standard deviations that are written out, and values of several samples at once: against numbers drawn with numpy."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from tests.measure.signal.test_propagation import everything_known, linear
from tests.measure.structure_graphs import Sketch
from trainaudit.ir.ops import Op
from trainaudit.measure.signal.prediction import Prediction
from trainaudit.measure.signal.propagation import predict

Array = np.ndarray
UNITS = 48
SAMPLES = 4000
FIRST, SECOND = (np.random.default_rng(seed).standard_normal((UNITS, UNITS)) / math.sqrt(UNITS) for seed in (1, 2))


def towers(add: Callable[[Sketch, str, str], str]) -> tuple[Prediction, str]:
    """Two values, each behind a linear layer of its own."""
    g = Sketch({"x": ("N", UNITS), "y": ("N", UNITS)})
    h = add(g, linear(g, "a", "x", FIRST), linear(g, "b", "y", SECOND))
    return everything_known(predict(g.graph(h))), h


def drawn(count: int = SAMPLES) -> tuple[Array, Array]:
    draw = np.random.default_rng(3)
    return draw.standard_normal((count, UNITS)) @ FIRST.T, draw.standard_normal((count, UNITS)) @ SECOND.T


def rms(values: Array) -> float:
    return math.sqrt(float((values * values).mean()))


def total(g: Sketch, name: str, x: str, op: Op = Op.REDUCE_SUM) -> str:
    return g.layer(op, name, x, shape=("N", 1), axes=(1,), keepdim=True)


@pytest.mark.parametrize("low", [1e-8, 1e-16])
def test_a_cosine_of_two_values(low: float) -> None:
    """x·y / max(|x| |y|, ε): what F.cosine_similarity becomes. The clip is never reached."""

    def add(g: Sketch, x: str, y: str) -> str:
        norms = g.layer(Op.MUL, "norms", total(g, "nx", x, Op.REDUCE_L2), total(g, "ny", y, Op.REDUCE_L2))
        kept = g.layer(Op.CLIP, "kept", norms, min=low, max=math.inf)
        return g.layer(Op.DIV, "cosine", total(g, "dot", g.layer(Op.MUL, "product", x, y)), kept)

    prediction, h = towers(add)
    x, y = drawn()
    cosine = (x * y).sum(1) / np.linalg.norm(x, axis=1) / np.linalg.norm(y, axis=1)
    assert prediction.signals[h].std == pytest.approx(float(cosine.std()), rel=0.1)
    assert prediction.gradients["a"] == pytest.approx(
        1.0 / float(np.linalg.norm(x, axis=1).mean()) / math.sqrt(UNITS), rel=0.15
    )


def test_a_cosine_by_roots_of_sums_of_squares() -> None:
    def add(g: Sketch, x: str, y: str) -> str:
        squares = [total(g, f"s{v}", g.layer(Op.MUL, f"q{v}", v, v)) for v in (x, y)]
        root = g.layer(Op.SQRT, "root", g.layer(Op.MUL, "both", *squares))
        kept = g.layer(Op.MAX, "kept", root, scalar=1e-8)
        return g.layer(Op.DIV, "cosine", total(g, "dot", g.layer(Op.MUL, "product", x, y)), kept)

    prediction, h = towers(add)
    assert prediction.signals[h].std == pytest.approx(1.0 / math.sqrt(UNITS), rel=0.15)


def test_a_division_by_a_positive_value_has_no_tail_at_zero() -> None:
    """A standard deviation, a norm with ε added and a sum of exponentials, each under a stroke."""

    def by_norm(g: Sketch, x: str) -> str:
        more = g.layer(Op.ADD, "more", total(g, "norm", x, Op.REDUCE_L2), scalar=1e-6, scalar_side="right")
        return g.layer(Op.DIV, "quotient", x, more)

    def by_deviation(g: Sketch, x: str) -> str:
        mean = total(g, "mean", g.layer(Op.MUL, "square", x, x), Op.REDUCE_MEAN)
        return g.layer(Op.DIV, "quotient", x, g.layer(Op.SQRT, "root", mean))

    def softmax(g: Sketch, x: str) -> str:
        powers = g.layer(Op.EXP, "powers", x)
        return g.layer(Op.DIV, "quotient", powers, total(g, "sum", powers))

    x, _ = drawn()
    length = np.linalg.norm(x, axis=1, keepdims=True)
    for add, values, rel in (
        (by_norm, x / length, 0.1),
        (by_deviation, x / length * math.sqrt(UNITS), 0.1),
        (softmax, np.exp(x) / np.exp(x).sum(1, keepdims=True), 0.2),  # large terms make their own sum large
    ):
        prediction, h = towers(lambda g, a, _, add=add: add(g, a))
        assert prediction.signals[h].rms == pytest.approx(rms(values), rel=rel)


@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize("distance", [3.5, 5.7, 20.0])
def test_one_over_a_value_several_deviations_from_zero(sign: float, distance: float) -> None:
    """The moments of 1/x where x keeps off zero: within a tenth of those without the outermost samples, whose square has no mean."""
    g = Sketch({"x": ("N", 8)})
    far = g.layer(Op.ADD, "far", "x", scalar=sign * distance, scalar_side="right")
    h = g.layer(Op.RECIPROCAL, "inverse", far)
    prediction = everything_known(predict(g.graph(h)))
    x = np.random.default_rng(6).standard_normal(100_000)
    values = 1.0 / (x[np.abs(x) < 2.5] + sign * distance)
    assert prediction.signals[h].mean[0] == pytest.approx(float(values.mean()), rel=0.1)
    assert prediction.gradients["x"] == pytest.approx(rms(values * values), rel=0.6 if distance < 5.0 else 0.25)


def test_a_division_by_what_may_be_zero_is_not_covered() -> None:
    g = Sketch({"x": ("N", 8), "y": ("N", 8)})
    near = g.layer(Op.ADD, "near", "y", scalar=2.0, scalar_side="right")
    assert predict(g.graph(g.layer(Op.DIV, "quotient", "x", near))).uncovered == {
        "quotient": "a division by what may be zero"
    }
    g = Sketch({"x": ("N", 8), "y": ("N", 8)})
    clipped = g.layer(
        Op.CLIP, "clipped", g.layer(Op.ADD, "near", "y", scalar=1.0, scalar_side="right"), min=1e-8, max=math.inf
    )
    assert predict(g.graph(g.layer(Op.DIV, "quotient", "x", clipped))).uncovered == {
        "quotient": "a division by what may be zero"
    }


# --- several samples -----------------------------------------------------------------------------------------------------


def test_samples_side_by_side_and_apart_again() -> None:
    """Two inputs go through one network as one batch; the halves are then other samples, not the same value twice."""
    g = Sketch({"x": ("N", UNITS), "y": ("N", UNITS)})
    both = g.layer(Op.CONCAT, "both", "x", "y", shape=("2*N", UNITS), dim=0)
    h = g.layer(Op.RELU, "relu", linear(g, "fc", both, FIRST))
    x, y = g.layer_with_outputs(Op.SPLIT, "half", h, shapes=(("N", UNITS), ("N", UNITS)), dim=0)
    h = total(g, "dot", g.layer(Op.MUL, "product", x, y))
    prediction = everything_known(predict(g.graph(h)))
    a, b = (np.maximum(np.random.default_rng(k).standard_normal((SAMPLES, UNITS)) @ FIRST.T, 0.0) for k in (7, 8))
    assert prediction.signals["both"].positions == 1
    assert prediction.signals[x].rms == pytest.approx(rms(a), rel=0.05)
    assert prediction.signals[h].rms == pytest.approx(rms((a * b).sum(1)), rel=0.1)


def test_the_norm_of_each_of_several_samples() -> None:
    g = Sketch(dict.fromkeys("abcdefgh", ("N", UNITS)))
    h = total(g, "norm", g.layer(Op.CONCAT, "all", *"abcdefgh", shape=("8*N", UNITS), dim=0), Op.REDUCE_L2)
    assert everything_known(predict(g.graph(h))).signals[h].rms == pytest.approx(math.sqrt(UNITS), rel=0.02)


def test_the_similarity_of_all_samples() -> None:
    """x yᵀ over samples (Radford et al. 2021): units with a mean count at every pair."""
    shift = np.random.default_rng(9).standard_normal(UNITS)

    def add(g: Sketch, x: str, y: str) -> str:
        moved = [g.layer(Op.ADD, f"shift{v}", v, shift=shift) for v in (x, y)]
        turned = g.layer(Op.TRANSPOSE, "turned", moved[1], shape=(UNITS, "N"), perm=(1, 0))
        return g.layer(Op.MATMUL, "pairs", moved[0], turned, shape=("N", "N"))

    prediction, h = towers(add)
    x, y = drawn(400)
    values = (x + shift) @ (y + shift).T
    assert prediction.signals[h].mean[0] == pytest.approx(float(values.mean()), rel=0.05)
    assert prediction.signals[h].std == pytest.approx(float(values.std()), rel=0.1)


def test_a_sum_over_samples_is_not_covered() -> None:
    g = Sketch({"x": ("N", UNITS), "y": ("N", UNITS)})
    turned = g.layer(Op.TRANSPOSE, "turned", "x", shape=(UNITS, "N"), perm=(1, 0))
    h = g.layer(Op.MATMUL, "moments", turned, "y", shape=(UNITS, UNITS))
    assert predict(g.graph(h)).uncovered == {"moments": "it sums over samples"}
