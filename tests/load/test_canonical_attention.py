"""Attention is one layer: scale, head size, masks and the values that others read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.load.canonical_models import graph_of, only, ops
from trainaudit.ir.ops import Op

HEAD = 16
INPUTS = f"float[n, 4, t, {HEAD}] q, float[n, 4, t, {HEAD}] k, float[n, 4, t, {HEAD}] v"
LOWEST = float(np.finfo(np.float32).min)
CAUSAL = np.triu(np.full((6, 6), LOWEST, np.float32), 1)
SIX = f"float[n, 4, 6, {HEAD}] q, float[n, 4, 6, {HEAD}] k, float[n, 4, 6, {HEAD}] v"

NUMBERS = {
    "root": np.float32(HEAD**0.5), "inverse": np.float32(HEAD**-0.5), "fourth": np.float32(HEAD**-0.25), "half": np.float32(0.5),
    "one": np.float32(1), "lowest": np.float32(LOWEST), "zero": np.float32(0), "mask": CAUSAL, "cap": np.float32(50),
    "minus": np.float32(-10000), "ratio": np.float32(0.1), "on": np.bool_(True), "last": np.array([-1]), "big": np.array([2**62]),
    "not_future": np.tril(np.ones((6, 6), bool)), "bias": np.random.default_rng(0).normal(size=(1, 4, 6, 6)).astype(np.float32),
}  # fmt: skip

KEY = "kt = Transpose<perm = [0, 1, 3, 2]>(k) "
SOFTMAX = "w = Softmax<axis = -1>(s) y = MatMul(w, v)"

SPELLINGS: dict[str, tuple[str, dict[str, object]]] = {
    "scores divided": (KEY + "p = MatMul(q, kt) s = Div(p, root) " + SOFTMAX, {}),
    "scores multiplied": (KEY + "p = MatMul(q, kt) s = Mul(inverse, p) " + SOFTMAX, {}),
    "queries multiplied": (KEY + "r = Mul(q, inverse) s = MatMul(r, kt) " + SOFTMAX, {}),
    "queries multiplied before their reshape": (
        "r = Mul(q, inverse) z = Transpose<perm = [0, 1, 2, 3]>(r) " + KEY + "s = MatMul(z, kt) " + SOFTMAX, {},
    ),
    "both multiplied by the fourth root": (KEY + "a = Mul(q, fourth) b = Mul(kt, fourth) s = MatMul(a, b) " + SOFTMAX, {}),
    "root computed from a constant": (
        "h = Constant<value_float = 16.0>() f = Sqrt(h) " + KEY + "p = MatMul(q, kt) s = Div(p, f) " + SOFTMAX, {},
    ),
    "root computed from the shape": (
        "h = Shape(q) l = Slice(h, last, big) c = Cast<to = 1>(l) f = Sqrt(c) i = Div(one, f) e = Sqrt(i) "
        + KEY + "a = Mul(q, e) b = Mul(kt, e) s = MatMul(a, b) " + SOFTMAX, {},
    ),
    "causal mask added": (KEY + "p = MatMul(q, kt) d = Div(p, root) s = Add(d, mask) " + SOFTMAX, {"mask_value": LOWEST, "is_causal": True}),
    "causal mask filled in": (
        KEY + "p = MatMul(q, kt) d = Div(p, root) s = Where(not_future, d, lowest) " + SOFTMAX, {"mask_value": LOWEST, "is_causal": True},
    ),
    "padding mask": (
        KEY + "p = MatMul(q, kt) d = Div(p, root) o = Sub(one, pad) f = Mul(o, minus) s = Add(d, f) " + SOFTMAX, {"mask_value": -10000.0},
    ),
    "learnt bias": (KEY + "p = MatMul(q, kt) d = Div(p, root) s = Add(d, bias) " + SOFTMAX, {}),
    "dropout": (KEY + "p = MatMul(q, kt) s = Div(p, root) w = Softmax<axis = -1>(s) o = Dropout(w, ratio, on) y = MatMul(o, v)", {"dropout": 0.1}),
    "guard against empty rows": (
        KEY + "p = MatMul(q, kt) s = Div(p, root) w = Softmax<axis = -1>(s) e = IsNaN(w) o = Where(e, zero, w) y = MatMul(o, v)", {},
    ),
    "softmax in pieces": (
        KEY + "p = MatMul(q, kt) s = Div(p, root) m = ReduceMax(s, last) d = Sub(s, m) e = Exp(d) t = ReduceSum(e, last) w = Div(e, t) y = MatMul(w, v)", {},
    ),
    "einsum": ('p = Einsum<equation = "bhqd,bhkd->bhqk">(q, k) s = Mul(p, inverse) w = Softmax<axis = -1>(s) y = Einsum<equation = "bhqk,bhkd->bhqd">(w, v)', {}),
    "capped scores": (KEY + "p = MatMul(q, kt) d = Div(p, root) c = Div(d, cap) h = Tanh(c) s = Mul(h, cap) " + SOFTMAX, {"softcap": 50.0}),
    "half-precision scores in float32": (KEY + "p = MatMul(q, kt) d = Div(p, root) s = Cast<to = 11>(d) w = Softmax<axis = -1>(s) c = Cast<to = 1>(w) y = MatMul(c, v)", {}),
    "operator": ("y = Attention<q_num_heads = 4, kv_num_heads = 4>(q, k, v)", {}),
}  # fmt: skip


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_spellings_of_attention(spelling: str, tmp_path: Path) -> None:
    body, attributes = SPELLINGS[spelling]
    inputs = SIX + (", float[n, 1, 1, 6] pad" if "pad" in spelling else "")
    opset = 23 if spelling == "operator" else 18
    graph = graph_of(tmp_path, body, NUMBERS, inputs=inputs, opset=opset)
    layer = only(graph, Op.ATTENTION)
    assert set(ops(graph)) <= {"attention", "transpose", "sub", "mul"}
    found = dict(layer.attributes)
    assert found.pop("scale") == pytest.approx(HEAD**-0.5, rel=1e-5)
    assert found.pop("head_dim") == HEAD
    assert found == {key: pytest.approx(value) for key, value in attributes.items()}
    assert layer.outputs == ("y",)
    assert layer.inputs[2] == "v"
    assert layer.inputs[0] in ("q", "z")
    assert set(layer.parameters.values()) == {"mask added": {"mask"}, "learnt bias": {"bias"}}.get(
        "mask added" if "mask added" in spelling else spelling, {"not_future"} if "filled in" in spelling else set()
    )


def test_no_factor_at_all(tmp_path: Path) -> None:
    graph = graph_of(tmp_path, KEY + "s = MatMul(q, kt) " + SOFTMAX, inputs=INPUTS)
    assert only(graph, Op.ATTENTION).attributes == {"scale": 1.0, "head_dim": HEAD}


def test_learnt_bias_is_a_parameter_and_a_mask_is_none(tmp_path: Path) -> None:
    body = KEY + "p = MatMul(q, kt) d = Add(p, bias) s = Add(d, mask) " + SOFTMAX
    graph = graph_of(tmp_path, body, NUMBERS, inputs=SIX)
    layer = only(graph, Op.ATTENTION)
    assert (layer.parameters["position"], layer.parameters["constant"]) == ("bias", "mask")
    assert graph.parameters["bias"].trainable
    assert not graph.parameters["mask"].trainable


def test_a_mask_from_an_input_is_an_input(tmp_path: Path) -> None:
    body = KEY + "p = MatMul(q, kt) d = Div(p, root) s = Add(d, m) " + SOFTMAX
    graph = graph_of(tmp_path, body, NUMBERS, inputs=SIX + ", float[n, 1, 6, 6] m")
    assert only(graph, Op.ATTENTION).inputs == ("q", "kt", "v", "m")


def test_returned_weights_are_an_output_of_the_layer(tmp_path: Path) -> None:
    body = (
        KEY
        + "p = MatMul(q, kt) s = Div(p, root) w = Softmax<axis = -1>(s) y = MatMul(w, v) a = ReduceMean<keepdims = 0>(w, heads)"
    )
    weights = {**NUMBERS, "heads": np.array([1])}
    graph = graph_of(tmp_path, body, weights, inputs=INPUTS, outputs="float[] y, float[] a")
    assert only(graph, Op.ATTENTION).outputs == ("y", "w")
    assert ops(graph) == ["transpose", "attention", "reduce_mean"]


def test_weights_read_before_the_values_are_made(tmp_path: Path) -> None:
    body = KEY + "p = MatMul(q, kt) s = Div(p, root) w = Softmax<axis = -1>(s) a = Relu(w) z = Relu(v) y = MatMul(w, z)"
    graph = graph_of(tmp_path, body, NUMBERS, inputs=INPUTS, outputs="float[] y, float[] a")
    assert set(graph.outputs) <= set(graph.values)
    assert sorted(ops(graph)) in (
        ["attention", "relu", "relu", "transpose"],
        ["div", "matmul", "matmul", "relu", "relu", "softmax", "transpose"],
    )


def test_returned_scores_are_not_lost(tmp_path: Path) -> None:
    body = KEY + "p = MatMul(q, kt) s = Div(p, root) " + SOFTMAX
    graph = graph_of(tmp_path, body, NUMBERS, inputs=INPUTS, outputs="float[] y, float[] s")
    assert graph.values["s"].producer is not None


def test_softmax_over_another_axis_is_no_attention(tmp_path: Path) -> None:
    body = KEY + "s = MatMul(q, kt) w = Softmax<axis = 1>(s) y = MatMul(w, v)"
    assert ops(graph_of(tmp_path, body, inputs=INPUTS)) == ["transpose", "matmul", "softmax", "matmul"]


def test_softmax_over_classes_is_no_attention(tmp_path: Path) -> None:
    weights = {"w": np.ones((8, 4), np.float32), "u": np.ones((4, 3), np.float32)}
    graph = graph_of(tmp_path, "h = MatMul(x, w) p = Softmax<axis = -1>(h) y = MatMul(p, u)", weights)
    assert ops(graph) == ["linear", "softmax", "linear"]


def test_packed_attention_of_onnxruntime(tmp_path: Path) -> None:
    body = "y = com.microsoft.Attention<num_heads = 2, unidirectional = 1>(x, w, b)"
    weights = {"w": np.ones((8, 24), np.float32), "b": np.zeros(24, np.float32)}
    graph = graph_of(tmp_path, body, weights, inputs="float[n, 5, 8] x")
    assert ops(graph) == ["linear", "attention"]
    assert graph.layers[0].attributes == {"in_features": 8, "out_features": 24}
    assert graph.layers[1].attributes == {"head_dim": 4, "scale": 0.5, "is_causal": True}
    assert graph.layers[1].inputs == graph.layers[0].outputs


def test_many_layers_share_one_mask(tmp_path: Path) -> None:
    steps = ["o = Sub(one, pad) f = Mul(o, minus)"]
    name = "q"
    for step in range(30):
        steps.append(
            f"k{step} = Transpose<perm = [0, 1, 3, 2]>({name}) p{step} = MatMul({name}, k{step}) d{step} = Div(p{step}, root) "
            f"s{step} = Add(d{step}, f) w{step} = Softmax<axis = -1>(s{step}) a{step} = MatMul(w{step}, {name})"
        )
        name = f"a{step}"
    body = " ".join(steps) + f" y = Relu({name})"
    graph = graph_of(tmp_path, body, NUMBERS, inputs=f"float[n, 4, t, {HEAD}] q, float[n, 1, 1, t] pad")
    layers = [layer for layer in graph.layers if layer.op is Op.ATTENTION]
    assert len(layers) == 30
    assert all(layer.attributes["mask_value"] == -10000 and layer.inputs[3] == "f" for layer in layers)


BIAS = {**NUMBERS, "b": np.random.default_rng(1).normal(size=(4, 1, HEAD)).astype(np.float32)}
SCALED_BEFORE_BIAS = {
    "bias scaled by the graph": "c = Mul(b, inverse) r = Mul(q, inverse) u = Add(r, c)",
    "bias scaled when it was stored": "r = Div(q, root) u = Add(b, r)",
}


@pytest.mark.parametrize("spelling", SCALED_BEFORE_BIAS)
@pytest.mark.parametrize("others", [False, True])
def test_factor_before_a_learnt_bias_of_the_queries(spelling: str, others: bool, tmp_path: Path) -> None:
    """Funnel scales queries, and adds a bias to them for the contents and another for the positions."""
    body = (
        SCALED_BEFORE_BIAS[spelling] + " " + KEY + "s = MatMul(u, kt) " + SOFTMAX + (" z = Relu(r)" if others else "")
    )
    graph = graph_of(tmp_path, body, BIAS, inputs=INPUTS, outputs="float[] y" + (", float[] z" if others else ""))
    layer = only(graph, Op.ATTENTION)
    assert layer.attributes["scale"] == pytest.approx(HEAD**-0.5)
    add = only(graph, Op.ADD)
    assert (layer.inputs[0], add.inputs) == ("u", ("q",))
    (name,) = add.parameters.values()
    stored = BIAS["b"] * (1 if "graph" in spelling else HEAD**0.5)
    np.testing.assert_allclose(graph.parameters[name].data.read(), stored, rtol=1e-6)
    assert ("b" in graph.parameters) == ("graph" in spelling)
    scaling = {"mul", "div", "relu"} & set(ops(graph))
    assert scaling == ({"relu", "mul" if "graph" in spelling else "div"} if others else set())
