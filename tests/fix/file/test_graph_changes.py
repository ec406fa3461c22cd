"""Nodes put in, taken out and exchanged: what the new file computes, held against the formula."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

from tests.fix.file.models import HALF, Array, model, perceptron, run, saved, tensor, value, weights
from trainaudit.changes import ACTIVATIONS, NORMALIZATIONS, Change
from trainaudit.fix.file.applying import Plan, apply
from trainaudit.load.from_onnx import load_onnx

pytest.importorskip("onnxruntime")


def layer_of(path: str, op: str, place: int = 0) -> str:
    return [layer.name for layer in load_onnx(path).layers if layer.op == op][place]


def fixed(path: str, *changes: Change) -> tuple[Path, Plan]:
    out = Path(path).with_name("fixed.onnx")
    return out, apply(path, load_onnx(path), changes, out, unsafe=True)


def made(path: str, *changes: Change) -> Path:
    out, done = fixed(path, *changes)
    assert done.refused == ()
    return out


def ops(path: Path) -> list[str]:
    return [node.op_type for node in onnx.load(path).graph.node]


def sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


def softmax(x: Array) -> Array:
    scaled = np.exp(x - x.max(-1, keepdims=True))
    return scaled / scaled.sum(-1, keepdims=True)


FORMULAS: dict[str, Callable[[Array], Array]] = {
    "relu": lambda x: np.maximum(x, 0), "leaky_relu": lambda x: np.where(x > 0, x, 0.01 * x), "tanh": np.tanh, "sigmoid": sigmoid,
    "elu": lambda x: np.where(x > 0, x, np.exp(x) - 1), "selu": lambda x: 1.0507009873554805 * np.where(x > 0, x, 1.6732632423543772 * (np.exp(x) - 1)),
    "gelu": lambda x: x * 0.5 * (1 + np.vectorize(math.erf)(x / math.sqrt(2))), "silu": lambda x: x * sigmoid(x),
    "softplus": lambda x: np.log1p(np.exp(x)), "softmax": softmax, "log_softmax": lambda x: np.log(softmax(x)),
    "log_sigmoid": lambda x: np.log(sigmoid(x)),
}  # fmt: skip
INPUT = np.random.default_rng(5).normal(size=(7, 6)).astype(np.float32)


def forward(path: str | Path, act: Callable[[Array], Array], x: Array = INPUT) -> Array:
    """The perceptron's output, from its weights."""
    stored = weights(path)
    hidden = act(x.astype(np.float64) @ stored["fc0.weight"].T + stored["fc0.bias"])
    return hidden @ stored["fc1.weight"].T + stored["fc1.bias"]


@pytest.mark.parametrize("opset", [11, 17, 20])
@pytest.mark.parametrize("word", ACTIVATIONS)
def test_every_activation_function(tmp_path: Path, word: str, opset: int) -> None:
    path = saved(perceptron(activation="Sigmoid", opset=opset), tmp_path / "net.onnx")
    out = made(path, Change("swap-activation", layer_of(path, "sigmoid"), word))
    assert run(out, x=INPUT)[0] == pytest.approx(forward(path, FORMULAS[word]), abs=1e-5)
    assert "Sigmoid" not in ops(out) or word in ("silu", "sigmoid")
    # read again, it is one layer of that kind
    assert word in {layer.op.value for layer in load_onnx(str(out)).layers}


def test_functions_in_half_precision(tmp_path: Path) -> None:
    path = saved(perceptron(activation="Sigmoid", kind=HALF), tmp_path / "net.onnx")
    out = made(path, Change("swap-activation", layer_of(path, "sigmoid"), "gelu"))
    result = run(out, x=INPUT.astype(np.float16))[0]
    assert result == pytest.approx(forward(path, FORMULAS["gelu"]), abs=0.05)


