"""Weights that the graph computes from stored tensors are parameters of their layers, under the name that the module gave them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.load.canonical_models import graph_of, only, ops, parameter, random
from trainaudit.ir.ops import Op

V = random(16, 8)
LENGTH = np.linalg.norm(V, axis=1, keepdims=True)
U, RIGHT = random(16), random(8)
UNIT = (V @ RIGHT) / max(np.linalg.norm(V @ RIGHT), 1e-12)
WEIGHT_NORM = "n = ReduceL2<keepdims = 1>(fc_weight_v, axis) d = Div(fc_weight_v, n) w = Mul(fc_weight_g, d) "
SINGULAR = "m = MatMul(fc_weight_v, v) s = MatMul(u, m) w = Div(fc_weight_v, s) "
POWER_ITERATION = (
    "m = MatMul(fc_weight_v, v) l = ReduceL2<keepdims = 1>(m, first) c = Clip(l, tiny) e = Expand(c, sixteen) a = Div(m, e) "
    "b = MatMul(fc_weight_v, v) s = MatMul(a, b) w = Div(fc_weight_v, s) "
)
STANDARDIZED = "m = ReduceMean<keepdims = 1>(fc_weight_v, axis) w = Sub(fc_weight_v, m) "
EQUALIZED = "w = Mul(fc_weight_v, half) "
CASES: dict[str, tuple[str, Any]] = {
    "weight normalization": (WEIGHT_NORM, 3.0 * V / LENGTH),
    "spectral normalization": (SINGULAR, V / (U @ V @ RIGHT)),
    "spectral normalization with a step of the power iteration": (POWER_ITERATION, V / (UNIT @ V @ RIGHT)),
    "weight standardization": (STANDARDIZED, V - V.mean(axis=1, keepdims=True)),
    "equalized learning rate": (EQUALIZED, 0.5 * V),
}
STORED = {
    "fc_weight_v": V, "fc_weight_g": np.full((16, 1), 3, np.float32), "axis": np.array([1]), "first": np.array([0]), "u": U, "v": RIGHT,
    "tiny": np.float32(1e-12), "sixteen": np.array([16]), "half": np.float32(0.5), "fc_bias": random(16),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_reparametrized_weight_is_the_layers_weight(case: str, tmp_path: Path) -> None:
    body, expected = CASES[case]
    graph = graph_of(tmp_path, body + "y = Gemm<transB = 1>(x, w, fc_bias)", STORED)
    assert ops(graph) == ["linear"]
    layer = only(graph, Op.LINEAR)
    assert layer.parameters == {"weight": "fc_weight_v", "bias": "fc_bias"}
    assert layer.attributes == {"in_features": 8, "out_features": 16, "reparametrized": True}
    weight = parameter(graph, layer, "weight")
    assert (weight.unit_axis, weight.fan_in, weight.trainable) == (0, 8, True)
    np.testing.assert_allclose(weight.data.read(), expected, rtol=1e-4, atol=1e-6)


def test_large_reparametrized_weight_is_computed_when_it_is_read(tmp_path: Path) -> None:
    wide = random(160, 80)
    stored = {"fc_weight_v": wide, "u": random(160), "v": random(80)}
    graph = graph_of(tmp_path, SINGULAR + "y = Gemm<transB = 1>(x, w)", stored, inputs="float[n, 80] x")
    layer = only(graph, Op.LINEAR)
    assert layer.parameters == {"weight": "fc_weight_v"}
    sigma = stored["u"] @ wide @ stored["v"]
    np.testing.assert_allclose(parameter(graph, layer, "weight").data.read(), wide / sigma, rtol=1e-3, atol=1e-5)


def test_a_weight_used_as_it_is_stored_is_not_reparametrized(tmp_path: Path) -> None:
    graph = graph_of(tmp_path, "t = Transpose<perm = [1, 0]>(fc_weight_v) y = MatMul(x, t)", STORED)
    assert only(graph, Op.LINEAR).attributes == {"in_features": 8, "out_features": 16}


def test_a_product_of_two_stored_matrices_is_no_single_weight(tmp_path: Path) -> None:
    """Merged low-rank factors stay two layers' worth of numbers: nothing is multiplied out."""
    stored = {"a": random(8, 2), "b": random(2, 8)}
    graph = graph_of(tmp_path, "w = MatMul(a, b) y = MatMul(x, w)", stored)
    assert {"a", "b"} <= set(graph.parameters)


HIDDEN = 4


def _calls(hidden: int) -> str:
    """torch's exporter reorders an LSTM's gates (i, f, g, o → i, o, f, c) by slices for every call of the module anew."""
    steps = []
    for call in ("p", "q"):
        for tensor, name in (
            ("w", "l_weight_ih_l0"),
            ("r", "l_weight_hh_l0"),
            ("b", "l_bias_ih_l0"),
            ("c", "l_bias_hh_l0"),
        ):
            for piece, (start, end) in enumerate(((0, 1), (3, 4), (1, 3))):
                steps.append(f"{call}{tensor}{piece} = Slice({name}, at{start}, at{end}, zero)")
            steps.append(f"{call}{tensor} = Concat<axis = 0>({call}{tensor}0, {call}{tensor}1, {call}{tensor}2)")
        steps.append(f"{call}bc = Concat<axis = 0>({call}b, {call}c)")
        for tensor in ("w", "r", "bc"):
            steps.append(f"{call}{tensor}u = Unsqueeze({call}{tensor}, zero)")
        steps.append(f"{call}y = LSTM<hidden_size = {hidden}>({call}, {call}wu, {call}ru, {call}bcu)")
    return " ".join(steps) + " y = Add(py, qy)"


@pytest.mark.parametrize("hidden", [HIDDEN, 48])
def test_lstm_called_twice_has_one_set_of_weights(hidden: int, tmp_path: Path) -> None:
    stored = {
        "l_weight_ih_l0": random(4 * hidden, 5), "l_weight_hh_l0": random(4 * hidden, hidden), "l_bias_ih_l0": random(4 * hidden),
        "l_bias_hh_l0": random(4 * hidden), "zero": np.array([0]), **{f"at{k}": np.array([k * hidden]) for k in (0, 1, 3, 4)},
    }  # fmt: skip
    graph = graph_of(tmp_path, _calls(hidden), stored, inputs="float[t, n, 5] p, float[t, n, 5] q")
    first, second = (layer for layer in graph.layers if layer.op is Op.LSTM)
    assert first.parameters == second.parameters
    assert first.parameters["input_weight"] == "l_weight_ih_l0"
    assert first.parameters["recurrent_weight"] == "l_weight_hh_l0"
    assert {parameter(graph, first, word).owners for word in first.parameters} == {(0, 1)}
    reordered = stored["l_weight_ih_l0"].reshape(4, hidden, 5)[[0, 3, 1, 2]].reshape(1, 4 * hidden, 5)
    np.testing.assert_array_equal(parameter(graph, first, "input_weight").data.read(), reordered)
    biases = np.concatenate(
        [stored[f"l_bias_{k}_l0"].reshape(4, hidden)[[0, 3, 1, 2]].reshape(-1) for k in ("ih", "hh")]
    )
    np.testing.assert_array_equal(parameter(graph, first, "bias").data.read().reshape(-1), biases)
