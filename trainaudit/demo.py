"""Builds the two models of `trainaudit demo`: a small image classifier with seven faults, and the same one repaired.

The only room beside the loader that may import onnx (inside its function): it writes files, and reads none.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

LOSS = "cross-entropy"
"""What the demo declares as its loss: it expects logits."""

PROBE_SECONDS = 20
"""Time budget of each of the two, where they are probed too."""

Array = npt.NDArray[np.float32]


def build(folder: Path) -> tuple[Path, Path]:
    """Write `faulty.onnx` and `repaired.onnx` into an existing folder and return their paths.

    Both take images of 1×28×28 and tell ten classes apart. The weights are drawn with a fixed seed.
    """
    faulty, repaired = folder / "faulty.onnx", folder / "repaired.onnx"
    _save(faulty, is_faulty=True)
    _save(repaired, is_faulty=False)
    return faulty, repaired


def _kaiming_uniform(random: np.random.Generator, *shape: int) -> Array:
    """U(±√(6 / fan_in)), for a layer that a ReLU follows (He et al. 2015)."""
    bound = (6.0 / float(np.prod(shape[1:]))) ** 0.5
    return random.uniform(-bound, bound, shape).astype(np.float32)


def _save(path: Path, *, is_faulty: bool) -> None:
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    random = np.random.default_rng(2019)
    tensors: list[Any] = []
    nodes: list[Any] = []
    current = "image"

    def store(name: str, values: Array) -> str:
        tensors.append(numpy_helper.from_array(values, name))
        return name

    def add(op: str, module: str, *inputs: str, **attributes: Any) -> None:
        nonlocal current
        output = f"/{module}/{op}_output_0"
        nodes.append(helper.make_node(op, [current, *inputs], [output], name=f"/{module}/{op}", **attributes))
        current = output

    def convolution(module: str, channels: int, out: int, *, bias: bool) -> None:
        weight = store(f"{module}.weight", _kaiming_uniform(random, out, channels, 3, 3))
        extra = [store(f"{module}.bias", np.zeros(out, np.float32))] if bias else []
        add("Conv", module, weight, *extra, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])

    def batch_norm(module: str, channels: int) -> None:
        ones, zeros = np.ones(channels, np.float32), np.zeros(channels, np.float32)
        names = [
            store(f"{module}.weight", ones),
            store(f"{module}.bias", zeros),
            store(f"{module}.running_mean", zeros),
            store(f"{module}.running_var", ones),
        ]
        add("BatchNormalization", module, *names, epsilon=1e-5)

    def linear(module: str, features: int, out: int, *, constant: bool = False) -> None:
        weight = np.full((out, features), 0.05, np.float32) if constant else _kaiming_uniform(random, out, features)
        names = [store(f"{module}.weight", weight), store(f"{module}.bias", np.zeros(out, np.float32))]
        add("Gemm", module, *names, transB=1)

    def dropout(module: str, p: float) -> None:
        add("Dropout", module, store(f"{module}.p", np.float32(p)), store(f"{module}.training", np.bool_(True)))  # type: ignore[arg-type]

    convolution("stem.conv1", 1, 32, bias=is_faulty)  # a bias straight before BatchNorm has no effect
    batch_norm("stem.bn1", 32)
    add("Relu", "stem.relu1")
    convolution("stem.conv2", 32, 64, bias=False)
    batch_norm("stem.bn2", 64)
    add("Relu", "stem.relu2")
    if not is_faulty:
        add("GlobalAveragePool", "pool")
    add("Flatten", "flatten")
    # faulty: most of the parameters sit here, and every unit is the same and stays so
    linear("classifier.fc1", 64 * 7 * 7 if is_faulty else 64, 128, constant=is_faulty)
    if not is_faulty:
        add("Relu", "classifier.relu1")
    linear("classifier.fc2", 128, 128)  # faulty: two linear layers in a row are one
    add("Relu", "classifier.relu2")
    dropout("classifier.dropout", 0.9 if is_faulty else 0.3)
    linear("classifier.fc3", 128, 10)
    if is_faulty:
        dropout("classifier.dropout_out", 0.5)  # noise on the logits
        add("Softmax", "classifier.softmax", axis=1)  # the declared loss applies its own

    current = nodes[-1].output[0] = "probabilities" if is_faulty else "logits"
    inputs = [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", 1, 28, 28])]
    outputs = [helper.make_tensor_value_info(current, TensorProto.FLOAT, ["N", 10])]
    graph = helper.make_graph(nodes, "digits", inputs, outputs, tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], producer_name="trainaudit-demo")
    model.ir_version = 8
    path.write_bytes(model.SerializeToString())
    onnx.checker.check_model(model)