def test_an_activation_function_of_five_nodes_goes_with_its_constants(tmp_path: Path) -> None:
    path = saved(perceptron(activation="Sigmoid"), tmp_path / "net.onnx")
    first = made(path, Change("swap-activation", layer_of(path, "sigmoid"), "gelu"))
    first.rename(again := tmp_path / "gelu.onnx")
    assert len(ops(again)) == 7
    out = made(str(again), Change("swap-activation", layer_of(str(again), "gelu"), "relu"))
    assert ops(out) == ["Gemm", "Relu", "Gemm"]
    assert sorted(weights(out)) == ["fc0.bias", "fc0.weight", "fc1.bias", "fc1.weight"]
    assert run(out, x=INPUT)[0] == pytest.approx(forward(path, FORMULAS["relu"]), abs=1e-5)


def test_without_leave_the_architecture_stays(tmp_path: Path) -> None:
    path = saved(perceptron(), tmp_path / "net.onnx")
    change = Change("swap-activation", layer_of(path, "relu"), "tanh")
    done = apply(path, load_onnx(path), [change], tmp_path / "fixed.onnx")
    assert done.refused[0].needs_unsafe
    assert "--unsafe" in done.refused[0].reason
    assert not (tmp_path / "fixed.onnx").exists()


@pytest.mark.parametrize("spelling", ["Gemm", "MatMul"])
def test_a_function_behind_a_layer_with_its_bias(tmp_path: Path, spelling: str) -> None:
    path = saved(perceptron((6, 8), spelling=spelling), tmp_path / "net.onnx")
    before = run(path, x=INPUT)[0]
    out = made(path, Change("insert-activation", layer_of(path, "linear"), "tanh"))
    assert run(out, x=INPUT)[0] == pytest.approx(np.tanh(before), abs=1e-5)


def test_two_insertions_behind_one_layer_stand_in_the_order_of_the_changes(tmp_path: Path) -> None:
    path = saved(perceptron((6, 8)), tmp_path / "net.onnx")
    name = layer_of(path, "linear")
    out = made(path, Change("insert-normalization", name, "layer_norm"), Change("insert-activation", name, "relu"))
    assert ops(out) == ["Gemm", "LayerNormalization", "Relu"]


def normalized(x: Array, axes: tuple[int, ...], *, centered: bool = True) -> Array:
    middle = x.mean(axes, keepdims=True) if centered else 0.0
    return (x - middle) / np.sqrt(((x - middle) ** 2).mean(axes, keepdims=True) + 1e-5)


@pytest.mark.parametrize("opset", [12, 17, 23])
@pytest.mark.parametrize("word", NORMALIZATIONS)
def test_every_normalization_behind_a_linear_layer(tmp_path: Path, word: str, opset: int) -> None:
    path = saved(perceptron((6, 8), opset=opset, ir_version=8), tmp_path / "net.onnx")
    before = run(path, x=INPUT)[0]
    out = made(path, Change("insert-normalization", layer_of(path, "linear"), word))
    expected = {
        "batch_norm": before / np.sqrt(1 + 1e-5), "rms_norm": normalized(before, (1,), centered=False),
        "layer_norm": normalized(before, (1,)), "group_norm": normalized(before, (1,)),
    }[word]  # fmt: skip
    assert run(out, x=INPUT)[0] == pytest.approx(expected, abs=1e-4)
    assert word in {layer.op.value for layer in load_onnx(str(out)).layers} or word == "group_norm"


def convolutional(path: Path, *more: Any, training: bool = False) -> str:
    random = np.random.default_rng(0)
    nodes = [helper.make_node("Conv", ["x", "c.weight", "c.bias"], ["h"], name="c", kernel_shape=[3, 3]), *more]
    stored = {"c.weight": random.normal(size=(8, 4, 3, 3)), "c.bias": random.normal(size=8)}
    if training:
        nodes.append(helper.make_node("Dropout", ["h", "p", "t"], ["y"]))
        made = model(
            nodes, [tensor("p", np.asarray(0.5)), *(tensor(*item) for item in stored.items())], [value("x", 2, 4, 6, 6)], [value("y", 2, 8, 4, 4)]
        )  # fmt: skip
        made.graph.initializer.append(helper.make_tensor("t", onnx.TensorProto.BOOL, (), [True]))
        return saved(made, path)
    nodes.append(helper.make_node("Relu", ["h"], ["y"]))
    return saved(model(nodes, stored, [value("x", 2, 4, 6, 6)], [value("y", 2, 8, 4, 4)]), path)


