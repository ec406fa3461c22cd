"""A linear layer is one layer with one weight, however it is spelled."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.load.canonical_models import graph_of, only, ops, parameter, random
from trainaudit.ir.graph import Role
from trainaudit.ir.ops import Op

IN_OUT, OUT_IN, BIAS = random(8, 4), random(4, 8), random(4)

SPELLINGS = {
    "Gemm (out, in)": ("y = Gemm<transB = 1>(x, w, b)", {"w": OUT_IN, "b": BIAS}, 0, True),
    "Gemm (in, out)": ("y = Gemm(x, w, b)", {"w": IN_OUT, "b": BIAS}, 1, True),
    "Gemm without C": ("y = Gemm(x, w)", {"w": IN_OUT}, 1, False),
    "Gemm and Add": ("h = Gemm(x, w) y = Add(h, b)", {"w": IN_OUT, "b": BIAS}, 1, True),
    "MatMul": ("y = MatMul(x, w)", {"w": IN_OUT}, 1, False),
    "MatMul and Add": ("h = MatMul(x, w) y = Add(h, b)", {"w": IN_OUT, "b": BIAS}, 1, True),
    "bias on the left": ("h = MatMul(x, w) y = Add(b, h)", {"w": IN_OUT, "b": BIAS}, 1, True),
    "bias with a leading one": ("h = MatMul(x, w) y = Add(h, b)", {"w": IN_OUT, "b": BIAS[None]}, 1, True),
    "weight behind Transpose": ("t = Transpose<perm = [1, 0]>(w) y = MatMul(x, t)", {"w": OUT_IN}, 0, False),
    "weight behind Transpose without perm": ("t = Transpose(w) y = MatMul(x, t)", {"w": OUT_IN}, 0, False),
    "weight behind Identity": ("t = Identity(w) y = MatMul(x, t)", {"w": IN_OUT}, 1, False),
    "weight behind Cast": ("t = Cast<to = 1>(w) y = MatMul(x, t)", {"w": IN_OUT.astype(np.float16)}, 1, False),
    "weight behind Reshape": (
        "t = Reshape(w, s) y = MatMul(x, t)",
        {"w": IN_OUT[None], "s": np.array([8, 4])},
        2,
        False,
    ),
    "weight behind two nodes": (
        "i = Identity(w) t = Transpose(i) y = Gemm(x, t, b)",
        {"w": OUT_IN, "b": BIAS},
        0,
        True,
    ),
    "weight behind DequantizeLinear": (
        "t = DequantizeLinear(w, s, z) y = MatMul(x, t)",
        {"w": (IN_OUT * 9).astype(np.int8), "s": np.float32(0.1), "z": np.int8(0)},
        1,
        False,
    ),
    "FusedMatMul": ("y = com.microsoft.FusedMatMul<transB = 1>(x, w)", {"w": OUT_IN}, 0, False),
    "Einsum (in, out)": ('y = Einsum<equation = "ni,io->no">(x, w)', {"w": IN_OUT}, 1, False),
    "Einsum (out, in)": (
        'h = Einsum<equation = "ni, oi -> no">(x, w) y = Add(h, b)',
        {"w": OUT_IN, "b": BIAS},
        0,
        True,
    ),
    "tf2onnx": (
        "f = Reshape(x, s) h = MatMul(f, w) r = Reshape(h, t) y = Add(r, b)",
        {"w": IN_OUT, "b": BIAS, "s": np.array([-1, 8]), "t": np.array([-1, 2, 4])},
        1,
        True,
    ),
    "Constant nodes": (
        "w = Constant<value = float[8, 1] {1, 2, 3, 4, 5, 6, 7, 8}>() h = MatMul(x, w) y = Add(h, b)",
        {"b": random(1)},
        1,
        True,
    ),
}


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_spellings_of_a_linear_layer(spelling: str, tmp_path: Path) -> None:
    body, weights, unit_axis, has_bias = SPELLINGS[spelling]
    graph = graph_of(tmp_path, body, weights)
    layer = only(graph, Op.LINEAR)
    units = 1 if spelling == "Constant nodes" else 4
    weight = parameter(graph, layer, "weight")
    assert (layer.attributes["in_features"], layer.attributes["out_features"]) == (8, units)
    assert (weight.name, weight.role, weight.trainable) == ("w", Role.WEIGHT, True)
    assert (weight.unit_axis, weight.fan_in, weight.fan_out) == (unit_axis, 8, units)
    assert weight.shape[unit_axis] == units
    assert ("bias" in layer.parameters) is has_bias
    assert weight.quantized is ("Dequantize" in spelling)
    assert set(ops(graph)) <= {"linear", "reshape"}
    assert graph.unrecognized == ()


def test_weight_on_the_left(tmp_path: Path) -> None:
    graph = graph_of(
        tmp_path, "h = MatMul(w, x) y = Add(h, b)", {"w": OUT_IN, "b": random(4, 1)}, inputs="float[8, n] x"
    )
    layer = only(graph, Op.LINEAR)
    weight = parameter(graph, layer, "weight")
    assert (weight.unit_axis, weight.fan_in, weight.fan_out) == (0, 8, 4)
    assert parameter(graph, layer, "bias").unit_axis == 0


def test_product_of_activations_is_no_linear_layer(tmp_path: Path) -> None:
    graph = graph_of(tmp_path, "t = Transpose(x) y = MatMul(x, t)")
    assert ops(graph) == ["transpose", "matmul"]


def test_residual_add_is_no_bias(tmp_path: Path) -> None:
    graph = graph_of(tmp_path, "h = MatMul(x, w) y = Add(h, x)", {"w": random(8, 8)})
    assert ops(graph) == ["linear", "add"]


def test_bias_is_not_taken_from_a_branch(tmp_path: Path) -> None:
    graph = graph_of(
        tmp_path, "h = MatMul(x, w) y = Add(h, b) z = Relu(h)", {"w": IN_OUT, "b": BIAS}, outputs="float[] y, float[] z"
    )
    assert sorted(ops(graph)) == ["add", "linear", "relu"]


def test_bias_must_count_the_units(tmp_path: Path) -> None:
    graph = graph_of(
        tmp_path, "h = MatMul(x, w) y = Add(h, b)", {"w": IN_OUT, "b": random(3, 4)}, inputs="float[3, 8] x"
    )
    assert ops(graph) == ["linear", "add"]
    assert parameter(graph, graph.layers[1], "position").shape == (3, 4)


def test_tied_embedding_and_head_are_one_parameter(tmp_path: Path) -> None:
    graph = graph_of(
        tmp_path,
        "h = Gather(table, ids) t = Transpose<perm = [1, 0]>(table) y = MatMul(h, t)",
        {"table": random(10, 8)},
        inputs="int64[n] ids",
    )
    assert ops(graph) == ["embedding", "linear"]
    table = graph.parameters["table"]
    assert table.owners == (0, 1)
    assert table.role is Role.EMBEDDING
    assert graph.layers[0].attributes == {"vocabulary_size": 10, "width": 8}
    assert graph.layers[0].parameters["embedding"] == graph.layers[1].parameters["weight"] == "table"


def test_table_looked_up_by_counted_positions(tmp_path: Path) -> None:
    body = (
        "shape = Shape(ids) n = Gather(shape, zero) range = Range(zero, n, one) p = Gather(positions, range) "
        "t = Gather(tokens, ids) y = Add(t, p)"
    )
    weights = {"positions": random(16, 8), "tokens": random(10, 8), "zero": np.int64(0), "one": np.int64(1)}
    graph = graph_of(tmp_path, body, weights, inputs="int64[n] ids")
    assert graph.parameters["positions"].role is Role.POSITION
    assert graph.parameters["tokens"].role is Role.EMBEDDING


def test_part_of_a_packed_weight_is_a_parameter_of_its_own(tmp_path: Path) -> None:
    packed = random(12, 8)
    body = "q, k, v = Split<axis = 0>(packed, sizes) t = Transpose(k) y = MatMul(x, t)"
    graph = graph_of(tmp_path, body, {"packed": packed, "sizes": np.array([4, 4, 4])})
    weight = parameter(graph, only(graph, Op.LINEAR), "weight")
    assert weight.name == "packed[4:8]"
    assert (weight.shape, weight.fan_in, weight.fan_out, weight.unit_axis) == ((4, 8), 8, 4, 0)
    np.testing.assert_array_equal(weight.data.read(), packed[4:8])
    np.testing.assert_array_equal(np.concatenate(list(weight.data.blocks(5))), packed[4:8].reshape(-1))


def test_weights_that_the_graph_makes(tmp_path: Path) -> None:
    body = (
        "w = ConstantOfShape<value = float[1] {0.02}>(shape) h = MatMul(x, w) "
        "r = RandomNormal<shape = [4, 4], scale = 0.5>() y = MatMul(h, r)"
    )
    graph = graph_of(tmp_path, body, {"shape": np.array([8, 4])})
    assert ops(graph) == ["linear", "linear"]
    filled, drawn = (parameter(graph, layer, "weight") for layer in graph.layers)
    assert (filled.generated, drawn.generated) == ("ConstantOfShape", "RandomNormal")
    assert filled.trainable
    assert filled.data.nbytes == 0
    assert {float(value) for block in filled.data.blocks(7) for value in block} == {np.float32(0.02)}
    assert 0.2 < float(np.std(drawn.data.read())) < 0.8


def test_a_fill_of_terabytes_is_not_allocated(tmp_path: Path) -> None:
    body = "w = ConstantOfShape(shape) y = MatMul(x, w)"
    graph = graph_of(tmp_path, body, {"shape": np.array([8, 1 << 40])})
    weight = parameter(graph, only(graph, Op.LINEAR), "weight")
    assert weight.size == 8 << 40
    assert next(weight.data.blocks(1000)).shape == (1000,)


def test_fused_layer_of_onnxruntime_is_two_layers(tmp_path: Path) -> None:
    body = 'y = com.microsoft.FusedGemm<transB = 1, activation = "Relu">(x, w, b)'
    graph = graph_of(tmp_path, body, {"w": OUT_IN, "b": BIAS})
    assert ops(graph) == ["linear", "relu"]
    assert sum(layer.nodes for layer in graph.layers) == 1
    assert set(graph.layers[0].parameters) == {"weight", "bias"}


def test_quantized_products(tmp_path: Path) -> None:
    body = "y = QLinearMatMul(x, s, z, w, s, z, s, z)"
    weights = {"w": (IN_OUT * 9).astype(np.int8), "s": np.float32(0.1), "z": np.int8(0)}
    graph = graph_of(tmp_path, body, weights, inputs="int8[n, 8] x", outputs="int8[n, 4] y")
    weight = parameter(graph, only(graph, Op.LINEAR), "weight")
    assert (weight.quantized, weight.trainable, weight.fan_in) == (True, True, 8)
    assert list(graph.parameters) == ["w"]


def test_quantize_pairs_on_activations_are_no_layers(tmp_path: Path) -> None:
    body = "q = QuantizeLinear(x, s, z) d = DequantizeLinear(q, s, z) h = MatMul(d, w) y = Relu(h)"
    graph = graph_of(tmp_path, body, {"w": IN_OUT, "s": np.float32(0.1), "z": np.int8(0)})
    assert ops(graph) == ["linear", "relu"]
    assert graph.layers[0].inputs == ("x",)
    assert list(graph.parameters) == ["w"]


def test_unused_tensor_with_a_parameters_name_is_kept_without_owner(tmp_path: Path) -> None:
    graph = graph_of(tmp_path, "y = Relu(x)", {"head.weight": random(3, 3), "onnx::MatMul_7": random(3, 3)})
    assert [(name, item.owners) for name, item in graph.parameters.items()] == [("head.weight", ())]
