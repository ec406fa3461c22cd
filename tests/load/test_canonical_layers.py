"""Convolutions, embeddings, recurrent layers, arithmetic with stored operands, dropout, shapes and control flow."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.load.canonical_models import graph_of, loaded, only, ops, parameter, random, text_model
from trainaudit.ir.graph import Role
from trainaudit.ir.ops import Op

IMAGE = "float[n, 4, 9, 9] x"

CONVOLUTIONS = {
    "plain": ("y = Conv(x, w, b)", {"w": random(6, 4, 3, 3), "b": random(6)}, IMAGE, (6, 0, 36, 54, 1)),
    "separate bias": ("h = Conv(x, w) y = Add(h, b)", {"w": random(6, 4, 3, 3), "b": random(1, 6, 1, 1)}, IMAGE, (6, 0, 36, 54, 1)),
    "separate bias of three axes": ("h = Conv(x, w) y = Add(b, h)", {"w": random(6, 4, 3, 3), "b": random(6, 1, 1)}, IMAGE, (6, 0, 36, 54, 1)),
    "grouped": ("y = Conv<group = 2>(x, w, b)", {"w": random(6, 2, 3, 3), "b": random(6)}, IMAGE, (6, 0, 18, 54, 2)),
    "depthwise": ("y = Conv<group = 4>(x, w, b)", {"w": random(4, 1, 3, 3), "b": random(4)}, IMAGE, (4, 0, 9, 36, 4)),
    "pointwise": ("y = Conv(x, w, b)", {"w": random(6, 4, 1, 1), "b": random(6)}, IMAGE, (6, 0, 4, 6, 1)),
    "one axis": ("y = Conv(x, w, b)", {"w": random(6, 4, 3), "b": random(6)}, "float[n, 4, 9] x", (6, 0, 12, 18, 1)),
    "three axes": ("y = Conv(x, w, b)", {"w": random(6, 4, 3, 3, 3), "b": random(6)}, "float[n, 4, 9, 9, 9] x", (6, 0, 108, 162, 1)),
    "channels last around it": (
        "t = Transpose<perm = [0, 3, 1, 2]>(x) h = Conv(t, w) u = Transpose<perm = [0, 2, 3, 1]>(h) y = Add(u, b)",
        {"w": random(6, 4, 3, 3), "b": random(6)}, "float[n, 9, 9, 4] x", (6, 0, 36, 54, 1),
    ),
    "one axis through two": (
        "t = Unsqueeze(x, two) h = Conv(t, w) s = Squeeze(h, two) y = Add(s, b)",
        {"w": random(6, 4, 1, 3), "b": random(6, 1), "two": np.array([2])}, "float[n, 4, 9] x", (6, 0, 12, 18, 1),
    ),
    "weight behind DequantizeLinear": (
        "d = DequantizeLinear<axis = 0>(w, s, z) y = Conv(x, d, b)",
        {"w": np.ones((6, 4, 3, 3), np.int8), "s": np.ones(6, np.float32), "z": np.zeros(6, np.int8), "b": random(6)}, IMAGE, (6, 0, 36, 54, 1),
    ),
    # torch.nn.init reads the first two axes of a transposed convolution as (out, in) too.
    "transposed": ("y = ConvTranspose(x, w, b)", {"w": random(4, 6, 2, 2), "b": random(6)}, IMAGE, (6, 1, 24, 16, 1)),
}  # fmt: skip


@pytest.mark.parametrize("spelling", CONVOLUTIONS)
def test_spellings_of_a_convolution(spelling: str, tmp_path: Path) -> None:
    body, weights, inputs, (units, unit_axis, fan_in, fan_out, groups) = CONVOLUTIONS[spelling]
    graph = graph_of(tmp_path, body, weights, inputs=inputs)
    layer = only(graph, Op.CONV_TRANSPOSE if spelling == "transposed" else Op.CONV)
    weight, bias = parameter(graph, layer, "weight"), parameter(graph, layer, "bias")
    assert (weight.name, weight.unit_axis, weight.fan_in, weight.fan_out, weight.groups) == (
        "w",
        unit_axis,
        fan_in,
        fan_out,
        groups,
    )
    assert weight.shape[unit_axis] == units == bias.size
    assert weight.trainable
    assert weight.quantized is ("Dequantize" in spelling)
    assert layer.attributes["kernel_size"] == weights["w"].shape[2:]
    assert layer.attributes["groups"] == groups
    assert "add" not in ops(graph)


def test_attributes_of_a_convolution(tmp_path: Path) -> None:
    body = "y = Conv<strides = [2, 1], pads = [1, 2, 3, 4], dilations = [1, 2]>(x, w)"
    layer = only(graph_of(tmp_path, body, {"w": random(6, 4, 3, 3)}, inputs=IMAGE), Op.CONV)
    assert layer.attributes == {
        "kernel_size": (3, 3), "stride": (2, 1), "padding": (1, 2, 3, 4), "dilation": (1, 2), "groups": 1,
    }  # fmt: skip
    assert set(layer.parameters) == {"weight"}


@pytest.mark.parametrize(
    ("mode", "expected"), [("SAME_UPPER", (0, 0, 1, 1)), ("SAME_LOWER", (1, 1, 0, 0)), ("VALID", (0, 0, 0, 0))]
)
def test_padding_by_name(mode: str, expected: tuple[int, ...], tmp_path: Path) -> None:
    body = f'y = Conv<strides = [2, 2], auto_pad = "{mode}">(x, w)'
    layer = only(graph_of(tmp_path, body, {"w": random(6, 4, 3, 3)}, inputs="float[n, 4, 8, 8] x"), Op.CONV)
    assert layer.attributes["padding"] == expected


def test_zeros_that_torch_expands_are_no_bias(tmp_path: Path) -> None:
    body = (
        "s = Shape<end = 1>(w) z = Constant<value_float = 0.0>() c = CastLike(z, x) b = Expand(c, s) y = Conv(x, w, b)"
    )
    graph = graph_of(tmp_path, body, {"w": random(6, 4, 3, 3)}, inputs=IMAGE)
    assert ops(graph) == ["conv"]
    assert set(graph.layers[0].parameters) == {"weight"}


@pytest.mark.parametrize(("op", "gates", "order"), [("LSTM", 4, "iofc"), ("GRU", 3, "zrh"), ("RNN", 1, "i")])
def test_recurrent_layers(op: str, gates: int, order: str, tmp_path: Path) -> None:
    weights = {
        "w": random(2, gates * 5, 8),
        "r": random(2, gates * 5, 5),
        "b": random(2, gates * 10),
        "h": np.zeros((2, 3, 5), np.float32),
    }
    body = f'y = {op}<hidden_size = 5, direction = "bidirectional">(x, w, r, b, , h)'
    graph = graph_of(tmp_path, body, weights, inputs="float[t, 3, 8] x")
    layer = graph.layers[0]
    assert layer.op.value == op.lower()
    assert (layer.attributes["hidden_size"], layer.attributes["bidirectional"], layer.attributes["gate_order"]) == (
        5,
        True,
        order,
    )
    assert layer.inputs == ("x",)
    incoming, recurrent, bias = (parameter(graph, layer, word) for word in ("input_weight", "recurrent_weight", "bias"))
    assert (incoming.fan_in, incoming.unit_axis, incoming.gates) == (8, 1, gates)
    assert (recurrent.fan_in, recurrent.unit_axis, recurrent.gates) == (5, 1, gates)
    assert (bias.role, bias.gates) == (Role.BIAS, gates)


def test_recurrent_weights_that_the_graph_reorders(tmp_path: Path) -> None:
    """torch holds an LSTM's gates as i, f, c, o and its exporter cuts and joins them."""
    torch_order = random(20, 8)
    body = (
        "i = Slice(w, n0, n5, n0) f = Slice(w, n5, n10, n0) c = Slice(w, n10, n15, n0) o = Slice(w, n15, n20, n0) "
        "j = Concat<axis = 0>(i, o, f, c) k = Unsqueeze(j, n0) y = LSTM<hidden_size = 5>(x, k, r)"
    )
    steps = {f"n{number}": np.array([number]) for number in (0, 5, 10, 15, 20)}
    graph = graph_of(tmp_path, body, {"w": torch_order, "r": random(1, 20, 5), **steps}, inputs="float[t, 3, 8] x")
    assert ops(graph) == ["lstm"]
    weight = parameter(graph, graph.layers[0], "input_weight")
    assert weight.trainable
    expected = np.concatenate([torch_order[0:5], torch_order[15:20], torch_order[5:10], torch_order[10:15]])
    np.testing.assert_array_equal(weight.data.read(), expected[None])


