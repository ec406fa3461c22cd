"""Roundabout spellings of torch's exporters, rewritten as the plain layers that they are, and look-alikes that stay as they are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.load.canonical_models import graph_of, only, ops, random, text_model
from trainaudit.ir.graph import Graph
from trainaudit.ir.ops import Op

# --- x[:, i] as GatherND -------------------------------------------------------------------------------------------------

COORDINATES = "m = Max(i) s = Shape(m) e = Expand(i, s) u = Unsqueeze(e, last) c = Concat<axis = -1>(u) "
LAST = {"last": np.array([-1])}


def computed(body: str, weights: dict[str, Any], inputs: str, x: Any) -> Any:
    """What onnxruntime makes of a model in text form."""
    runtime = pytest.importorskip("onnxruntime")
    model = text_model(body, inputs, "float y", weights)
    return runtime.InferenceSession(model.SerializeToString()).run(None, {"x": x})[0]


@pytest.mark.parametrize(("axis", "front", "back"), [(0, "", ""), (1, "1, 0, 2", "1, 0, 2"), (2, "2, 0, 1", "1, 2, 0")])
def test_indices_of_one_axis(axis: int, front: str, back: str, tmp_path: Path) -> None:
    """The layer's `dim` and its indices give what the file computes."""
    turned = f"t = Transpose<perm = [{front}]>(x) " if front else "t = Identity(x) "
    restored = f"g = GatherND(t, c) y = Transpose<perm = [{back}]>(g)" if back else "y = GatherND(t, c)"
    body, weights, x = turned + COORDINATES + restored, {"i": np.array([2, -1, 0, 2]), **LAST}, random(3, 4, 5)

    graph = graph_of(tmp_path, body, weights, inputs="float[n, 4, 5] x")

    assert ops(graph) == ["gather"]
    layer = graph.layers[0]
    assert layer.attributes == {"dim": axis}
    chosen = graph.parameters[layer.parameters["constant"]].data.read()
    np.testing.assert_array_equal(np.take(x, chosen, axis), computed(body, weights, "float[3, 4, 5] x", x))


def test_rows_of_a_table(tmp_path: Path) -> None:
    """Swin's table of relative positions is read so: it is an embedding."""
    body = COORDINATES + "y = GatherND(w, c)"
    graph = graph_of(tmp_path, body, {"w": random(9, 4), **LAST}, inputs="int64[n, 3] i")
    assert only(graph, Op.EMBEDDING).inputs == ("i",)
    assert ops(graph) == ["embedding"]


@pytest.mark.parametrize(
    "body",
    [
        "a = Unsqueeze(i, last) c = Concat<axis = -1>(a, a) y = GatherND(x, c)",
        "a = Unsqueeze(i, last) c = Concat<axis = -1>(a) y = GatherND<batch_dims = 1>(x, c)",
        "t = Transpose<perm = [1, 0, 2]>(x) a = Unsqueeze(i, last) c = Concat<axis = -1>(a) g = GatherND(t, c) y = Transpose<perm = [0, 2, 1]>(g)",
    ],
)
def test_other_indices_stay(body: str, tmp_path: Path) -> None:
    weights = {"i": np.array([0, 1, 0, 1]), **LAST}
    layers = [
        layer
        for layer in graph_of(tmp_path, body, weights, inputs="float[4, 4, 5] x").layers
        if layer.op in (Op.GATHER, Op.TRANSPOSE)
    ]
    assert {layer.raw_op for layer in layers} >= ({"GatherND"} if len(layers) == 1 else {"Transpose", "Gather"})
    assert [layer.op for layer in layers].count(Op.TRANSPOSE) == (2 if len(layers) > 1 else 0)


# --- splits as sequences -------------------------------------------------------------------------------------------------


def test_pieces_of_a_stored_table_are_parts_of_it(tmp_path: Path) -> None:
    """RoFormer's sines and cosines are taken apart so."""
    body = "s = SplitToSequence<axis = 1>(w, four) a = SequenceAt(s, one) y = Mul(x, a)"
    weights = {"w": random(8, 8), "four": np.array(4), "one": np.array(1)}
    graph = graph_of(tmp_path, body, weights, inputs="float[8, 4] x")
    assert ops(graph) == ["mul"]
    assert list(graph.layers[0].parameters.values()) == ["w"]


@pytest.mark.parametrize("outputs", ["float[] y, seq(float) s", "float[] y"])
def test_a_sequence_that_is_read_whole_stays(outputs: str, tmp_path: Path) -> None:
    tail = "" if "seq" in outputs else " z = SequenceLength(s)"
    body = "s = SplitToSequence<axis = 1>(x, four) y = SequenceAt(s, one)" + tail
    graph = graph_of(tmp_path, body, {"four": np.array(4), "one": np.array(1)}, outputs=outputs)
    assert "split" not in ops(graph)


# --- views by strides ----------------------------------------------------------------------------------------------------


def strided(strides: tuple[int, int], tmp_path: Path) -> Graph:
    rows = "r = Range(zero, three, one) a = Mul(r, by_row) p = Unsqueeze(a, axis_one) "
    columns = "q = Range(zero, eight, one) b = Mul(q, by_column) o = Unsqueeze(b, axis_zero) "
    body = "f = Reshape(x, minus) " + rows + columns + "c = Add(p, o) g = Gather(f, c) y = Relu(g)"
    weights = {
        "zero": np.array(0), "one": np.array(1), "three": np.array(3), "eight": np.array(8), "minus": np.array([-1]),
        "by_row": np.array(strides[0]), "by_column": np.array(strides[1]), "axis_zero": np.array([0]), "axis_one": np.array([1]),
    }  # fmt: skip
    return graph_of(tmp_path, body, weights, inputs="float[3, 8] x")