def test_normalizations_of_maps(tmp_path: Path) -> None:
    path = convolutional(tmp_path / "net.onnx")
    name = layer_of(path, "conv")
    x = np.random.default_rng(3).normal(size=(2, 4, 6, 6)).astype(np.float32)
    raw = made(path, Change("drop-layer", layer_of(path, "relu")))
    plain = run(raw, x=x)[0]
    groups = run(made(path, Change("insert-normalization", name, "group_norm")), x=x)[0]
    assert groups == pytest.approx(np.maximum(normalized(plain, (1, 2, 3)), 0), abs=1e-4)
    batch = run(made(path, Change("insert-normalization", name, "batch_norm")), x=x)[0]
    assert batch == pytest.approx(np.maximum(plain / np.sqrt(1 + 1e-5), 0), abs=1e-4)
    done = fixed(path, Change("insert-normalization", name, "layer_norm"))[1]
    assert "last axis" in done.refused[0].reason


def test_a_batch_norm_in_a_training_form_is_in_training_form(tmp_path: Path) -> None:
    path = convolutional(tmp_path / "net.onnx", training=True)
    out = made(path, Change("insert-normalization", layer_of(path, "conv"), "batch_norm"))
    node = next(node for node in onnx.load(out).graph.node if node.op_type == "BatchNormalization")
    assert len(node.output) == 3
    assert [item.i for item in node.attribute if item.name == "training_mode"] == [1]
    run(out)


@pytest.mark.parametrize("spelling", ["Gemm", "MatMul"])
def test_a_bias_is_taken_out(tmp_path: Path, spelling: str) -> None:
    path = saved(perceptron((6, 8), spelling=spelling), tmp_path / "net.onnx")
    before, bias = run(path, x=INPUT)[0], weights(path)["fc0.bias"]
    out = made(path, Change("drop-bias", layer_of(path, "linear")))
    assert run(out, x=INPUT)[0] == pytest.approx(before - bias, abs=1e-5)
    assert "fc0.bias" not in weights(out)
    assert "bias" not in load_onnx(str(out)).layers[0].parameters


def test_the_bias_of_a_convolution(tmp_path: Path) -> None:
    path = convolutional(tmp_path / "net.onnx")
    out = made(path, Change("drop-bias", layer_of(path, "conv")))
    assert "c.bias" not in weights(out)
    run(out)


def test_a_branch_is_scaled(tmp_path: Path) -> None:
    path = saved(perceptron((6, 8)), tmp_path / "net.onnx")
    out = made(path, Change("scale-branch", layer_of(path, "linear"), "", 0.25))
    assert run(out, x=INPUT)[0] == pytest.approx(0.25 * run(path, x=INPUT)[0], abs=1e-6)


def test_a_layer_is_dropped(tmp_path: Path) -> None:
    path = saved(perceptron(), tmp_path / "net.onnx")
    out = made(path, Change("drop-layer", layer_of(path, "relu")))
    assert run(out, x=INPUT)[0] == pytest.approx(forward(path, lambda x: x), abs=1e-5)
    done = fixed(path, Change("drop-layer", layer_of(path, "linear")))[1]
    assert "another shape" in done.refused[0].reason


def test_what_stays_is_byte_for_byte_what_it_was(tmp_path: Path) -> None:
    path = saved(perceptron((6, 8, 8, 8, 5)), tmp_path / "net.onnx")
    out = made(path, Change("swap-activation", layer_of(path, "relu", 1), "gelu"))
    old, new = onnx.load(path), onnx.load(out)
    kept = [node.SerializeToString() for node in old.graph.node if node.op_type == "Gemm" or "fc1" not in node.name]
    present = [node.SerializeToString() for node in new.graph.node]
    assert [node for node in present if node in kept] == kept
    assert [item.SerializeToString() for item in old.graph.initializer] == [
        item.SerializeToString() for item in new.graph.initializer if "fc" in item.name and "." in item.name and "/" not in item.name and item.name.endswith(("weight", "bias"))
    ]  # fmt: skip