NUMBERS = {"val_0": np.float32(3), "val_1": np.full((1, 1), 3, np.float32)}

# --- arithmetic ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("body", "op", "attributes"), [
    ("y = Add(x, c)", Op.ADD, {"scalar": 3.0, "scalar_side": "right"}),
    ("y = Sub(c, x)", Op.SUB, {"scalar": 3.0, "scalar_side": "left"}),
    ("y = Mul(x, c1)", Op.MUL, {"scalar": 3.0, "scalar_side": "right"}),
    ("y = Div(c, x)", Op.DIV, {"scalar": 3.0, "scalar_side": "left"}),
    ("y = Pow(x, c)", Op.POW, {"scalar": 3.0, "scalar_side": "right"}),
    ("y = Mul(x, x)", Op.POW, {"scalar": 2.0, "scalar_side": "right"}),
])  # fmt: skip
def test_one_stored_number(body: str, op: Op, attributes: dict[str, object], tmp_path: Path) -> None:
    graph = graph_of(tmp_path, body.replace("c1", "val_1").replace("c)", "val_0)").replace("(c", "(val_0"), NUMBERS)
    layer = graph.layers[-1]
    assert (layer.op, layer.attributes, layer.parameters) == (op, attributes, {})
    assert layer.inputs == ("x",)


