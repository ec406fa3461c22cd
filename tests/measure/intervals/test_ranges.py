"""Ranges against the model run: nothing leaves the bounds, and a batch fills what is called typical."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.load.canonical_models import graph_of
from trainaudit.ir.graph import Graph
from trainaudit.measure.intervals.interval import Interval
from trainaudit.measure.intervals.layers import Stored
from trainaudit.measure.intervals.propagation import value_ranges
from trainaudit.measure.intervals.ranges import NO_ZEROS, SOME_ZEROS, ZERO_VECTORS, Range

onnxruntime = pytest.importorskip("onnxruntime")

DRAWN = np.random.default_rng(0)
WEIGHTS = {
    "w": (DRAWN.normal(size=(8, 32)) / 8**0.5).astype(np.float32),
    "v": (DRAWN.normal(size=(32, 16)) / 32**0.5).astype(np.float32),
    "u": (DRAWN.normal(size=(32, 16)) / 32**0.5).astype(np.float32),
    "b": DRAWN.normal(size=16).astype(np.float32),
    "one": np.float32(1), "two": np.float32(2), "half": np.float32(0.5), "tiny": np.float32(1e-6), "last": np.array([-1]),
}  # fmt: skip
HIDDEN = "h = MatMul(x, w) r = Relu(h) z = MatMul(r, v) "

BODIES = {
    "linear": "y = Identity(z)",
    "bias": "y = Add(z, b)",
    "relu": "y = Relu(z)",
    "square": "y = Mul(z, z)",
    "exponential": "y = Exp(z)",
    "softplus": "s = Softplus(z) y = Add(s, tiny)",
    "mean of squares": "s = Mul(z, z) y = ReduceMean(s, last)",
    "length": "y = ReduceL2(z, last)",
    "sum of rectified": "s = Relu(z) y = ReduceSum(s, last)",
    "difference from the largest": "m = ReduceMax(z, last) y = Sub(z, m)",
    "difference from the mean": "m = ReduceMean(z, last) y = Sub(z, m)",
    "two heads": "q = MatMul(r, u) y = Sub(z, q)",
    "product of heads": "q = MatMul(r, u) y = Mul(z, q)",
    "one minus": "s = Sigmoid(z) y = Sub(one, s)",
    "softmax": "y = Softmax<axis = -1>(z)",
    "reciprocal": "s = Exp(z) t = Add(s, one) y = Div(one, t)",
    "power": "a = Abs(z) s = Add(a, half) y = Pow(s, half)",
    "clip": "y = Clip(z, half, two)",
    "layer norm": "y = LayerNormalization<axis = -1>(z, scale)",
    "share of a sum": "s = Exp(z) m = ReduceSum(s, last) y = Div(s, m)",
}


def whole(graph: Graph, declared: dict[str, Interval] | None = None) -> Range:
    """The range of the graph's only output."""
    arrays = {name: np.asarray(parameter.data.read(), np.float64) for name, parameter in graph.parameters.items()}
    stored = {name: Stored(float(a.mean()), float(a.std()), float(np.abs(a).max())) for name, a in arrays.items()}
    return value_ranges(graph, graph.outputs, stored.get, declared or {})[graph.outputs[0]]


def run(folder: Path, batch: Any) -> Any:
    session = onnxruntime.InferenceSession(str(folder / "model.onnx"), providers=["CPUExecutionProvider"])
    return session.run(None, {"x": batch.astype(np.float32)})[0]


@pytest.mark.parametrize("name", BODIES)
def test_bounds_hold_and_typical_values_occur(name: str, tmp_path: Path) -> None:
    graph = graph_of(tmp_path, HIDDEN + BODIES[name], {**WEIGHTS, "scale": np.ones(16, np.float32)})
    found = whole(graph)
    drawn = np.random.default_rng(0)  # its own, so that the order of the tests does not matter
    usual = run(tmp_path, drawn.normal(size=(4096, 8)))
    extreme = run(tmp_path, 20 * drawn.normal(size=(512, 8)))
    assert np.isfinite(usual).all()
    for values in (
        usual,
        extreme,
    ):  # twenty times the usual input may overflow float32: ∞ / ∞ is no value of the function
        assert found.bounds[0] <= np.nanmin(values) + 1e-5
        assert np.nanmax(values) <= found.bounds[1] + 1e-5
    if found.typical is not None:
        # mean ± 3 σ of values that are not quite normal: of 65,000 some come within a quarter of either end
        slack = 0.25 * (found.typical[1] - found.typical[0])
        assert usual.min() <= found.typical[0] + slack
        assert usual.max() >= found.typical[1] - slack


