"""Normalizations are found in all their spellings, with their axes, ε, scale and shift."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.load.canonical_models import graph_of, only, ops, parameter, random
from trainaudit.ir.ops import Op

NUMBERS = {
    "two": np.float32(2), "eps": np.float32(1e-5), "one": np.float32(1), "half": np.float32(0.5), "minus": np.float32(-0.5),
    "last": np.array([-1]), "g": random(8), "b": random(8), "norm_eps": np.float32(1e-12),
}  # fmt: skip

MEAN = "m = ReduceMean<axes = [-1]>(x) d = Sub(x, m) "
VARIANCE = MEAN + "s = Pow(d, two) v = ReduceMean<axes = [-1]>(s) e = Add(v, eps) "
AFFINE = "a = Mul(n, g) y = Add(a, b)"

LAYER_NORMS = {
    "operator": "y = LayerNormalization<epsilon = 1e-5>(x, g, b)",
    "torch before opset 17": VARIANCE + "r = Sqrt(e) n = Div(d, r) " + AFFINE,
    "square as a product": MEAN + "s = Mul(d, d) v = ReduceMean<axes = [-1]>(s) e = Add(eps, v) r = Sqrt(e) n = Div(d, r) " + AFFINE,
    "reciprocal": VARIANCE + "r = Sqrt(e) i = Reciprocal(r) n = Mul(d, i) " + AFFINE,
    "one over the root": VARIANCE + "r = Sqrt(e) i = Div(one, r) n = Mul(i, d) " + AFFINE,
    "power one half": VARIANCE + "r = Pow(e, half) n = Div(d, r) " + AFFINE,
    "power minus one half": VARIANCE + "i = Pow(e, minus) n = Mul(d, i) " + AFFINE,
    "scale and shift on the left": VARIANCE + "r = Sqrt(e) n = Div(d, r) a = Mul(g, n) y = Add(b, a)",
    "difference computed twice": VARIANCE + "r = Sqrt(e) f = Sub(x, m) n = Div(f, r) " + AFFINE,
    "Keras: the scale in the reciprocal": VARIANCE
    + "r = Sqrt(e) i = Reciprocal(r) k = Mul(i, g) p = Mul(x, k) q = Mul(m, k) t = Sub(b, q) y = Add(p, t)",
    "scale before the division": VARIANCE + "r = Sqrt(e) k = Mul(g, d) a = Div(k, r) y = Add(a, b)",
    "scale before the product with the reciprocal": VARIANCE + "r = Sqrt(e) i = Reciprocal(r) k = Mul(d, g) a = Mul(k, i) y = Add(a, b)",
    "scale before the difference": VARIANCE + "r = Sqrt(e) i = Reciprocal(r) k = Mul(i, g) a = Mul(d, k) y = Add(a, b)",
    "JAX: mean of squares less square of the mean": "m = ReduceMean<axes = [-1]>(x) p = Mul(x, x) q = ReduceMean<axes = [-1]>(p) "
    "o = Mul(m, m) v = Sub(q, o) e = Add(v, eps) d = Sub(x, m) r = Sqrt(e) n = Div(d, r) " + AFFINE,
    "computed in float64": "z = Cast<to = 11>(x) m = ReduceMean<axes = [-1]>(z) d = Sub(z, m) s = Mul(d, d) v = ReduceMean<axes = [-1]>(s) "
    "e = Add(v, eps) r = Sqrt(e) o = Div(d, r) n = Cast<to = 1>(o) " + AFFINE,
}  # fmt: skip


@pytest.mark.parametrize("spelling", LAYER_NORMS)
def test_spellings_of_layer_norm(spelling: str, tmp_path: Path) -> None:
    graph = graph_of(tmp_path, LAYER_NORMS[spelling], NUMBERS, inputs="float[n, 5, 8] x", opset=17)
    assert ops(graph) == ["layer_norm"]
    layer = graph.layers[0]
    assert layer.attributes["eps"] == pytest.approx(1e-5)
    assert layer.attributes["axes"] == (2,)
    assert layer.attributes["normalized_shape"] == (8,)
    assert (layer.parameters["scale"], layer.parameters["shift"]) == ("g", "b")
    assert graph.parameters["g"].trainable
    assert layer.inputs == ("x",)
    assert layer.outputs == ("y",)


def test_axes_as_an_input(tmp_path: Path) -> None:
    body = "m = ReduceMean(x, last) d = Sub(x, m) s = Mul(d, d) v = ReduceMean(s, last) e = Add(v, eps) r = Sqrt(e) y = Div(d, r)"
    graph = graph_of(tmp_path, body, NUMBERS, inputs="float[n, 5, 8] x")
    assert ops(graph) == ["layer_norm"]
    assert graph.layers[0].parameters == {}


RMS = "s = Pow(x, two) v = ReduceMean<axes = [-1]>(s) e = Add(v, eps) r = Sqrt(e) "

RMS_NORMS = {
    "reciprocal": RMS + "i = Reciprocal(r) n = Mul(x, i) y = Mul(g, n)",
    "division": RMS + "n = Div(x, r) y = Mul(n, g)",
    "one over the root": RMS + "i = Div(one, r) n = Mul(x, i) y = Mul(n, g)",
    "square as a product": "s = Mul(x, x) v = ReduceMean<axes = [-1]>(s) e = Add(v, eps) i = Pow(e, minus) n = Mul(i, x) y = Mul(n, g)",
    "scale first": RMS + "i = Reciprocal(r) k = Mul(g, x) y = Mul(k, i)",
    "scale first, then the division": RMS + "k = Mul(x, g) y = Div(k, r)",
    "operator of onnxruntime": "y = SimplifiedLayerNormalization<epsilon = 1e-5>(x, g)",
}

HALF_RMS = (
    "z = Cast<to = 1>(x) s = Mul(z, z) v = ReduceMean<axes = [-1]>(s) e = Add(v, eps) r = Sqrt(e) i = Reciprocal(r) "
    "n = Mul(z, i) h = Cast<to = 10>(n) y = Mul(g16, h)"
)


@pytest.mark.parametrize("spelling", RMS_NORMS)
def test_spellings_of_rms_norm(spelling: str, tmp_path: Path) -> None:
    graph = graph_of(tmp_path, RMS_NORMS[spelling], NUMBERS, inputs="float[n, 5, 8] x", opset=17)
    layer = only(graph, Op.RMS_NORM)
    assert ops(graph) == ["rms_norm"]
    assert layer.attributes["eps"] == pytest.approx(1e-5)
    assert layer.attributes["normalized_shape"] == (8,)
    assert dict(layer.parameters) == {"scale": "g"}


def test_rms_norm_of_half_precision_in_float32(tmp_path: Path) -> None:
    weights = {**NUMBERS, "g16": random(8).astype(np.float16)}
    graph = graph_of(tmp_path, HALF_RMS, weights, inputs="float16[n, 5, 8] x", outputs="float16[n, 5, 8] y", opset=17)
    assert ops(graph) == ["rms_norm"]
    assert graph.layers[0].inputs == ("x",)
    assert graph.parameters["g16"].dtype == "float16"


def test_a_cast_that_others_read_stays_outside(tmp_path: Path) -> None:
    weights = {**NUMBERS, "g16": random(8).astype(np.float16)}
    body = HALF_RMS + " other = Relu(z)"
    graph = graph_of(
        tmp_path, body, weights, inputs="float16[n, 5, 8] x", outputs="float16[n, 5, 8] y, float[] other", opset=17
    )
    assert sorted(ops(graph)) == ["cast", "relu", "rms_norm"]


def test_a_mean_that_is_also_an_output_is_not_lost(tmp_path: Path) -> None:
    body = LAYER_NORMS["torch before opset 17"]
    graph = graph_of(tmp_path, body, NUMBERS, inputs="float[n, 5, 8] x", outputs="float[] y, float[] m", opset=17)
    assert graph.values["m"].producer is not None
    assert "layer_norm" not in ops(graph)


def test_layer_norm_over_two_axes(tmp_path: Path) -> None:
    graph = graph_of(
        tmp_path, "y = LayerNormalization<axis = -2>(x, g)", {"g": random(5, 8)}, inputs="float[n, 5, 8] x"
    )
    layer = only(graph, Op.LAYER_NORM)
    assert layer.attributes["axes"] == (1, 2)
    assert layer.attributes["normalized_shape"] == (5, 8)


def test_skip_layer_norm_is_a_sum_and_a_norm(tmp_path: Path) -> None:
    body = "y = com.microsoft.SkipLayerNormalization<epsilon = 1e-5>(x, z, g, b)"
    graph = graph_of(tmp_path, body, NUMBERS, inputs="float[n, 5, 8] x, float[n, 5, 8] z")
    assert ops(graph) == ["add", "layer_norm"]
    assert graph.layers[0].inputs == ("x", "z")
    assert graph.layers[1].attributes["normalized_shape"] == (8,)


# --- channels ------------------------------------------------------------------------------------------------------------

CHANNELS = {
    "shape": np.array([0, 2, -1]), "ones": np.ones(2, np.float32), "zeros": np.zeros(2, np.float32),
    "c": random(4), "d": random(4), "c1": random(4, 1, 1), "d1": random(4, 1, 1), "back": np.array([-1, 4, 6, 6]), "eps": np.float32(1e-5),
}  # fmt: skip

GROUP_NORMS = {
    "operator": "y = GroupNormalization<num_groups = 2, epsilon = 1e-5>(x, c, d)",
    "torch": "r = Reshape(x, shape) i = InstanceNormalization<epsilon = 1e-5>(r, ones, zeros) s = Shape(x) k = Reshape(i, s) "
    "m = Mul(k, c1) y = Add(m, d1)",
    "torch with a stored shape": "r = Reshape(x, shape) i = InstanceNormalization<epsilon = 1e-5>(r, ones, zeros) k = Reshape(i, back) "
    "m = Mul(c1, k) y = Add(d1, m)",
    "written out": "r = Reshape(x, shape) m = ReduceMean<axes = [2]>(r) d2 = Sub(r, m) q = Mul(d2, d2) v = ReduceMean<axes = [2]>(q) "
    "e = Add(v, eps) o = Sqrt(e) n = Div(d2, o) k = Reshape(n, back) z = Mul(k, c1) y = Add(z, d1)",
}  # fmt: skip


@pytest.mark.parametrize("spelling", GROUP_NORMS)
def test_spellings_of_group_norm(spelling: str, tmp_path: Path) -> None:
    opset = 21 if spelling == "operator" else 17
    graph = graph_of(tmp_path, GROUP_NORMS[spelling], CHANNELS, inputs="float[n, 4, 6, 6] x", opset=opset)
    assert ops(graph) == ["group_norm"]
    layer = graph.layers[0]
    assert layer.attributes["num_groups"] == 2
    assert layer.attributes["num_channels"] == 4
    assert layer.attributes["eps"] == pytest.approx(1e-5)
    assert parameter(graph, layer, "scale").unit_axis == 0
    assert parameter(graph, layer, "shift").size == 4


def test_instance_norm_alone(tmp_path: Path) -> None:
    graph = graph_of(tmp_path, "y = InstanceNormalization(x, c, d)", CHANNELS, inputs="float[n, 4, 6, 6] x")
    assert ops(graph) == ["instance_norm"]
    assert graph.layers[0].attributes["num_channels"] == 4


@pytest.mark.parametrize("body", [
    "l = ReduceL2<axes = [1]>(x) c = Clip(l, norm_eps) s = Shape(x) e = Expand(c, s) y = Div(x, e)",
    "l = ReduceL2<axes = [1]>(x) c = Max(l, norm_eps) y = Div(x, c)",
    "q = Mul(x, x) t = ReduceSum<axes = [1]>(q) m = Max(t, norm_eps) r = Sqrt(m) i = Reciprocal(r) y = Mul(x, i)",
])  # fmt: skip
def test_division_by_the_length(body: str, tmp_path: Path) -> None:
    body = body.replace("ReduceSum<axes = [1]>(q)", "ReduceSum(q, one_axis)")
    graph = graph_of(tmp_path, body, {**NUMBERS, "one_axis": np.array([1])}, opset=17)
    assert ops(graph) == ["lp_norm"]
    assert graph.layers[0].attributes["eps"] == pytest.approx(1e-12)
    assert graph.layers[0].attributes["axes"] == (1,)


BATCH = {name: np.abs(random(4)) for name in ("scale", "shift", "mean", "variance")}


def test_batch_norm_of_inference(tmp_path: Path) -> None:
    body = "y = BatchNormalization<epsilon = 0.001, momentum = 0.99>(x, scale, shift, mean, variance)"
    graph = graph_of(tmp_path, body, BATCH, inputs="float[n, 4, 6, 6] x")
    layer = only(graph, Op.BATCH_NORM)
    assert layer.attributes["eps"] == pytest.approx(1e-3)
    assert layer.attributes["momentum"] == pytest.approx(0.01)  # torch's momentum is what is replaced
    assert layer.attributes["training"] is False
    assert layer.attributes["num_features"] == 4
    trainable = {role: graph.parameters[name].trainable for role, name in layer.parameters.items()}
    assert trainable == {"scale": True, "shift": True, "running_mean": False, "running_variance": False}
    assert graph.form == "inference"


def test_batch_norm_of_training(tmp_path: Path) -> None:
    body = "y, m, v = BatchNormalization<training_mode = 1>(x, scale, shift, mean, variance)"
    graph = graph_of(tmp_path, body, BATCH, inputs="float[n, 4, 6, 6] x", outputs="float[] y")
    assert graph.layers[0].attributes["training"] is True
    assert graph.layers[0].outputs == ("y",)
    assert graph.form == "training"


def test_merged_tensors_of_two_natures_are_two_parameters(tmp_path: Path) -> None:
    body = "y = BatchNormalization(x, ones, zeros, zeros, ones)"
    graph = graph_of(
        tmp_path, body, {"ones": np.ones(4, np.float32), "zeros": np.zeros(4, np.float32)}, inputs="float[n, 4, 6, 6] x"
    )
    assert [(item.role.value, item.trainable) for item in graph.parameters.values()] == [
        ("scale", True), ("shift", True), ("running_mean", False), ("running_variance", False),
    ]  # fmt: skip


def test_local_response_norm(tmp_path: Path) -> None:
    graph = graph_of(tmp_path, "y = LRN<size = 5>(x)", inputs="float[n, 4, 6, 6] x")
    assert ops(graph) == ["local_response_norm"]


STATISTICS = {
    "mean": random(4),
    "var": np.abs(random(4)) + 1,
    "ones": np.ones(4, np.float32),
    "zeros": np.zeros(4, np.float32),
}
CAFFE = {**STATISTICS, "scale": random(1, 4, 1, 1), "shift": random(4, 1, 1), "other": random(4)}


def test_scale_layer_behind_a_batch_norm_of_caffe(tmp_path: Path) -> None:
    body = "n = BatchNormalization(x, ones, zeros, mean, var) m = Mul(n, scale) y = Add(shift, m)"
    graph = graph_of(tmp_path, body, CAFFE, inputs="float[n, 4, 6, 6] x")
    assert ops(graph) == ["batch_norm"]
    assert graph.layers[0].parameters == {
        "scale": "scale",
        "shift": "shift",
        "running_mean": "mean",
        "running_variance": "var",
    }
    assert graph.layers[0].outputs == ("y",)
    assert [graph.parameters[name].unit_axis for name in ("scale", "shift")] == [1, 0]


@pytest.mark.parametrize(
    "body",
    {
        "its own scale is learnt": "n = BatchNormalization(x, other, zeros, mean, var) m = Mul(n, scale) y = Add(m, shift)",
        "the result of the scale is read by others": "n = BatchNormalization(x, ones, zeros, mean, var) m = Mul(n, scale) a = Add(m, shift) y = Mul(a, m)",
        "a scale alone": "n = BatchNormalization(x, ones, zeros, mean, var) y = Mul(n, scale)",
    }.values(),
)
def test_what_stands_behind_a_batch_norm_is_not_always_its_scale(body: str, tmp_path: Path) -> None:
    graph = graph_of(tmp_path, body, CAFFE, inputs="float[n, 4, 6, 6] x")
    assert ops(graph)[:2] == ["batch_norm", "mul"]


KERAS = {
    **NUMBERS, "rows": np.array([1, 10, 8, 1]), "back": np.array([2, 5, 8]), "one10": np.ones(10, np.float32), "zero10": np.zeros(10, np.float32),
}  # fmt: skip


@pytest.mark.parametrize("training", ["training_mode = 1, ", ""])
def test_layer_norm_of_keras_over_rows(training: str, tmp_path: Path) -> None:
    body = (
        f"r = Reshape(x, rows) n, a, v = BatchNormalization<{training}epsilon = 0.001>(r, one10, zero10, zero10, one10) "
        "h = Reshape(n, back) m = Mul(h, g) y = Add(m, b)"
    )
    body = body if training else body.replace("n, a, v =", "n =")
    graph = graph_of(tmp_path, body, KERAS, inputs="float[2, 5, 8] x")
    if not training:  # with stored statistics it is a batch normalization
        assert ops(graph) == ["reshape", "batch_norm", "reshape", "mul", "add"]
        return
    assert ops(graph) == ["layer_norm"]
    layer = graph.layers[0]
    assert layer.attributes == {"eps": pytest.approx(1e-3), "axes": (2,), "normalized_shape": (8,)}
    assert layer.parameters == {"scale": "g", "shift": "b"}
    assert (layer.inputs, layer.outputs) == (("x",), ("y",))