def dropout_net(path: Path, *, between: bool = False) -> str:
    stored = {name: np.ones(4) * number for name, number in (("s", 1.0), ("b", 0.5), ("m", 0.1), ("v", 2.0))}
    nodes = [helper.make_node("Relu", ["x"], ["r"]), helper.make_node("Dropout", ["r", "p", "t"], ["d"], name="drop")]
    if between:
        nodes.append(helper.make_node("Tanh", ["d"], ["d2"]))
    nodes += [
        helper.make_node("BatchNormalization", ["d2" if between else "d", "s", "b", "m", "v"], ["n"], name="norm"),
        helper.make_node("Sigmoid", ["n"], ["y"]),
    ]
    made = model(nodes, stored, [value("x", "N", 4)], [value("y", "N", 4)], value_info=[value("d", "N", 4)])
    made.graph.initializer.append(helper.make_tensor("p", onnx.TensorProto.FLOAT, (), [0.5]))
    made.graph.initializer.append(helper.make_tensor("t", onnx.TensorProto.BOOL, (), [True]))
    return saved(made, path)


@pytest.mark.parametrize("between", [False, True])
def test_a_dropout_moves_behind_the_normalization(tmp_path: Path, between: bool) -> None:
    path = dropout_net(tmp_path / "net.onnx", between=between)
    out = made(path, Change("move-dropout", layer_of(path, "dropout")))
    order = [op for op in ops(out) if op != "Tanh"]
    assert order == ["Relu", "BatchNormalization", "Dropout", "Sigmoid"]
    x = INPUT[:, :4]  # onnxruntime drops nothing when it infers
    assert run(out, x=x)[0] == pytest.approx(run(path, x=x)[0], abs=1e-6)
    layers = [layer.op.value for layer in load_onnx(str(out)).layers if layer.op != "tanh"]
    assert layers == ["relu", "batch_norm", "dropout", "sigmoid"]


def test_a_dropout_that_two_layers_read_stays(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Dropout", ["x", "p", "t"], ["d"]),
        helper.make_node("Add", ["d", "d"], ["e"]),
        helper.make_node("Mul", ["e", "d"], ["y"]),
    ]
    net = model(nodes, {}, [value("x", "N", 4)], [value("y", "N", 4)])
    net.graph.initializer.append(helper.make_tensor("p", onnx.TensorProto.FLOAT, (), [0.5]))
    net.graph.initializer.append(helper.make_tensor("t", onnx.TensorProto.BOOL, (), [True]))
    path = saved(net, tmp_path / "net.onnx")
    assert fixed(path, Change("move-dropout", layer_of(path, "dropout")))[1].refused


def test_the_rate_of_a_dropout(tmp_path: Path) -> None:
    path = dropout_net(tmp_path / "net.onnx")
    out = made(path, Change("dropout-rate", layer_of(path, "dropout"), "", 0.125))
    layer = next(layer for layer in load_onnx(str(out)).layers if layer.op == "dropout")
    assert layer.attributes["p"] == pytest.approx(0.125)
    assert "p" not in weights(out)


def test_an_epsilon_in_an_attribute_and_in_an_addition(tmp_path: Path) -> None:
    for opset in (12, 17):
        net = saved(perceptron((6, 8), opset=opset), tmp_path / f"net{opset}.onnx")
        first = made(net, Change("insert-normalization", layer_of(net, "linear"), "layer_norm"))
        first.rename(path := tmp_path / f"norm{opset}.onnx")
        out = made(str(path), Change("epsilon", layer_of(str(path), "layer_norm"), "", 0.01))
        layer = next(layer for layer in load_onnx(str(out)).layers if layer.op == "layer_norm")
        assert layer.attributes["eps"] == pytest.approx(0.01)
        run(out)


