"""New nodes: activation functions, normalizations and guards in the operators of a file's opset. Stdlib, numpy and this room.

Each function gives nodes that read `value` and give `result`, and notes the constants that they need as initializers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np

from trainaudit.fix.file.editing import Editing, Node
from trainaudit.fix.file.encoding import WRITABLE
from trainaudit.fix.file.weights import new_tensor
from trainaudit.fix.refusal import NotApplicableError
from trainaudit.load.datatypes import Array
from trainaudit.load.protobuf import onnx_classes

EPSILON = 1e-5
_FLOAT, _INT, _INTS = 1, 2, 7

Attribute = int | float | tuple[int, ...]


def node(editing: Editing, op: str, inputs: tuple[str, ...], outputs: tuple[str, ...], **attributes: Attribute) -> Node:
    """A node of ai.onnx."""
    proto = onnx_classes().NodeProto(op_type=op, input=inputs, output=outputs)
    proto.name = editing.new_node_name(f"trainaudit/{op}")
    for name, value in attributes.items():
        if isinstance(value, float):
            proto.attribute.add(name=name, type=_FLOAT, f=value)
        elif isinstance(value, int):
            proto.attribute.add(name=name, type=_INT, i=value)
        else:
            proto.attribute.add(name=name, type=_INTS, ints=value)
    return Node(op, "", proto.name, inputs, outputs, content=proto.SerializeToString())


class Nodes:
    """Nodes in the making, one behind the other."""

    def __init__(self, editing: Editing, base: str, dtype: str) -> None:
        if dtype not in WRITABLE:
            raise NotApplicableError(f"{base} holds {dtype or 'an unknown element type'}")
        self.editing, self.base, self.dtype = editing, base, dtype
        self.nodes: list[Node] = []

    def add(
        self, op: str, *inputs: str, result: str = "", more: tuple[str, ...] = (),
        attributes: Mapping[str, Attribute] | None = None, **others: Attribute,
    ) -> str:  # fmt: skip
        """Adds a node and returns the name of its first output."""
        output = result or self.editing.new_name(f"{self.base}/{op}")
        self.nodes.append(node(self.editing, op, inputs, (output, *more), **{**(attributes or {}), **others}))
        return output

    def number(self, value: float) -> str:
        """A scalar of the element type."""
        return self.array(f"{value:g}", np.asarray(value))

    def array(self, word: str, values: Array) -> str:
        name = self.editing.new_name(f"{self.base}/{word}")
        new_tensor(self.editing, name, self.dtype, values)
        return name

    def integers(self, word: str, *values: int) -> str:
        name = self.editing.new_name(f"{self.base}/{word}")
        new_tensor(self.editing, name, "int64", np.asarray(values, np.int64))
        return name


def activation(made: Nodes, word: str, value: str, result: str, axis: int) -> None:
    """The function `word`; a softmax is over `axis`."""
    simple = _SIMPLE.get(word)
    if simple is not None:
        op, alpha = simple
        if alpha is None:
            made.add(op, value, result=result)
        else:
            made.add(op, value, result=result, alpha=alpha)
    elif word in ("softmax", "log_softmax"):
        if made.editing.opset < 13 and axis != -1:
            raise NotApplicableError("a softmax over another axis than the last is another operator before opset 13")
        made.add("Softmax" if word == "softmax" else "LogSoftmax", value, result=result, axis=axis)
    elif word == "silu":
        made.add("Mul", value, made.add("Sigmoid", value), result=result)
    elif word == "log_sigmoid":
        made.add("Neg", made.add("Softplus", made.add("Neg", value)), result=result)
    elif word == "gelu" and made.editing.opset >= 20:
        made.add("Gelu", value, result=result)
    elif word == "gelu":
        if made.editing.opset < 9:
            raise NotApplicableError("GELU needs opset 9")
        error = made.add("Erf", made.add("Div", value, made.number(math.sqrt(2.0))))
        product = made.add("Mul", value, made.add("Add", error, made.number(1.0)))
        made.add("Mul", product, made.number(0.5), result=result)
    else:
        raise NotApplicableError(f'there is no way to write "{word}" in this file')


_SIMPLE: Mapping[str, tuple[str, float | None]] = {
    "relu": ("Relu", None),
    "leaky_relu": ("LeakyRelu", 0.01),
    "elu": ("Elu", 1.0),
    "selu": ("Selu", None),
    "tanh": ("Tanh", None),
    "sigmoid": ("Sigmoid", None),
    "softplus": ("Softplus", None),
}
"""Functions that one operator computes, with its alpha."""


def normalization(made: Nodes, word: str, value: str, result: str, shape: tuple[object, ...], training: bool) -> None:
    """A normalization with γ 1, β 0 and ε 1e-5, over channels (axis 1) for batch_norm and group_norm, else over the last axis."""
    _NORMALIZATIONS[word](made, value, result, shape, training)


def _size(shape: tuple[object, ...], axis: int) -> int:
    size = shape[axis] if -len(shape) <= axis < len(shape) else None
    if not isinstance(size, int):
        raise NotApplicableError("how many features are to be normalized is not known")
    return size


def _batch_norm(made: Nodes, value: str, result: str, shape: tuple[object, ...], training: bool) -> None:
    size, opset = _size(shape, 1), made.editing.opset
    scale, shift = made.array("weight", np.ones(size)), made.array("bias", np.zeros(size))
    mean, variance = made.array("running_mean", np.zeros(size)), made.array("running_var", np.ones(size))
    count = (2 if opset >= 14 else 4) if training else 0
    more = tuple(made.editing.new_name(f"{made.base}/statistics_{place}") for place in range(count))
    said: dict[str, int] = {"training_mode": 1} if training and opset >= 14 else {}
    inputs = (value, scale, shift, mean, variance)
    made.add("BatchNormalization", *inputs, result=result, more=more, epsilon=EPSILON, momentum=0.9, attributes=said)


def _layer_norm(made: Nodes, value: str, result: str, shape: tuple[object, ...], _training: bool) -> None:
    size = _size(shape, -1)
    scale, shift = made.array("weight", np.ones(size)), made.array("bias", np.zeros(size))
    if made.editing.opset >= 17:
        made.add("LayerNormalization", value, scale, shift, result=result, axis=-1, epsilon=EPSILON)
        return
    centered = made.add("Sub", value, _mean(made, value))
    variance = _mean(made, made.add("Mul", centered, centered))
    spread = made.add("Sqrt", made.add("Add", variance, made.number(EPSILON)))
    made.add("Add", made.add("Mul", made.add("Div", centered, spread), scale), shift, result=result)


def _rms_norm(made: Nodes, value: str, result: str, shape: tuple[object, ...], _training: bool) -> None:
    scale = made.array("weight", np.ones(_size(shape, -1)))
    if made.editing.opset >= 23:
        made.add("RMSNormalization", value, scale, result=result, axis=-1, epsilon=EPSILON)
        return
    square = _mean(made, made.add("Mul", value, value))
    spread = made.add("Sqrt", made.add("Add", square, made.number(EPSILON)))
    made.add("Mul", made.add("Div", value, spread), scale, result=result)


def _group_norm(made: Nodes, value: str, result: str, shape: tuple[object, ...], _training: bool) -> None:
    """One group: all channels and positions of an example together, written out, since the operator has changed its meaning."""
    size = _size(shape, 1)
    if len(shape) < 2:
        raise NotApplicableError("there is no axis of channels")
    flat = made.add("Reshape", value, made.integers("flat", 0, 1, -1))
    one, none = made.array("one", np.ones(1)), made.array("none", np.zeros(1))
    normal = made.add("InstanceNormalization", flat, one, none, epsilon=EPSILON)
    back = made.add("Reshape", normal, made.add("Shape", value))
    per_channel = (size, *(1,) * (len(shape) - 2))
    scale, shift = made.array("weight", np.ones(per_channel)), made.array("bias", np.zeros(per_channel))
    made.add("Add", made.add("Mul", back, scale), shift, result=result)


def _mean(made: Nodes, value: str) -> str:
    """The mean over the last axis, kept."""
    if made.editing.opset >= 18:
        return made.add("ReduceMean", value, made.integers("last_axis", -1), keepdims=1)
    return made.add("ReduceMean", value, axes=(-1,), keepdims=1)


_NORMALIZATIONS: Mapping[str, Callable[[Nodes, str, str, tuple[object, ...], bool], None]] = {
    "batch_norm": _batch_norm,
    "layer_norm": _layer_norm,
    "rms_norm": _rms_norm,
    "group_norm": _group_norm,
}


def floor(made: Nodes, value: str, least: float) -> str:
    """The value, nowhere under `least`."""
    return made.add("Max", value, made.number(least))


def away_from_zero(made: Nodes, value: str, least: float) -> str:
    """The value, with its sign, nowhere nearer to 0 than `least`; 0 becomes `least`."""
    positive, negative = made.add("Max", value, made.number(least)), made.add("Min", value, made.number(-least))
    return made.add("Where", made.add("Less", value, made.number(0.0)), negative, positive)