def test_fill_of_where(tmp_path: Path) -> None:
    graph = graph_of(tmp_path, "y = Where(m, x, c)", {"c": np.float32(-1e9)}, inputs="float[n, 8] x, bool[n, 8] m")
    assert graph.layers[0].attributes == {"fill": pytest.approx(-1e9)}
    assert graph.layers[0].inputs == ("m", "x")


def test_learnt_vectors_and_tables(tmp_path: Path) -> None:
    weights = {
        "net.gamma": random(8),
        "net.beta": random(8),
        "net.pos": random(1, 5, 8),
        "net.window": np.tril(np.ones((5, 8), np.float32)),
    }
    body = "a = Mul(x, net.gamma) b = Add(a, net.beta) c = Add(b, net.pos) y = Mul(c, net.window)".replace(
        "net.", "net_"
    )
    graph = graph_of(
        tmp_path, body, {name.replace(".", "_"): array for name, array in weights.items()}, inputs="float[n, 5, 8] x"
    )
    roles = {name: (item.role, item.trainable) for name, item in graph.parameters.items()}
    assert roles == {
        "net_gamma": (Role.SCALE, True), "net_beta": (Role.SHIFT, True), "net_pos": (Role.POSITION, True), "net_window": (Role.CONSTANT, False),
    }  # fmt: skip


def test_input_standardisation_is_not_learnt(tmp_path: Path) -> None:
    graph = graph_of(
        tmp_path,
        "a = Sub(x, mean) y = Div(a, std)",
        {"mean": random(1, 4, 1, 1), "std": random(1, 4, 1, 1)},
        inputs=IMAGE,
    )
    assert {item.role for item in graph.parameters.values()} == {Role.CONSTANT}
    assert not any(item.trainable for item in graph.parameters.values())


def test_a_learnt_number_is_a_parameter_and_an_attribute(tmp_path: Path) -> None:
    graph = graph_of(tmp_path, "y = Mul(x, block_alpha)", {"block_alpha": np.zeros(1, np.float32)})
    assert graph.layers[0].attributes["scalar"] == 0
    assert graph.parameters["block_alpha"].trainable


def test_slope_of_prelu(tmp_path: Path) -> None:
    graph = graph_of(tmp_path, "y = PRelu(x, a)", {"a": random(4, 1, 1)}, inputs=IMAGE)
    assert ops(graph) == ["prelu"]
    assert parameter(graph, graph.layers[0], "slope").unit_axis == 0


