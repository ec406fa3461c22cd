"""A raw graph from an ONNX model in memory, without the loader: enough for tests of shape inference (no subgraphs, no functions)."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from trainaudit.ir.graph import Origin, Shape
from trainaudit.ir.tensor import ArrayData
from trainaudit.load.datatypes import TYPE_NAMES
from trainaudit.load.raw import RawGraph, RawNode


def raw_graph(model: onnx.ModelProto) -> RawGraph:
    graph = model.graph
    tensors = {tensor.name: tensor_data(tensor) for tensor in graph.initializer}
    constants: set[str] = set()
    nodes = []
    for node in graph.node:
        attributes = {a.name: attribute(a) for a in node.attribute if not has_graph(a)}
        if node.op_type == "Constant" and not node.domain:
            constants.add(node.output[0])
            value = next(iter(attributes.values()))
            if not isinstance(value, ArrayData):
                listed = np.array(value, dtype=np.float32 if "float" in node.attribute[0].name else None)
                value = ArrayData(listed)
            tensors[node.output[0]] = value
            continue
        domain = "" if node.domain == "ai.onnx" else node.domain
        nodes.append(RawNode(node.op_type, domain, node.name, list(node.input), list(node.output), attributes))
    shapes: dict[str, Shape] = {}
    dtypes: dict[str, str] = {}
    for value in (*graph.input, *graph.output, *graph.value_info):
        kind = value.type.tensor_type
        if not value.type.HasField("tensor_type"):
            continue
        if kind.elem_type in TYPE_NAMES:
            dtypes[value.name] = TYPE_NAMES[kind.elem_type]
        if kind.HasField("shape"):
            shapes[value.name] = proto_shape(kind.shape)
    opset = next((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), 1)
    return RawGraph(
        nodes=nodes,
        tensors=tensors,
        constants=constants,
        inputs=[v.name for v in graph.input if v.name not in tensors],
        outputs=[v.name for v in graph.output],
        shapes=shapes,
        dtypes=dtypes,
        origin=Origin("model.onnx", "onnx", 0, opset),
        opset=opset,
        node_count=len(nodes),
    )


def proto_shape(shape: Any) -> Shape:
    return tuple(
        d.dim_value if d.HasField("dim_value") else d.dim_param if d.HasField("dim_param") else None for d in shape.dim
    )


def tensor_data(tensor: onnx.TensorProto) -> ArrayData:
    stored = TYPE_NAMES[tensor.data_type]
    array = numpy_helper.to_array(tensor)
    return ArrayData(array, "" if array.dtype.name == stored else stored)


def attribute(proto: onnx.AttributeProto) -> Any:
    value = onnx.helper.get_attribute_value(proto)
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, onnx.TensorProto):
        return tensor_data(value)
    if isinstance(value, (str, int, float)):
        return value
    if isinstance(value, onnx.TypeProto | onnx.SparseTensorProto):
        return None
    return [x.decode("utf-8", "replace") if isinstance(x, bytes) else x for x in value]


def has_graph(proto: onnx.AttributeProto) -> bool:
    return proto.type in (onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS)