def test_a_softmax_over_another_axis(tmp_path: Path) -> None:
    node = helper.make_node("Softmax", ["x"], ["y"], axis=0)
    path = saved(model([node], {}, [value("x", 7, 6)], [value("y", 7, 6)]), tmp_path / "net.onnx")
    out = made(path, Change("softmax-axis", layer_of(path, "softmax"), "", 1))
    assert run(out, x=INPUT)[0] == pytest.approx(softmax(INPUT), abs=1e-6)


@pytest.mark.parametrize(
    ("op", "formula"), [("Log", lambda x: np.log(np.maximum(x, 0.5))), ("Sqrt", lambda x: np.sqrt(np.maximum(x, 0.5))),
                        ("Reciprocal", lambda x: 1 / np.where(x < 0, np.minimum(x, -0.5), np.maximum(x, 0.5)))],
)  # fmt: skip
def test_a_guard(tmp_path: Path, op: str, formula: Callable[[Array], Array]) -> None:
    path = saved(
        model([helper.make_node(op, ["x"], ["y"])], {}, [value("x", 7, 6)], [value("y", 7, 6)]), tmp_path / "net.onnx"
    )
    out = made(path, Change("guard", layer_of(path, op.lower()), "", 0.5))
    assert run(out, x=INPUT)[0] == pytest.approx(formula(INPUT), abs=1e-6)


def test_a_divisor_is_guarded(tmp_path: Path) -> None:
    node = helper.make_node("Div", ["a", "b"], ["y"])
    path = saved(model([node], {}, [value("a", 7, 6), value("b", 7, 6)], [value("y", 7, 6)]), tmp_path / "net.onnx")
    out = made(path, Change("guard", layer_of(path, "div"), "", 0.5))
    divisor = np.where(INPUT < 0, np.minimum(INPUT, -0.5), np.maximum(INPUT, 0.5))
    assert run(out, a=np.ones((7, 6), np.float32), b=INPUT)[0] == pytest.approx(1 / divisor, abs=1e-6)


def test_layers_inside_functions_and_bodies_are_refused(tmp_path: Path) -> None:
    function = helper.make_function(
        "my", "Block", ["a"], ["b"], [helper.make_node("Relu", ["a"], ["c"], name="inner"), helper.make_node("Tanh", ["c"], ["b"])],
        [helper.make_opsetid("", 17)],
    )  # fmt: skip
    net = model([helper.make_node("Block", ["x"], ["y"], domain="my")], {}, [value("x", "N", 4)], [value("y", "N", 4)])
    net.functions.append(function)
    net.opset_import.append(helper.make_opsetid("my", 1))
    path = saved(net, tmp_path / "net.onnx")
    done = fixed(path, Change("swap-activation", layer_of(path, "relu"), "tanh"))[1]
    assert "function" in done.refused[0].reason


def test_values_that_a_body_of_control_flow_reads_stay(tmp_path: Path) -> None:
    """The branch reads `r` from around it: what gives `r` under its name must not go."""
    branch = helper.make_graph([helper.make_node("Neg", ["r"], ["n"])], "then", [], [value("n", "N", 4)])
    other = helper.make_graph([helper.make_node("Identity", ["r"], ["i"])], "else", [], [value("i", "N", 4)])
    nodes = [
        helper.make_node("Relu", ["x"], ["r"]),
        helper.make_node("If", ["c"], ["y"], then_branch=branch, else_branch=other),
    ]
    net = model(
        nodes,
        {},
        [value("x", "N", 4), helper.make_tensor_value_info("c", onnx.TensorProto.BOOL, [])],
        [value("y", "N", 4)],
    )
    path = saved(net, tmp_path / "net.onnx")
    out = made(path, Change("swap-activation", layer_of(path, "relu"), "tanh"))
    x = INPUT[:, :4]
    assert run(out, x=x, c=np.asarray(True))[0] == pytest.approx(-np.tanh(x), abs=1e-6)
