"""Tensors that the graph makes from nothing but shapes: fills, unit matrices and random numbers. Stdlib, numpy, ir and load's index only."""

from __future__ import annotations

import numpy as np

from trainaudit.ir.graph import TensorData
from trainaudit.load.constant_views import type_name
from trainaudit.load.known import ComputedData, FillData, Stored, draw, numpy_type
from trainaudit.load.raw import RawNode
from trainaudit.load.wiring import Wiring


def generated(node: RawNode, wiring: Wiring) -> Stored | None:
    """ConstantOfShape, EyeLike and the random operators on known shapes."""
    attributes = node.attributes
    name = node.outputs[0]
    shape: tuple[int, ...] | None
    if node.op in ("RandomNormal", "RandomUniform"):
        wanted = attributes.get("shape")
        shape = tuple(int(size) for size in wanted) if isinstance(wanted, list) else None
    elif node.op == "ConstantOfShape":
        shape = wiring.integers(node.inputs[0])
    else:
        like = wiring.stored(node.inputs[0])
        shape = like.shape if like else None
    if shape is None or any(size < 0 for size in shape):
        return None
    if node.op == "ConstantOfShape":
        value = attributes.get("value")
        if value is None or isinstance(value, (int, float, str, list)):
            return Stored(name, FillData(shape, "float32", 0.0), shape, generated=node.op)
        return Stored(name, FillData(shape, value.dtype, value.read().reshape(-1)[0].item()), shape, generated=node.op)
    dtype = type_name(attributes.get("dtype")) or "float32"
    if node.op == "EyeLike":
        if len(shape) != 2:
            return None
        offset = attributes.get("k", 0)
        kind = numpy_type(dtype)
        data: TensorData = ComputedData(shape, dtype, lambda: np.eye(shape[0], shape[1], int(str(offset)), kind))
        return Stored(name, data, shape, generated=node.op)
    uniform = "Uniform" in node.op
    first = attributes.get("low" if uniform else "mean", 0.0)
    second = attributes.get("high" if uniform else "scale", 1.0)
    if not isinstance(first, (int, float)) or not isinstance(second, (int, float)):
        return None
    return Stored(name, draw(shape, dtype, uniform, first, second), shape, generated=node.op)


GENERATORS = frozenset(
    {"ConstantOfShape", "EyeLike", "RandomNormal", "RandomUniform", "RandomNormalLike", "RandomUniformLike"}
)


_WEIGHTED = frozenset({"MatMul", "Gemm", "Conv", "ConvTranspose", "BatchNormalization", "LSTM", "GRU", "RNN"})


def is_weight_of(wiring: Wiring, name: str) -> bool:
    """Random numbers are weights where weighted layers read them as such; elsewhere (dropout, sampling) they are noise."""
    readers = wiring.consumers.get(name, [])
    for reader in readers:
        node = wiring.nodes[reader]
        seen = name
        if node.op in ("Transpose", "Identity", "Reshape", "Cast"):
            seen = node.outputs[0]
            behind = wiring.consumers.get(seen, [])
            if len(behind) != 1:
                return False
            node = wiring.nodes[behind[0]]
        if node.op not in _WEIGHTED or seen == node.inputs[0]:
            return False
    return bool(readers)
