"""Builds small ONNX models with NumPy weights, named as torch's exporter names them. No torch.

    net = Network({"x": ("N", 32)})
    h = net.linear("fc1", "x", 64)
    h = net.activation("Relu", "relu1", h)
    h = net.linear("fc2", h, 10)
    net.output(h)
    net.save(path)

Weights that are not given have PyTorch's default initialization, drawn with a fixed seed, so that models look like those of users.
Every method takes value names and returns the name of its result; shapes are tracked as far as the weights need them.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from tests.models import initial
from tests.models.initial import Array, Initializer

Shape = tuple[int | str, ...]


class Network:
    """A model in the making. `inputs` maps names to shapes (a word is a symbolic size); names in `integers` are token ids."""

    def __init__(
        self,
        inputs: Mapping[str, Shape],
        *,
        integers: Sequence[str] = (),
        dtype: str = "float32",
        seed: int = 0,
        opset: int = 17,
    ) -> None:
        self.random = np.random.default_rng(seed)
        self.dtype = dtype
        self.opset = opset
        self._taken: dict[str, int] = {}
        self.shapes: dict[str, Shape] = dict(inputs)
        self.nodes: list[onnx.NodeProto] = []
        self.tensors: list[onnx.TensorProto] = []
        self.outputs: list[onnx.ValueInfoProto] = []
        kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
        self._kind = kind
        self.inputs = [
            helper.make_tensor_value_info(name, onnx.TensorProto.INT64 if name in integers else kind, shape)
            for name, shape in inputs.items()
        ]

    # Raw material

    def node(self, op: str, module: str, inputs: Sequence[str], shape: Shape | None = None, **attributes: Any) -> str:
        """Any ONNX node with one output. `shape` is that of its result, by default of its first input."""
        name = self._name(module, op)
        output = f"{name}_output_0"
        self.nodes.append(helper.make_node(op, list(inputs), [output], name=name, **attributes))
        self.shapes[output] = self.shapes[inputs[0]] if shape is None else shape
        return output

    def _name(self, module: str, op: str) -> str:
        """torch's name of a node: "blocks.0.fc" and Gemm give "/blocks.0/fc/Gemm", a second one "/blocks.0/fc/Gemm_1"."""
        name = re.sub(r"\.(?=\D)", "/", f"/{module}") + f"/{op}" if module else f"/{op}"
        count = self._taken.get(name, 0)
        self._taken[name] = count + 1
        return f"{name}_{count}" if count else name

    def constant(self, module: str, values: Any) -> str:
        """A stored tensor with the name that torch gives to a constant of a module."""
        return self.tensor(f"{self._name(module, 'Constant')}_output_0", values)

    def parameter(self, name: str, values: Array) -> str:
        """A stored tensor of the model's type."""
        return self.tensor(name, np.asarray(values).astype(self.dtype))

    def tensor(self, name: str, values: Any) -> str:
        """A stored tensor of its own type."""
        array = np.asarray(values)
        self.tensors.append(numpy_helper.from_array(array, name))
        self.shapes[name] = array.shape
        return name

    def draw(self, name: str, shape: tuple[int, ...], given: Initializer | Array | None, default: Initializer) -> str:
        """A stored tensor: `given` values, or values that an initializer draws."""
        if given is None or callable(given):
            return self.parameter(name, (given or default)(self.random, shape))
        return self.parameter(name, np.broadcast_to(given, shape))

    def output(self, value: str, name: str = "output") -> str:
        """Make a node's result an output of the model, under a name that a person chose."""
        for node in self.nodes:
            node.output[:] = [name if item == value else item for item in node.output]
            node.input[:] = [name if item == value else item for item in node.input]
        self.shapes[name] = self.shapes.pop(value)
        self.outputs.append(helper.make_tensor_value_info(name, self._kind, self.shapes[name]))
        return name

    def annotate(self, value: str, key: str, text: str) -> None:
        """Metadata of the node that makes a value, as the dynamo exporter writes it."""
        node = next(node for node in self.nodes if value in node.output)
        node.metadata_props.append(onnx.StringStringEntryProto(key=key, value=text))

    def model(self) -> onnx.ModelProto:
        graph = helper.make_graph(self.nodes, "main_graph", self.inputs, self.outputs, self.tensors)
        model = helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid("", self.opset)],
            producer_name="pytorch",
            producer_version="2.13.0",
        )
        model.ir_version = 9
        return model

    def save(self, path: str) -> None:
        onnx.save(self.model(), path)

    # Weighted layers

    def linear(
        self, module: str, x: str, features: int, *, bias: bool = True, weight: Initializer | Array | None = None,
        bias_values: Initializer | Array | None = None,
    ) -> str:  # fmt: skip
        """Gemm on matrices; MatMul and Add where there are more axes, as torch exports nn.Linear."""
        *front, inside = self.shapes[x]
        assert isinstance(inside, int)
        shape: Shape = (*front, features)
        default = initial.uniform(1 / math.sqrt(inside))
        if len(front) == 1:
            names = [self.draw(f"{module}.weight", (features, inside), weight, default)]
            if bias:
                names.append(self.draw(f"{module}.bias", (features,), bias_values, default))
            return self.node("Gemm", module, [x, *names], shape, transB=1)
        values = (weight or default)(self.random, (features, inside)) if weight is None or callable(weight) else weight
        result = self.node("MatMul", module, [x, self.parameter(f"{module}.weight", np.asarray(values).T)], shape)
        if bias:
            stored = self.draw(f"{module}.bias", (features,), bias_values, default)
            result = self.node("Add", module, [result, stored], shape)
        return result

    def conv(
        self, module: str, x: str, channels: int, kernel: int, *, stride: int = 1, padding: int = 0, dilation: int = 1, groups: int = 1,
        bias: bool = True, weight: Initializer | Array | None = None, bias_values: Initializer | Array | None = None,
    ) -> str:  # fmt: skip
        """nn.Conv1d on three axes, nn.Conv2d on four."""
        batch, inside, *size = self.shapes[x]
        assert isinstance(inside, int)
        after = [
            (n + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1 if isinstance(n, int) else f"{n}_{module}"
            for n in size
        ]
        kernel_shape = [kernel] * len(size)
        weight_shape = (channels, inside // groups, *kernel_shape)
        default = initial.uniform(1 / math.sqrt(initial.fan_in(weight_shape)))
        names = [self.draw(f"{module}.weight", weight_shape, weight, default)]
        if bias:
            names.append(self.draw(f"{module}.bias", (channels,), bias_values, default))
        return self.node(
            "Conv", module, [x, *names], (batch, channels, *after), kernel_shape=kernel_shape, strides=[stride] * len(size),
            pads=[padding] * (2 * len(size)), dilations=[dilation] * len(size), group=groups,
        )  # fmt: skip

    def embedding(
        self, module: str, ids: str, vocabulary: int, width: int, *, weight: Initializer | Array | None = None
    ) -> str:
        table = self.draw(f"{module}.weight", (vocabulary, width), weight, initial.normal(1.0))
        return self.node("Gather", module, [table, ids], (*self.shapes[ids], width), axis=0)

    def recurrent(
        self,
        op: str,
        module: str,
        x: str,
        hidden: int,
        *,
        recurrent_weight: Initializer | None = None,
        bias_values: Array | None = None,
    ) -> str:
        """ONNX `RNN`, `LSTM` or `GRU` over (time, batch, features); the result is (time, batch, hidden)."""
        gates = {"RNN": 1, "LSTM": 4, "GRU": 3}[op]
        steps, batch, features = self.shapes[x]
        assert isinstance(features, int)
        default = initial.uniform(1 / math.sqrt(hidden))
        weight = default(self.random, (1, gates * hidden, features))
        matrix = (recurrent_weight or default)(self.random, (gates * hidden, hidden))[None]
        biases = default(self.random, (1, 2 * gates * hidden)) if bias_values is None else bias_values[None]
        names = [
            self.parameter(f"{module}.weight_ih_l0", weight),
            self.parameter(f"{module}.weight_hh_l0", matrix),
            self.parameter(f"{module}.bias_l0", biases),
        ]
        wide = self.node(op, module, [x, *names], (steps, 1, batch, hidden), hidden_size=hidden)
        return self.node(
            "Squeeze", module, [wide, self.constant(module, np.array([1], np.int64))], (steps, batch, hidden)
        )

    # Normalization, activation, regularization

    def batch_norm(
        self, module: str, x: str, *, scale: Array | float = 1.0, shift: Array | float = 0.0, mean: Array | float = 0.0,
        variance: Array | float = 1.0, epsilon: float = 1e-5,
    ) -> str:  # fmt: skip
        channels = self.shapes[x][1]
        assert isinstance(channels, int)
        parts = {"weight": scale, "bias": shift, "running_mean": mean, "running_var": variance}
        names = [
            self.parameter(f"{module}.{word}", np.broadcast_to(np.asarray(values, float), (channels,)))
            for word, values in parts.items()
        ]
        return self.node("BatchNormalization", module, [x, *names], epsilon=epsilon, momentum=0.9)

    def layer_norm(self, module: str, x: str, *, axes: int = 1, epsilon: float = 1e-5) -> str:
        """Over the last `axes` axes."""
        shape = [size for size in self.shapes[x][-axes:] if isinstance(size, int)]
        names = [self.parameter(f"{module}.weight", np.ones(shape)), self.parameter(f"{module}.bias", np.zeros(shape))]
        return self.node("LayerNormalization", module, [x, *names], axis=-axes, epsilon=epsilon)

    def instance_norm(self, module: str, x: str, *, epsilon: float = 1e-5) -> str:
        channels = self.shapes[x][1]
        assert isinstance(channels, int)
        names = [
            self.parameter(f"{module}.weight", np.ones(channels)),
            self.parameter(f"{module}.bias", np.zeros(channels)),
        ]
        return self.node("InstanceNormalization", module, [x, *names], epsilon=epsilon)

    def group_norm(self, module: str, x: str, groups: int, *, epsilon: float = 1e-5) -> str:
        """As torch exports it: an instance normalization of the groups, then scale and shift."""
        batch, channels, *size = self.shapes[x]
        assert isinstance(channels, int)
        grouped = self.reshape(module, x, (0, groups, -1), (batch, groups, "group"))
        ones = self.constant(module, np.ones(groups, self.dtype))
        zeros = self.constant(module, np.zeros(groups, self.dtype))
        normal = self.node("InstanceNormalization", module, [grouped, ones, zeros], epsilon=epsilon)
        target = [0, channels, *(n if isinstance(n, int) else -1 for n in size)]
        back = self.reshape(module, normal, target, (batch, channels, *size))
        flat = (channels, *([1] * len(size)))
        scaled = self.node("Mul", module, [back, self.parameter(f"{module}.weight", np.ones(flat))])
        return self.node("Add", module, [scaled, self.parameter(f"{module}.bias", np.zeros(flat))])

    def activation(self, op: str, module: str, x: str, **attributes: Any) -> str:
        """An elementwise ONNX operator, or Softmax and LogSoftmax with `axis`."""
        return self.node(op, module, [x], **attributes)

    def dropout(self, module: str, x: str, p: float) -> str:
        """In training form."""
        ratio = self.constant(module, np.array(p, np.float32))
        training = self.constant(module, np.array(True))
        return self.node("Dropout", module, [x, ratio, training])

    # Movement and arithmetic

    def reshape(self, module: str, x: str, target: Sequence[int], shape: Shape) -> str:
        return self.node("Reshape", module, [x, self.constant(module, np.array(target, np.int64))], shape)

    def transpose(self, module: str, x: str, axes: Sequence[int]) -> str:
        return self.node("Transpose", module, [x], tuple(self.shapes[x][axis] for axis in axes), perm=list(axes))

    def flatten(self, module: str, x: str) -> str:
        batch, *rest = self.shapes[x]
        return self.node(
            "Flatten", module, [x], (batch, math.prod(size for size in rest if isinstance(size, int))), axis=1
        )

    def pool(self, module: str, x: str) -> str:
        """Global average pooling, flattened: (N, C, H, W) → (N, C)."""
        batch, channels, *size = self.shapes[x]
        return self.flatten(module, self.node("GlobalAveragePool", module, [x], (batch, channels, *([1] * len(size)))))

    def add(self, module: str, a: str, b: str) -> str:
        return self.node("Add", module, [a, b])

    def attention(
        self,
        module: str,
        x: str,
        heads: int,
        *,
        scale: float | None = None,
        weight: Initializer | None = None,
        mask: Array | None = None,
    ) -> str:
        """Multi-head self-attention over (batch, time, width). `scale` is 1/√(width / heads) unless given, 1 leaves it out."""
        batch, steps, width = self.shapes[x]
        assert isinstance(width, int)
        size = width // heads
        parts = []
        for part in ("q_proj", "k_proj", "v_proj"):
            flat = self.linear(f"{module}.{part}", x, width, weight=weight)
            split = self.reshape(module, flat, (0, -1, heads, size), (batch, steps, heads, size))
            parts.append(self.transpose(module, split, (0, 2, 1, 3)))
        query, key, value = parts
        turned = self.transpose(module, key, (0, 1, 3, 2))
        scores = self.node("MatMul", module, [query, turned], (batch, heads, steps, steps))
        factor = 1 / math.sqrt(size) if scale is None else scale
        if factor != 1:
            scores = self.node("Mul", module, [scores, self.constant(module, np.array(factor, self.dtype))])
        if mask is not None:
            scores = self._masked(module, scores, mask)
        shares = self.node("Softmax", module, [scores], axis=-1)
        mixed = self.node("MatMul", module, [shares, value], (batch, heads, steps, size))
        merged = self.transpose(module, mixed, (0, 2, 1, 3))
        joined = self.reshape(module, merged, (0, -1, width), (batch, steps, width))
        return self.linear(f"{module}.out_proj", joined, width)

    def _masked(self, module: str, scores: str, mask: Array) -> str:
        """An additive mask that is stored in float32 and cast to the scores' type, as exporters write it."""
        stored = self.tensor(f"{module}.mask", np.asarray(mask, np.float32))
        if self.dtype != "float32":
            stored = self.node("Cast", module, [stored], to=self._kind)
        return self.node("Add", module, [scores, stored])