def test_a_declared_input_bounds_what_follows(tmp_path: Path) -> None:
    graph = graph_of(tmp_path, "y = Exp(x)")
    assert whole(graph).typical is None
    assert whole(graph, {"x": (0.0, 1.0)}).bounds == pytest.approx((1.0, np.e))
    assert whole(graph, {"x": (0.0, 1.0)}).typical == pytest.approx((1.0, np.e))


def test_nothing_is_said_of_an_input_before_weights_read_it(tmp_path: Path) -> None:
    found = whole(graph_of(tmp_path, "s = Mul(x, two) y = Relu(s)", WEIGHTS))
    assert found.typical is None
    assert found.bounds == (0.0, np.inf)


def test_dependent_operands_are_left_open(tmp_path: Path) -> None:
    found = whole(graph_of(tmp_path, HIDDEN + "s = Sigmoid(z) t = Tanh(z) y = Sub(s, t)", WEIGHTS))
    assert found.typical is None
    assert "depend on each other" in found.reason


def test_zeros(tmp_path: Path) -> None:
    assert whole(graph_of(tmp_path, HIDDEN + "y = Relu(z)", WEIGHTS)).zeros == NO_ZEROS
    masked = "q = MatMul(r, u) c = Greater(q, half) f = Cast<to = 1>(c) y = Mul(z, f)"
    assert whole(graph_of(tmp_path, HIDDEN + masked, WEIGHTS)).zeros == SOME_ZEROS
    pairs = "p = Unsqueeze(z, axis1) q = Unsqueeze(z, axis0) y = Sub(p, q)"
    weights = {**WEIGHTS, "axis0": np.array([0]), "axis1": np.array([1])}
    assert whole(graph_of(tmp_path, HIDDEN + pairs, weights)).zeros == ZERO_VECTORS
    assert whole(graph_of(tmp_path, HIDDEN + "s = Relu(z) y = Add(s, tiny)", WEIGHTS)).bounds[0] == np.float32(1e-6)


def test_unknown_operators_end_the_claim(tmp_path: Path) -> None:
    found = whole(graph_of(tmp_path, HIDDEN + "y = somebody.else.Fold(z)", WEIGHTS))
    assert found.typical is None
    assert "Fold" in found.reason


def test_integers_are_not_negative(tmp_path: Path) -> None:
    graph = graph_of(tmp_path, "y = Cast<to = 1>(x)", inputs="int64[n, 8] x")
    assert whole(graph).bounds == (0.0, np.inf)
    assert whole(graph).typical is None


def test_rounding_undoes_a_guard(tmp_path: Path) -> None:
    found = whole(
        graph_of(tmp_path, HIDDEN + "s = Softplus(z) t = Add(s, tiny) i = Cast<to = 7>(t) y = Cast<to = 1>(i)", WEIGHTS)
    )
    assert found.bounds == (0.0, np.inf)
    assert found.typical is None


def test_only_what_leads_to_the_wanted_value_is_looked_at(tmp_path: Path) -> None:
    graph = graph_of(
        tmp_path,
        HIDDEN + "n = LayerNormalization<axis = -1>(z, scale) y = Exp(n)",
        {**WEIGHTS, "scale": np.ones(16, np.float32)},
    )
    found = value_ranges(graph, graph.outputs, {"scale": Stored(1.0, 0.0, 1.0)}.get, {})
    assert {layer.op.value for layer in graph.layers if layer.outputs[0] in found} == {"layer_norm", "exp"}
