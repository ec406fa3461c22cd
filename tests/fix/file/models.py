"""Small ONNX models whose weights are stored in every way that files know, and what onnxruntime makes of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

Array = np.ndarray[Any, Any]
FLOAT, HALF, BRAIN, DOUBLE = TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE


def tensor(name: str, values: Array, kind: int = FLOAT, storage: str = "raw") -> Any:
    """A TensorProto in raw_data, or ("typed") in the field of its type."""
    if storage == "raw":
        made = helper.make_tensor(name, kind, values.shape, values.astype(np.float32).reshape(-1).tolist())
        if made.HasField("raw_data"):
            return made
        stored = numpy_helper.to_array(made)
        raw = stored.view(np.uint16) if kind == BRAIN else stored
        return TensorProto(name=name, data_type=kind, dims=values.shape, raw_data=np.ascontiguousarray(raw).tobytes())
    return helper.make_tensor(name, kind, values.shape, values.astype(np.float32).reshape(-1).tolist())


def value(name: str, *shape: int | str, kind: int = FLOAT) -> Any:
    return helper.make_tensor_value_info(name, kind, shape)


def model(
    nodes: Sequence[Any],
    weights: Mapping[str, Array] | Sequence[Any],
    inputs: Sequence[Any],
    outputs: Sequence[Any],
    opset: int = 17,
    ir_version: int = 8,
    **graph: Any,
) -> Any:
    stored = [tensor(name, array) for name, array in weights.items()] if isinstance(weights, Mapping) else list(weights)
    made = helper.make_graph(list(nodes), "net", list(inputs), list(outputs), stored, **graph)
    return helper.make_model(
        made, opset_imports=[helper.make_opsetid("", opset)], ir_version=ir_version, producer_name="tests"
    )


def perceptron(
    widths: Sequence[int] = (6, 8, 5), *, spelling: str = "Gemm", activation: str = "Relu", kind: int = FLOAT, storage: str = "raw",
    opset: int = 17, ir_version: int = 8, seed: int = 0,
) -> Any:  # fmt: skip
    """Linear layers fc0, fc1 … with an activation function between them."""
    random = np.random.default_rng(seed)
    nodes, weights, current = [], [], "x"
    for place, (incoming, outgoing) in enumerate(pairwise(widths)):
        name = f"fc{place}"
        shape = (outgoing, incoming) if spelling == "Gemm" else (incoming, outgoing)
        weights.append(tensor(f"{name}.weight", random.normal(size=shape), kind, storage))
        weights.append(tensor(f"{name}.bias", random.normal(size=outgoing), kind, storage))
        last = place == len(widths) - 2
        result = "y" if last else f"{name}.out"
        if spelling == "Gemm":
            nodes.append(
                helper.make_node("Gemm", [current, f"{name}.weight", f"{name}.bias"], [result], name=name, transB=1)
            )
        else:
            nodes.append(helper.make_node("MatMul", [current, f"{name}.weight"], [f"{name}.product"], name=name))
            nodes.append(helper.make_node("Add", [f"{name}.product", f"{name}.bias"], [result], name=f"{name}/Add"))
        current = result
        if not last:
            nodes.append(helper.make_node(activation, [result], [f"{name}.active"], name=f"{name}/{activation}"))
            current = f"{name}.active"
    inputs, outputs = [value("x", "N", widths[0], kind=kind)], [value("y", "N", widths[-1], kind=kind)]
    if ir_version < 4:
        inputs += [helper.make_tensor_value_info(item.name, item.data_type, item.dims) for item in weights]
    return model(nodes, weights, inputs, outputs, opset, ir_version)


def saved(made: Any, path: Path, *, external: bool = False) -> str:
    if external:
        onnx.save(made, path, save_as_external_data=True, location=f"{path.name}.data", size_threshold=0)
    else:
        onnx.save(made, path)
    return str(path)


def run(path: str | Path, **feeds: Array) -> list[Array]:
    """The outputs of the model at `path`, which must pass the checker; inputs that are not given are drawn."""
    ort = pytest.importorskip("onnxruntime")
    onnx.checker.check_model(str(path))
    options = ort.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 3, 1
    session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    for item in session.get_inputs():
        shape = [size if isinstance(size, int) else 3 for size in item.shape]
        feeds.setdefault(item.name, np.random.default_rng(1).normal(size=shape).astype(np.float32))
    made: list[Array] = session.run(None, feeds)
    return made


def weights(path: str | Path) -> dict[str, Array]:
    """Initializers by name, as float64."""
    loaded = onnx.load(str(path))
    return {item.name: _numbers(item) for item in loaded.graph.initializer}


def _numbers(item: Any) -> Array:
    array = numpy_helper.to_array(item)
    if item.data_type == BRAIN and array.dtype == np.uint16:
        array = (array.astype(np.uint32) << 16).view(np.float32)
    return array.astype(np.float64)


def notes(path: str | Path) -> list[str]:
    """What the metadata say of fixes."""
    loaded = onnx.load(str(path), load_external_data=False)
    return [entry.value for entry in loaded.metadata_props if entry.key.startswith("trainaudit.fix.")]