# --- shapes, dropout, control flow ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("body", "opset", "op", "attributes"), [
    ("y = Reshape(x, shape)", 18, Op.RESHAPE, {"shape": (0, 2, -1)}),
    ("y = Transpose(x)", 18, Op.TRANSPOSE, {"perm": (1, 0)}),
    ("y = Unsqueeze(x, last)", 18, Op.UNSQUEEZE, {"axes": (2,)}),
    ("y = Unsqueeze<axes = [-1]>(x)", 12, Op.UNSQUEEZE, {"axes": (2,)}),
    ("y = ReduceMean(x, last)", 18, Op.REDUCE_MEAN, {"axes": (1,), "keepdim": True}),
    ("y = ReduceMean<axes = [-1], keepdims = 0>(x)", 17, Op.REDUCE_MEAN, {"axes": (1,), "keepdim": False}),
    ("y = ReduceSum(x)", 18, Op.REDUCE_SUM, {"axes": (0, 1), "keepdim": True}),
    ("y = Slice(x, zero, two, last)", 18, Op.SLICE, {"starts": (0,), "ends": (2,), "axes": (1,)}),
    ("y = Slice(x, two, many, last)", 18, Op.SLICE, {"starts": (2,), "ends": (8,), "axes": (1,)}),
    ("y = Slice(x, last, many, zero)", 18, Op.SLICE, {"starts": (-1,), "ends": (1 << 40,), "axes": (0,)}),
    ("y = Slice(x, last, minus, last, last)", 18, Op.SLICE, {"starts": (-1,), "ends": (-3,), "axes": (1,)}),
    ("y = Concat<axis = -1>(x, x)", 18, Op.CONCAT, {"dim": 1}),
    ("y, z = Split<axis = -1, num_outputs = 2>(x)", 18, Op.SPLIT, {"dim": 1, "sizes": (4, 4)}),
    ("y = Gather<axis = 1>(x, number)", 18, Op.GATHER, {"dim": 1, "index": 3}),
    ("y = Cast<to = 10>(x)", 18, Op.CAST, {"to": "float16"}),
    ("y = Flatten(x)", 18, Op.FLATTEN, {"start_dim": 1}),
    ("y = CumSum(x, number_axis)", 18, Op.CUMSUM, {"dim": 1}),
    ("y = Pad(x, pads)", 18, Op.PAD, {"pads": (0, 1, 0, 1), "mode": "constant", "value": 0.0}),
    ("y = Softmax(x)", 18, Op.SOFTMAX, {"dim": 1}),
])  # fmt: skip
def test_attributes_in_torchs_words(
    body: str, opset: int, op: Op, attributes: dict[str, object], tmp_path: Path
) -> None:
    weights = {
        "shape": np.array([0, 2, -1]), "last": np.array([-1]), "zero": np.array([0]), "two": np.array([2]), "number": np.array(3),
        "many": np.array([1 << 40]), "minus": np.array([-3]),
        "number_axis": np.array(-1), "pads": np.array([0, 1, 0, 1]),
    }  # fmt: skip
    graph = graph_of(tmp_path, body, weights, outputs="float16[] y" if "to = 10" in body else "float[] y", opset=opset)
    layer = graph.layers[-1]
    assert layer.op is op
    assert {key: value for key, value in layer.attributes.items() if key != "steps"} == attributes
    assert layer.inputs[0] == "x"
    assert graph.parameters == {}


@pytest.mark.parametrize(("body", "opset", "p", "training", "form"), [
    ("y = Dropout(x, ratio, on)", 13, 0.25, True, "training"),
    ("y = Dropout(x, ratio)", 13, 0.25, False, "training"),
    ("y = Dropout<ratio = 0.25>(x)", 10, 0.25, False, "training"),
    ("y = Dropout(x, nothing)", 13, 0.0, False, "unknown"),
])  # fmt: skip
def test_dropout(body: str, opset: int, p: float, training: bool, form: str, tmp_path: Path) -> None:
    weights = {"ratio": np.float32(0.25), "on": np.bool_(True), "nothing": np.float32(0)}
    graph = graph_of(tmp_path, body, weights, opset=opset)
    assert graph.layers[0].attributes == {"p": p, "training": training}
    assert graph.form == form


