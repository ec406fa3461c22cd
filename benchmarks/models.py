"""Builds the large model files that `benchmarks.speed` times. Needs numpy and onnx; weights are random, made once per folder.

python -m benchmarks.models FOLDER [NAME ...]
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper


class _Builder:
    """Nodes and initializers of one graph; `random` draws Kaiming-normal weights."""

    def __init__(self, seed: int) -> None:
        self.random = np.random.default_rng(seed)
        self.nodes: list[Any] = []
        self.tensors: list[Any] = []
        self.count = 0

    def weight(self, name: str, *shape: int, std: float | None = None) -> str:
        fan_in = int(np.prod(shape[1:])) if len(shape) > 2 else shape[0]
        scale = np.float32((2.0 / fan_in) ** 0.5 if std is None else std)
        values = self.random.standard_normal(shape, np.float32) * scale
        return self.tensor(name, values)

    def tensor(self, name: str, values: Any) -> str:
        self.tensors.append(numpy_helper.from_array(np.asarray(values), name))
        return name

    def node(self, op: str, *inputs: str, name: str = "", **attributes: Any) -> str:
        self.count += 1
        output = f"v{self.count}"
        self.nodes.append(helper.make_node(op, list(inputs), [output], name=name or f"{op}_{self.count}", **attributes))
        return output

    def save(self, path: Path, inputs: list[Any], output: str, shape: list[Any], kind: int = TensorProto.FLOAT) -> None:
        graph = helper.make_graph(
            self.nodes, path.stem, inputs, [helper.make_tensor_value_info(output, kind, shape)], self.tensors
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], producer_name="benchmark")
        model.ir_version = 8
        path.write_bytes(model.SerializeToString())


def resnet50(path: Path) -> None:
    """25.6 M parameters, 102 MB embedded."""
    b = _Builder(50)

    def convolution(x: str, channels: int, out: int, kernel: int, stride: int, name: str, *, act: bool) -> str:
        pad = kernel // 2
        x = b.node(
            "Conv", x, b.weight(f"{name}.weight", out, channels, kernel, kernel), name=f"/{name}/Conv",
            kernel_shape=[kernel, kernel], strides=[stride, stride], pads=[pad] * 4,
        )  # fmt: skip
        bn = name.replace("conv", "bn")
        names = [
            b.tensor(f"{bn}.{part}", np.full(out, value, np.float32))
            for part, value in (("weight", 1), ("bias", 0), ("running_mean", 0), ("running_var", 1))
        ]
        x = b.node("BatchNormalization", x, *names, name=f"/{bn}/BatchNormalization")
        return b.node("Relu", x) if act else x

    x = convolution("image", 3, 64, 7, 2, "conv1", act=True)
    x = b.node("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    channels = 64
    for stage, (width, blocks) in enumerate(((64, 3), (128, 4), (256, 6), (512, 3)), 1):
        for block in range(blocks):
            stride = 2 if stage > 1 and not block else 1
            name = f"layer{stage}.{block}"
            h = convolution(x, channels, width, 1, 1, f"{name}.conv1", act=True)
            h = convolution(h, width, width, 3, stride, f"{name}.conv2", act=True)
            h = convolution(h, width, 4 * width, 1, 1, f"{name}.conv3", act=False)
            skip = x if block else convolution(x, channels, 4 * width, 1, stride, f"{name}.downsample.conv", act=False)
            x = b.node("Relu", b.node("Add", h, skip))
            channels = 4 * width
    x = b.node("Flatten", b.node("GlobalAveragePool", x))
    x = b.node(
        "Gemm",
        x,
        b.weight("fc.weight", 1000, 2048, std=0.01),
        b.tensor("fc.bias", np.zeros(1000, np.float32)),
        transB=1,
    )
    b.save(path, [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", 3, 224, 224])], x, ["N", 1000])


def bert_base(path: Path) -> None:
    """109 M parameters, 438 MB embedded."""
    b = _Builder(12)
    width, heads = 768, 12

    def linear(x: str, inside: int, out: int, name: str) -> str:
        x = b.node("MatMul", x, b.weight(f"{name}.weight", inside, out, std=0.02), name=f"/{name}/MatMul")
        return b.node("Add", x, b.tensor(f"{name}.bias", np.zeros(out, np.float32)), name=f"/{name}/Add")

    def norm(x: str, name: str) -> str:
        scale = b.tensor(f"{name}.weight", np.ones(width, np.float32))
        shift = b.tensor(f"{name}.bias", np.zeros(width, np.float32))
        return b.node("LayerNormalization", x, scale, shift, name=f"/{name}/LayerNormalization", epsilon=1e-12)

    split = b.tensor("split", np.array([0, 0, heads, width // heads], np.int64))
    merge = b.tensor("merge", np.array([0, 0, width], np.int64))
    scale = b.tensor("scale", np.float32(8.0))
    x = b.node("Gather", b.weight("embeddings.word.weight", 30522, width, std=0.02), "ids")
    x = b.node("Add", x, b.weight("embeddings.position.weight", 512, width, std=0.02))
    x = norm(x, "embeddings.norm")
    for index in range(12):
        name = f"encoder.layer.{index}"
        heads_of = []
        for part, perm in (("query", [0, 2, 1, 3]), ("key", [0, 2, 3, 1]), ("value", [0, 2, 1, 3])):
            h = b.node("Reshape", linear(x, width, width, f"{name}.attention.{part}"), split)
            heads_of.append(b.node("Transpose", h, perm=perm))
        scores = b.node("Div", b.node("MatMul", heads_of[0], heads_of[1]), scale)
        h = b.node("MatMul", b.node("Softmax", scores, axis=-1), heads_of[2])
        h = b.node("Reshape", b.node("Transpose", h, perm=[0, 2, 1, 3]), merge)
        x = norm(b.node("Add", linear(h, width, width, f"{name}.attention.output"), x), f"{name}.attention.norm")
        h = linear(x, width, 3072, f"{name}.intermediate")
        root = b.tensor(f"{name}.root2", np.float32(2**0.5))
        erf = b.node("Add", b.node("Erf", b.node("Div", h, root)), b.tensor(f"{name}.one", np.float32(1)))
        h = b.node("Mul", b.node("Mul", h, erf), b.tensor(f"{name}.half", np.float32(0.5)))
        x = norm(b.node("Add", linear(h, 3072, width, f"{name}.output"), x), f"{name}.output.norm")
    x = b.node("Tanh", linear(x, width, width, "pooler.dense"))
    b.save(path, [helper.make_tensor_value_info("ids", TensorProto.INT64, ["N", 512])], x, ["N", 512, width])


def many_nodes(path: Path, count: int = 20_000) -> None:
    """A residual network of `count` nodes with tiny weights, about 1 MB for 20,000."""
    b = _Builder(20)
    weights = [b.weight(f"blocks.{index}.weight", 8, 8) for index in range(count // 40)]
    x = "x"
    block = 0
    while b.count + 5 <= count:
        name = f"blocks.{block}"
        h = b.node("MatMul", x, weights[block % len(weights)], name=f"/{name}/MatMul")
        h = b.node("Relu", h, name=f"/{name}/relu/Relu")
        h = b.node("Neg", b.node("Abs", h, name=f"/{name}/Abs"), name=f"/{name}/Neg")
        x = b.node("Add", x, h, name=f"/{name}/Add")
        block += 1
    b.save(path, [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 8])], x, ["N", 8])


def external_4gb(path: Path, layers: int = 31, width: int = 8192) -> None:
    """A float16 chain with 4.2 GB of weights in `<name>.data` beside the file."""
    b = _Builder(4)
    data = path.with_suffix(".onnx.data")
    rows = (b.random.standard_normal((width, width), np.float32) * np.float32((2.0 / width) ** 0.5)).astype(np.float16)
    x, offset = "x", 0
    with data.open("wb") as file:
        for index in range(layers):
            values = np.roll(rows, 97 * index + 1, axis=0) * np.float16(1 if index % 2 else -1)
            file.write(values.tobytes())
            tensor = TensorProto(name=f"layers.{index}.weight", data_type=TensorProto.FLOAT16, dims=[width, width])
            tensor.data_location = TensorProto.EXTERNAL
            for key, value in (("location", data.name), ("offset", str(offset)), ("length", str(values.nbytes))):
                tensor.external_data.add(key=key, value=value)
            offset += values.nbytes
            b.tensors.append(tensor)
            x = b.node("Relu", b.node("MatMul", x, tensor.name, name=f"/layers.{index}/MatMul"))
    kind = TensorProto.FLOAT16
    b.save(path, [helper.make_tensor_value_info("x", kind, ["N", width])], x, ["N", width], kind)


def linear_bytes(path: Path, megabytes: int) -> None:
    """A float32 chain with about `megabytes` MB of weights, for the cost per byte."""
    b = _Builder(megabytes)
    x = "x"
    for index in range(max(1, megabytes // 4)):
        x = b.node("Relu", b.node("MatMul", x, b.weight(f"layers.{index}.weight", 1024, 1024)))
    b.save(path, [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 1024])], x, ["N", 1024])


MODELS: dict[str, Callable[[Path], None]] = {
    "resnet50": resnet50,
    "bert_base": bert_base,
    "nodes_20k": many_nodes,
    "external_4gb": external_4gb,
    "nodes_1k": lambda path: many_nodes(path, 1_000),
    "nodes_5k": lambda path: many_nodes(path, 5_000),
    "nodes_80k": lambda path: many_nodes(path, 80_000),
    "bytes_16mb": lambda path: linear_bytes(path, 16),
    "bytes_64mb": lambda path: linear_bytes(path, 64),
    "bytes_256mb": lambda path: linear_bytes(path, 256),
}


def build(folder: Path, name: str) -> Path:
    """The file of that name in the folder, built if it is not there."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.onnx"
    if not path.exists():
        MODELS[name](path)
    return path


def main() -> None:
    folder = Path(sys.argv[1])
    for name in sys.argv[2:] or MODELS:
        print(build(folder, name))


if __name__ == "__main__":
    main()
