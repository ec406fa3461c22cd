"""The onnx package's own tests, tried on `trainaudit.probe.onnx_module`: each converted, run on its stored inputs, held against its outputs."""

from __future__ import annotations

import dataclasses
import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx.backend.test.case.test_case import TestCase
from onnx.backend.test.loader import load_model_tests

from trainaudit.errors import TrainauditError
from trainaudit.probe.onnx_module import Converted, convert
from trainaudit.probe.onnx_module.casting import RANDOM

_FLOAT = onnx.TensorProto.FLOAT


@dataclass(frozen=True, slots=True)
class Node:
    """What became of one node test: "passed", "refused", "random" or "wrong". `refusal` is the operator or the error's slug."""

    name: str
    is_float: bool
    state: str
    is_checked: bool = False
    refusal: str = ""


def node_tests() -> list[TestCase]:
    """The tests of the installed onnx package, in their order."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return load_model_tests(kind="node")


def stored_tests() -> Iterator[TestCase]:
    """The models that the package stores as files: of PyTorch's first exporter (opset 6 to 9), and a few others."""
    for kind in ("simple", "pytorch-operator", "pytorch-converted"):
        for test in load_model_tests(kind=kind):
            folder = Path(test.model_dir)
            model = onnx.load(folder / "model.onnx")
            stored = {tensor.name for tensor in model.graph.initializer}
            inputs = [value for value in model.graph.input if value.name not in stored]
            sets = [
                tuple(
                    [_stored(one / f"{side}_{place}.pb", value) for place, value in enumerate(values)]
                    for side, values in (("input", inputs), ("output", model.graph.output))
                )
                for one in sorted(folder.glob("test_data_set_*"))
            ]
            yield dataclasses.replace(test, model=model, data_sets=sets)


def _stored(path: Path, value: onnx.ValueInfoProto) -> Any:
    if value.type.HasField("sequence_type"):
        return onnx.numpy_helper.to_list(onnx.SequenceProto.FromString(path.read_bytes()))
    return onnx.TensorProto.FromString(path.read_bytes())


def try_node(test: TestCase, folder: Path) -> Node:
    """Convert and run one test."""
    model = test.model
    kinds = {value.type.tensor_type.elem_type for value in (*model.graph.input, *model.graph.output)}
    is_float = _FLOAT in kinds
    path = folder / "node.onnx"
    path.write_bytes(model.SerializeToString())
    try:
        converted = convert(str(path), is_own=True)
    except TrainauditError as error:
        said = error.slug
        if said == "unsupported-operator":
            said = error.what.partition("torch module: ")[2].rstrip(".").partition(";")[0].partition(" in '")[0]
        return Node(test.name, is_float, "refused", refusal=said)
    is_checked = converted.error is not None
    if _draws(test):
        return Node(test.name, is_float, "random", is_checked)
    converted.module.train(_says_training(model))
    state = "passed" if all(_agrees(converted, *one, test) for one in test.data_sets) else "wrong"
    return Node(test.name, is_float, state, is_checked)


def _draws(test: TestCase) -> bool:
    """Whether the test compares draws: a drawing operator, or a Dropout that is told to train with a ratio."""
    values = dict(zip((value.name for value in test.model.graph.input), test.data_sets[0][0], strict=False))
    for node in test.model.graph.node:
        if node.op_type == "Constant" and node.attribute and node.attribute[0].HasField("t"):
            values[node.output[0]] = onnx.numpy_helper.to_array(node.attribute[0].t)
    drops = any(
        node.op_type == "Dropout"
        and len(node.input) > 2
        and np.any(values.get(node.input[2]))
        and np.any(values.get(node.input[1], 1))
        for node in test.model.graph.node
    )
    return drops or any(node.op_type in RANDOM for node in test.model.graph.node)


def _says_training(model: onnx.ModelProto) -> bool:
    return any(
        node.op_type == "BatchNormalization" and any(one.name == "training_mode" and one.i for one in node.attribute)
        for node in model.graph.node
    )


def _agrees(converted: Converted, inputs: list[Any], outputs: list[Any], test: TestCase) -> bool:
    try:
        with torch.no_grad():
            mine = converted.module(*map(to_torch, inputs))
    except Exception:  # whatever torch raises, the test is not passed
        return False
    return len(mine) == len(outputs) and all(map(lambda one, other: _equal(one, other, test), mine, outputs))


def _equal(mine: Any, expected: Any, test: TestCase) -> bool:
    if isinstance(expected, list):
        return (
            isinstance(mine, list)
            and len(mine) == len(expected)
            and all(map(lambda one, other: _equal(one, other, test), mine, expected))
        )
    if expected is None or mine is None:
        return mine is None and expected is None
    other = to_torch(expected)
    if mine.dtype is not other.dtype or mine.shape != other.shape:
        return False
    coarse = 1e-2 if other.dtype in (torch.float16, torch.bfloat16) else 0.0
    wide = torch.complex128 if other.is_complex() else torch.float64
    finite = other.to(wide).abs().nan_to_num(0.0, 0.0)
    rounding = (
        1e-6 * float(finite.max()) if finite.numel() else 0.0
    )  # of sums that cancel: an inverse transform's zeros
    near = {"rtol": max(test.rtol, coarse), "atol": max(test.atol, coarse, rounding)}
    return torch.allclose(mine.to(wide), other.to(wide), **near, equal_nan=True)


def to_torch(value: Any) -> Any:
    """A test's stored value: an array, a message, a list of them, or nothing."""
    if value is None:
        return None
    if isinstance(value, list):
        return [to_torch(item) for item in value]
    array = np.array(onnx.numpy_helper.to_array(value) if isinstance(value, onnx.TensorProto) else value)
    if array.dtype.name.startswith(("bfloat16", "float8")):
        return torch.from_numpy(array.view(f"u{array.itemsize}").copy()).view(getattr(torch, array.dtype.name))
    return torch.from_numpy(array)


def node_table(nodes: list[Node]) -> str:
    """Totals, then what was refused."""
    lines = ["| | all | float |", "|---|---|---|"]
    rows = (
        ("tests", lambda node: bool(node.name)),
        ("passed", lambda node: node.state == "passed"),
        ("… and held against onnxruntime before", lambda node: node.state == "passed" and node.is_checked),
        ("refused, with the reason", lambda node: node.state == "refused"),
        ("compare a draw with another generator's", lambda node: node.state == "random"),
        ("**wrong, and reported as converted**", lambda node: node.state == "wrong"),
    )
    for words, belongs in rows:
        found = [node for node in nodes if belongs(node)]
        lines.append(f"| {words} | {len(found):,} | {sum(node.is_float for node in found):,} |")
    wrong = [node.name for node in nodes if node.state == "wrong"]
    if wrong:
        lines += ["", f"Wrong: {', '.join(wrong)}."]
    refused = Counter(node.refusal for node in nodes if node.state == "refused")
    lines += ["", "Refused: " + "; ".join(f"{what} {count}" for what, count in refused.most_common()) + "."]
    return "\n".join(lines)