def test_all_elements_in_their_order_are_the_tensor_itself(tmp_path: Path) -> None:
    graph = strided((8, 1), tmp_path)
    assert ops(graph) == ["relu"]
    assert graph.layers[0].inputs == ("x",)


@pytest.mark.parametrize("strides", [(1, 3), (0, 1), (8, 0)])
def test_elements_in_another_order_are_gathered(strides: tuple[int, int], tmp_path: Path) -> None:
    assert "gather" in ops(strided(strides, tmp_path))


# --- sizes, masks, biases ------------------------------------------------------------------------------------------------

SCORES = "kt = Transpose<perm = [0, 1, 3, 2]>(k) p = MatMul(q, kt) d = Div(p, root) "
QKV = "float[n, 4, 6, 16] q, float[n, 4, 6, 16] k, float[n, 4, 6, 16] v"


def test_attention_whose_scores_are_reshaped_by_their_own_sizes(tmp_path: Path) -> None:
    """DeBERTa through the older exporter: heads and batch are one axis in the products and two in the softmax."""
    inputs = "float[m, 6, 16] q, float[m, 16, 6] kt, float[m, 6, 16] v"
    body = (
        "p = MatMul(q, kt) a = Shape(p) b = Slice(a, one, big) c = Concat<axis = 0>(minus, four, b) d = Reshape(p, c) "
        "w = Softmax<axis = -1>(d) e = Shape(w) f = Slice(e, two, big) g = Concat<axis = 0>(minus, f) h = Reshape(w, g) y = MatMul(h, v)"
    )
    weights = {
        "one": np.array([1]),
        "two": np.array([2]),
        "big": np.array([1 << 40]),
        "minus": np.array([-1]),
        "four": np.array([4]),
    }
    graph = graph_of(tmp_path, body, weights, inputs=inputs)
    assert ops(graph) == ["attention"]
    assert graph.layers[0].inputs == ("q", "kt", "v")


@pytest.mark.parametrize(("hidden", "attributes"), [(0, set()), (1, {"mask_value"})])
def test_a_mask_that_hides_nothing(hidden: int, attributes: set[str], tmp_path: Path) -> None:
    """transformers adds one while torch.export runs."""
    allowed = np.ones((1, 1, 6, 1), bool)
    allowed[0, 0, :hidden] = False
    body = (
        "s = Shape<end = 1>(q) o = Concat<axis = 0>(s, sizes) a = Expand(allowed, o) m = Where(a, zero, lowest) "
        + SCORES
        + "t = Add(d, m) w = Softmax<axis = -1>(t) y = MatMul(w, v)"
    )
    weights = {
        "root": np.float32(4), "zero": np.float32(0), "lowest": np.float32(-1e30), "allowed": allowed, "sizes": np.array([1, 6, 6]),
    }  # fmt: skip
    layer = only(graph_of(tmp_path, body, weights, inputs=QKV), Op.ATTENTION)
    assert set(layer.attributes) == {"scale", "head_dim"} | attributes


def test_a_mask_that_hides_nothing_beside_a_bias(tmp_path: Path) -> None:
    """BEiT adds it to its relative positions first."""
    body = (
        "m = Where(allowed, zero, lowest) b = Add(bias, m) "
        + SCORES
        + "t = Add(d, b) w = Softmax<axis = -1>(t) y = MatMul(w, v)"
    )
    weights = {
        "root": np.float32(4),
        "zero": np.float32(0),
        "lowest": np.float32(-1e30),
        "allowed": np.ones((1, 1, 6, 1), bool),
    }
    graph = graph_of(tmp_path, body, weights, inputs=QKV + ", float[1, 4, 6, 6] bias")
    layer = only(graph, Op.ATTENTION)
    assert layer.inputs[3:] == ("bias",)
    assert "mask_value" not in layer.attributes


def test_a_bias_added_behind_a_convolution_without_one(tmp_path: Path) -> None:
    body = "s = Shape<end = 1>(w) c = CastLike(z, x) e = Expand(c, s) h = Conv(x, w, e) y = Add(h, b)"
    weights = {"w": random(6, 4, 3), "b": random(6, 1), "z": np.float32(0)}
    graph = graph_of(tmp_path, body, weights, inputs="float[n, 4, 9] x")
    assert ops(graph) == ["conv"]
    assert graph.layers[0].parameters == {"weight": "w", "bias": "b"}


@pytest.mark.parametrize(("perm", "op"), [("0, 1, 2, 4, 3, 5", "unfold"), ("0, 1, 2, 3, 4, 5", "pad")])
def test_patches_of_an_image_side_by_side(perm: str, op: str, tmp_path: Path) -> None:
    body = (
        f"p = Pad(x, pads) r = Gather<axis = 2>(p, rows) c = Gather<axis = 4>(r, columns) t = Transpose<perm = [{perm}]>(c) "
        "y = Reshape(t, sizes)"
    )
    weights = {
        "pads": np.array([0, 0, 1, 0, 0, 0, 1, 0]), "rows": np.arange(6) + np.arange(3)[:, None], "columns": np.arange(8)[None],
        "sizes": np.array([0, 12, -1]),
    }  # fmt: skip
    assert ops(graph_of(tmp_path, body, weights, inputs="float[n, 4, 6, 8] x"))[0] == op
