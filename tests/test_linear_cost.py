"""An audit of four times as many nodes makes about four times as many function calls, whatever the shape of the graph: calls can be counted
on a busy machine, seconds cannot."""

from __future__ import annotations

import cProfile
import pstats
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from trainaudit.auditing import audit_file, chosen_rules
from trainaudit.settings import Settings

WIDTH = 16
SMALL, LARGE = 300, 1200


class Net:
    """Nodes over values of shape (n, 16), a few weights shared by all layers."""

    def __init__(self) -> None:
        random = np.random.default_rng(0)
        scale = np.float32(WIDTH**-0.5)
        self.weights = [random.standard_normal((WIDTH, WIDTH), np.float32) * scale for _ in range(8)]
        self.nodes: list[onnx.NodeProto] = []

    def node(self, op: str, *inputs: str, **attributes: object) -> str:
        output = f"v{len(self.nodes)}"
        self.nodes.append(
            helper.make_node(op, list(inputs), [output], name=f"/blocks.{len(self.nodes)}/{op}", **attributes)
        )
        return output

    def linear(self, x: str) -> str:
        return self.node("MatMul", x, f"w{len(self.nodes) % len(self.weights)}")

    def save(self, path: Path, *outputs: str) -> None:
        values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs]
        tensors = [numpy_helper.from_array(weight, f"w{k}") for k, weight in enumerate(self.weights)]
        tensors += [numpy_helper.from_array(np.ones(WIDTH, np.float32), name) for name in ("scale", "shift")]
        x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", WIDTH])
        graph = helper.make_graph(self.nodes, "g", [x], values, tensors)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
        model.ir_version = 8
        onnx.save(model, path)


def residual(path: Path, count: int) -> None:
    net, x = Net(), "x"
    while len(net.nodes) < count:
        h = net.node("LayerNormalization", x, "scale", "shift")
        x = net.node("Add", x, net.node("Relu", net.linear(h)))
    net.save(path, x)


def plain(path: Path, count: int) -> None:
    net, x = Net(), "x"
    while len(net.nodes) < count:
        x = net.node("Tanh", net.linear(x))
    net.save(path, x)


def densely_read(path: Path, count: int) -> None:
    """All branches read one value, and one sum reads all branches."""
    net = Net()
    stem = net.node("Relu", net.linear("x"))
    branches = [net.node("Sigmoid", net.linear(stem)) for _ in range(count // 2)]
    net.save(path, net.linear(net.node("Sum", *branches)))


def many_outputs(path: Path, count: int) -> None:
    net = Net()
    stem = net.node("Relu", net.linear("x"))
    net.save(path, *[net.node("Softmax", net.linear(stem), axis=-1) for _ in range(count // 2)])


def gated(path: Path, count: int) -> None:
    """Activation functions written out, each on the stream that all the later ones read."""
    net, x = Net(), "x"
    while len(net.nodes) < count:
        h = net.linear(x)
        x = net.node("Add", x, net.node("Mul", h, net.node("Sigmoid", h)))
    net.save(path, x)


SHAPES: tuple[Callable[[Path, int], None], ...] = (residual, plain, densely_read, many_outputs, gated)


def calls(path: Path) -> int:
    settings = Settings()
    rules = chosen_rules(settings)
    profile = cProfile.Profile()
    profile.runcall(audit_file, str(path), settings, rules, detail=True)
    return int(pstats.Stats(profile).total_calls)  # type: ignore[attr-defined]


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.__name__)
def test_calls_grow_no_faster_than_nodes(shape: Callable[[Path, int], None], tmp_path: Path) -> None:
    small, large = tmp_path / "small.onnx", tmp_path / "large.onnx"
    shape(small, SMALL)
    shape(large, LARGE)
    calls(small)  # imports, and what is worked out once per process
    assert calls(large) < 1.15 * (LARGE / SMALL) * calls(small)
