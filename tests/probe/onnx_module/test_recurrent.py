"""RNN, GRU and LSTM with their attributes: torch's kernels and the loop over time, against onnxruntime and against each other."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("onnxruntime")

import torch
from onnx import TensorProto, helper, numpy_helper, save

from trainaudit.probe.onnx_module import Converted, convert

GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}
TIME, BATCH, SIZE, HIDDEN = 5, 3, 4, 2

CASES = {
    "plain": {},
    "clipped": {"clip": 2.0},
    "lengths": {"lengths": [5, 2, 3]},
    "initial": {"initial": True},
    "hard": {"activations": {"RNN": ["Affine"], "GRU": ["HardSigmoid", "Softsign"], "LSTM": ["HardSigmoid", "Elu", "Softsign"]}},
    "peepholes": {"peepholes": True},
    "coupled": {"input_forget": 1},
    "reset before": {"linear_before_reset": 1},
    "no bias": {"bias": False},
}  # fmt: skip


def made(folder: Path, kind: str, direction: str, case: dict[str, object]) -> Converted:
    """One recurrent layer with random weights."""
    generator = np.random.default_rng(0)
    count, rows = (2 if direction == "bidirectional" else 1), GATES[kind] * HIDDEN
    stored = {"W": (count, rows, SIZE), "R": (count, rows, HIDDEN)}
    if case.get("bias", True):
        stored["B"] = (count, 2 * rows)
    if case.get("initial"):
        stored["h"] = (count, BATCH, HIDDEN)
        if kind == "LSTM":
            stored["c"] = (count, BATCH, HIDDEN)
    if case.get("peepholes"):
        stored["P"] = (count, 3 * HIDDEN)
    tensors = [
        numpy_helper.from_array(generator.normal(size=shape).astype(np.float32), name) for name, shape in stored.items()
    ]
    if "lengths" in case:
        tensors.append(numpy_helper.from_array(np.array(case["lengths"], np.int32), "lengths"))
    names = {tensor.name for tensor in tensors}
    inputs = ["x", *(name if name in names else "" for name in ("W", "R", "B", "lengths", "h", "c", "P"))]
    inputs = inputs if kind == "LSTM" else inputs[:6]
    attributes = {name: case[name] for name in ("clip", "input_forget", "linear_before_reset") if name in case}
    if "activations" in case:
        attributes["activations"] = case["activations"][kind] * count
        if kind == "RNN":
            attributes |= {"activation_alpha": [0.5] * count, "activation_beta": [0.1] * count}
    outputs = ["y", "y_h", "y_c"][: 3 if kind == "LSTM" else 2]
    node = helper.make_node(kind, inputs, outputs, direction=direction, hidden_size=HIDDEN, **attributes)
    graph = helper.make_graph(
        [node], "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, [TIME, BATCH, SIZE])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs], tensors,
    )  # fmt: skip
    path = str(folder / "recurrent.onnx")
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=9), path)
    return convert(path, training=False, is_own=True)


def _fits(kind: str, case: str) -> bool:
    only = {"peepholes": "LSTM", "coupled": "LSTM", "reset before": "GRU"}
    return only.get(case, kind) == kind


@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize(("kind", "case"), [(kind, case) for kind in GATES for case in CASES if _fits(kind, case)])
def test_agrees_with_onnxruntime(kind: str, case: str, direction: str, tmp_path: Path) -> None:
    result = made(tmp_path, kind, direction, CASES[case])
    assert result.unchecked == ""
    assert result.error is not None
    assert result.error < 1e-5
    sum(value.sum() for value in result.module(torch.randn(TIME, BATCH, SIZE))).backward()
    assert {"W", "R"} <= {name for name, one in result.module.named_parameters() if bool(one.grad.any())}


@pytest.mark.parametrize("kind", GATES)
def test_torch_s_kernel_and_the_loop_over_time_have_the_same_gradients(kind: str, tmp_path: Path) -> None:
    """A clip that nothing reaches turns torch's kernel off and changes no value."""
    gradients = []
    for case in ({"linear_before_reset": 1}, {"linear_before_reset": 1, "clip": 1e6}):
        module = made(
            tmp_path, kind, "bidirectional", case if kind == "GRU" else {"clip": case["clip"]} if "clip" in case else {}
        ).module
        x = torch.randn(TIME, BATCH, SIZE, generator=torch.Generator().manual_seed(0), requires_grad=True)
        sum(value.square().sum() for value in module(x)).backward()
        gradients.append([x.grad, *(one.grad for one in module.parameters())])
    for fused, looped in zip(*gradients, strict=True):
        assert torch.allclose(fused, looped, rtol=1e-4, atol=1e-5)