@pytest.mark.parametrize(
    "body", ["d = Dropout(x, nothing, on) y = Relu(d)", "d, mask = Dropout(x, nothing, on) y = Relu(d)"]
)
def test_dropout_that_drops_nothing_is_no_layer(body: str, tmp_path: Path) -> None:
    """torch's newer exporter leaves it out, the older one writes it."""
    graph = graph_of(tmp_path, body, {"nothing": np.float32(0), "on": np.bool_(True)})
    assert ops(graph) == ["relu"]
    assert graph.form == "training"


def test_dropout_whose_mask_is_read_stays(tmp_path: Path) -> None:
    body = "d, mask = Dropout(x, nothing, on) y = Where(mask, d, x)"
    assert "dropout" in ops(graph_of(tmp_path, body, {"nothing": np.float32(0), "on": np.bool_(True)}))


@pytest.mark.parametrize(("like", "expected"), [("x", ["relu", "exp"]), ("i", ["relu", "cast", "exp"])])
def test_a_cast_like_takes_a_type_alone(like: str, expected: list[str], tmp_path: Path) -> None:
    """It reads no values of its second operand, and is no layer where the type is the same already."""
    body = f"h = Relu(x) c = CastLike(h, {like}) y = Exp(c)"
    graph = graph_of(
        tmp_path, body, inputs="float[n, 8] x, float16[n] i", outputs=f"float{'16' if like == 'i' else ''}[] y"
    )
    assert ops(graph) == expected
    assert graph.layers[-2].inputs == (graph.layers[-2].inputs[0],)
    assert not graph.values["i"].consumers


RANDOM = "r = RandomUniformLike(x) l = Less(r, keep) m = Cast<to = 1>(l) "


@pytest.mark.parametrize(("body", "op"), [
    (RANDOM + "d = Div(m, keep) y = Mul(x, d)", "dropout"),
    (RANDOM + "d = Mul(x, m) y = Div(d, keep)", "dropout"),
    (RANDOM + "a = Mul(m, scale) b = Mul(x, a) c = Add(m, minus) d = Mul(c, lift) e = Add(d, offset) y = Add(b, e)", "alpha_dropout"),
])  # fmt: skip
def test_dropout_written_out(body: str, op: str, tmp_path: Path) -> None:
    weights = {
        "keep": np.float32(0.9),
        "scale": np.float32(0.92),
        "minus": np.float32(-1),
        "lift": np.float32(1.62),
        "offset": np.float32(0.162),
    }
    graph = graph_of(tmp_path, body, weights)
    assert ops(graph) == [op]
    assert graph.layers[0].attributes == {"p": pytest.approx(0.1, abs=1e-6), "training": True}
    assert graph.form == "training"


def test_noise_is_no_weight(tmp_path: Path) -> None:
    graph = graph_of(tmp_path, "r = RandomNormal<shape = [1, 8]>() y = Add(x, r)")
    assert ops(graph) == ["random", "add"]
    assert graph.parameters == {}


def test_chunks(tmp_path: Path) -> None:
    body = "s = SplitToSequence<axis = 1>(x, four) a = SequenceAt(s, zero) b = SequenceAt(s, one) y = Mul(a, b)"
    graph = graph_of(tmp_path, body, {"four": np.array(4), "zero": np.array(0), "one": np.array(1)})
    assert ops(graph) == ["split", "mul"]
    assert graph.layers[0].attributes == {"dim": 1, "sizes": (4, 4)}
    assert graph.layers[0].outputs == ("a", "b")


def test_sizes_that_are_known_leave_no_layers(tmp_path: Path) -> None:
    body = "s = Shape(x) n = Gather(s, zero) m = Mul(n, two) l = Concat<axis = 0>(m, rest) y = Reshape(x, l)"
    weights = {"zero": np.array([0]), "two": np.array([2]), "rest": np.array([4])}
    graph = graph_of(tmp_path, body, weights, inputs="float[3, 8] x")
    assert ops(graph) == ["reshape"]
    assert graph.layers[0].attributes == {"shape": (6, 4)}


