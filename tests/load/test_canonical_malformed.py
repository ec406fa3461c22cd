"""Models that fit no operator's signature: every one becomes a sound graph or one clear sentence, quickly."""

from __future__ import annotations

import cProfile
import pstats
import random
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.load.canonical_models import loaded, ops
from tests.load.test_canonical_operators import node_cases
from trainaudit.errors import TrainauditError
from trainaudit.ir.verify import verify
from trainaudit.load.from_onnx import load_onnx

ODD = (-1, 0, 1, 2, 7, -100, 100, 2**31, -(2**31))
KINDS = [
    "Softmax",
    "MatMul",
    "Add",
    "Mul",
    "Reshape",
    "Transpose",
    "Split",
    "Gather",
    "LayerNormalization",
    "Conv",
    "LSTM",
    "Einsum",
    "Clip",
    "Where",
    "Dropout",
    "BatchNormalization",
    "GroupNormalization",
    "Attention",
    "QuantizeLinear",
    "DequantizeLinear",
    "Pow",
    "ReduceMean",
    "Concat",
    "Slice",
    "Shape",
    "ConstantOfShape",
    "Expand",
    "Cast",
    "Less",
    "Sqrt",
    "Identity",
    "InstanceNormalization",
    "ReduceL2",
    "Exp",
    "Max",
    "Sum",
    "PRelu",
    "Unsqueeze",
]


def spoil(model: Any, dice: random.Random) -> None:
    """Change one node or tensor: an operator, an input, an output, an attribute or a shape."""
    graph = model.graph
    node = dice.choice(graph.node)
    match dice.randrange(8):
        case 0 if node.input:
            node.input[dice.randrange(len(node.input))] = ""
        case 1 if node.input:
            del node.input[dice.randrange(len(node.input)) :]
        case 2 if node.attribute:
            attribute = dice.choice(node.attribute)
            if attribute.type == onnx.AttributeProto.INT:
                attribute.i = dice.choice(ODD)
            elif attribute.type == onnx.AttributeProto.INTS:
                attribute.ints.append(dice.choice(ODD))
            elif attribute.type == onnx.AttributeProto.FLOAT:
                attribute.f = dice.choice([0.0, float("nan"), float("inf"), -1e30])
            elif attribute.type == onnx.AttributeProto.STRING:
                attribute.s = dice.choice([b"", b"\xff", b"ij,jk->ik", b"a,b,c->", b"SAME_UPPER"])
        case 3 if node.attribute:
            node.attribute.remove(dice.choice(node.attribute))
        case 4 if node.input:
            other = dice.choice(graph.node)
            if other.input:
                node.input[dice.randrange(len(node.input))] = dice.choice(other.input)
        case 5:
            node.op_type = dice.choice(KINDS)
        case 6 if len(node.output) > 1:
            del node.output[-1]
        case _ if graph.initializer:
            tensor = dice.choice(graph.initializer)
            tensor.dims[:] = [*list(tensor.dims)[::-1], 1]


def test_spoilt_models_are_sound_or_refused(tmp_path: Path) -> None:
    dice = random.Random(0)
    models = [case.model.SerializeToString() for case in node_cases()]
    refused = understood = 0
    path = tmp_path / "model.onnx"
    for _ in range(800):
        model = onnx.ModelProto.FromString(dice.choice(models))
        for _ in range(dice.randint(1, 4)):
            if model.graph.node:
                spoil(model, dice)
        path.write_bytes(model.SerializeToString())
        try:
            graph = load_onnx(str(path))
        except TrainauditError:
            refused += 1
            continue
        assert verify(graph) == ()
        for parameter in graph.parameters.values():
            if parameter.size < 10_000:
                assert parameter.data.read().shape == parameter.shape
        understood += 1
    assert understood > 400
    assert refused > 10


def chain(op: str, length: int, extra: tuple[str, ...] = (), **attributes: Any) -> list[Any]:
    names = ["x", *(f"v{step}" for step in range(length - 1)), "y"]
    return [helper.make_node(op, [names[step], *extra], [names[step + 1]], **attributes) for step in range(length)]


def model_of(nodes: list[Any], initializers: list[Any] | None = None) -> Any:
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)], initializers or [],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


SCALAR = numpy_helper.from_array(np.array(1.5, np.float32), "scalar")


@pytest.mark.parametrize(("op", "extra"), [
    ("Relu", ()), ("Sigmoid", ()), ("Exp", ()), ("Softmax", ()), ("Sqrt", ()), ("Neg", ()), ("Mul", ("scalar",)), ("Max", ("scalar",)), ("Clip", ("scalar",)),
])  # fmt: skip
def test_long_chains_are_read_without_recursion_and_in_linear_time(
    op: str, extra: tuple[str, ...], tmp_path: Path
) -> None:
    """Calls are counted, which nothing else on the machine changes; what is quadratic inside of one call takes many seconds for so many nodes."""

    def calls(length: int) -> int:
        model = model_of(chain(op, length, extra), [SCALAR])
        profile = cProfile.Profile()
        graph = profile.runcall(loaded, tmp_path, model)
        assert len(graph.layers) == length
        return int(pstats.Stats(profile).total_calls)

    calls(100)
    start = time.process_time()
    assert calls(8000) < 5 * calls(2000)
    assert time.process_time() - start < 10


def test_sums_that_double_are_not_walked_twice(tmp_path: Path) -> None:
    nodes = [helper.make_node("Add", ["x" if step == 0 else f"v{step - 1}"] * 2, [f"v{step}"]) for step in range(300)]
    nodes += [helper.make_node("Softmax", ["v299"], ["s"]), helper.make_node("MatMul", ["s", "x"], ["y"])]
    start = time.process_time()
    graph = loaded(tmp_path, model_of(nodes))
    assert time.process_time() - start < 2
    assert "softmax" in ops(graph)


def test_a_weight_behind_a_thousand_transposes(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Transpose", ["w" if step == 0 else f"t{step - 1}"], [f"t{step}"]) for step in range(1000)
    ]
    nodes.append(helper.make_node("MatMul", ["x", "t999"], ["y"]))
    weight = numpy_helper.from_array(np.eye(8, dtype=np.float32) * 2, "w")
    graph = loaded(tmp_path, model_of(nodes, [weight]))
    for parameter in graph.parameters.values():
        assert parameter.data.read().sum() == 16


def test_an_operator_without_its_inputs_is_of_unknown_kind(tmp_path: Path) -> None:
    model = model_of([helper.make_node("Conv", ["x"], ["y"])])
    graph = loaded(tmp_path, model)
    assert ops(graph) == ["other"]
    assert graph.unrecognized == (("Conv", 1),)