def test_sizes_that_are_not_known_stay_and_carry_integers(tmp_path: Path) -> None:
    body = "s = Shape(x) n = Gather(s, zero) l = Concat<axis = 0>(n, rest) y = Reshape(x, l)"
    graph = graph_of(tmp_path, body, {"zero": np.array([0]), "rest": np.array([4, 2])})
    assert ops(graph) == ["shape", "gather", "concat", "reshape"]
    assert {graph.values[name].dtype for name in ("s", "n", "l")} == {"int64"}
    assert graph.layers[-1].inputs == ("x", "l")


def test_a_layer_that_nothing_reads_stays(tmp_path: Path) -> None:
    graph = graph_of(tmp_path, "y = Relu(x) z = Tanh(x)")
    assert sorted(ops(graph)) == ["relu", "tanh"]


def test_an_output_that_is_stored_has_a_layer(tmp_path: Path) -> None:
    graph = graph_of(tmp_path, "y = Relu(x)", {"z": random(3)}, outputs="float[] y, float[] z")
    assert ops(graph) == ["relu", "constant"]
    assert graph.values["z"].producer == 1


def test_an_unknown_operator_is_counted(tmp_path: Path) -> None:
    graph = graph_of(tmp_path, "h = somebody.else.Strange(x) g = somebody.else.Strange(h) y = Relu(g)")
    assert ops(graph) == ["other", "other", "relu"]
    assert graph.unrecognized == (("somebody.else.Strange", 2),)
    assert graph.node_count == 3


def test_a_fresh_layer_scale_is_learnt_and_a_table_of_two_values_is_a_mask(tmp_path: Path) -> None:
    weights = {
        "gamma": np.full((4, 1, 1), 1e-6, np.float32),
        "pos": np.zeros((1, 4, 9, 9), np.float32),
        "mask": np.tril(np.ones((9, 9), np.float32)),
    }
    graph = graph_of(tmp_path, "a = Mul(x, gamma) b = Add(a, pos) y = Add(b, mask)", weights, inputs=IMAGE)
    assert {name: (item.role, item.trainable) for name, item in graph.parameters.items()} == {
        "gamma": (Role.SCALE, True), "pos": (Role.POSITION, True), "mask": (Role.CONSTANT, False),
    }  # fmt: skip


def test_class_token_behind_expand(tmp_path: Path) -> None:
    body = "c = Expand(cls, shape) h = Concat<axis = 1>(c, x) y = Add(h, pos)"
    weights = {"cls": random(1, 1, 8), "shape": np.array([2, 1, 8]), "pos": random(1, 6, 8)}
    graph = graph_of(tmp_path, body, weights, inputs="float[2, 5, 8] x")
    assert ops(graph) == ["concat", "add"]
    token = parameter(graph, graph.layers[0], "position")
    assert (token.name, token.shape, token.trainable) == ("cls", (1, 1, 8), True)


def test_token_types_are_no_positions(tmp_path: Path) -> None:
    body = "z = Expand(zeros, shape) t = Gather(types, z) p = Gather(places, ids) q = Add(x, t) y = Add(q, p)"
    weights = {
        "zeros": np.zeros((1, 5), np.int64), "shape": np.array([2, 5]), "types": random(2, 8), "places": random(9, 8),
        "ids": np.arange(5)[None],
    }  # fmt: skip
    graph = graph_of(tmp_path, body, weights, inputs="float[2, 5, 8] x")
    assert graph.parameters["places"].role is Role.POSITION
    assert graph.parameters["types"].trainable


def test_equal_parameters_that_the_exporter_stored_once_are_not_tied(tmp_path: Path) -> None:
    model = text_model(
        "w2 = Identity(w) h = MatMul(x, w) y = MatMul(h, w2)", "float[n, 8] x", "float y", {"w": random(8, 8)}
    )
    names = {"w": "layers.0.fc.weight", "w2": "layers.1.fc.weight"}
    model.graph.initializer[0].name = names["w"]
    for node in model.graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]
    graph = loaded(tmp_path, model)
    assert {name: item.owners for name, item in graph.parameters.items()} == {
        "layers.0.fc.weight": (0,),
        "layers.1.fc.weight": (1,),
    }
