"""A copy of a file in which nothing is random, so that a runtime which knows inference alone can be asked for its outputs.

BatchNormalization and Dropout are put in inference mode, dropouts that are written out pass their input on, and draws become the fixed numbers
of `casting.settled`.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Mapping
from typing import Any

from trainaudit.load.protobuf import onnx_classes
from trainaudit.load.raw import RawGraph
from trainaudit.probe.onnx_module.casting import RANDOM, middle

_LARGEST_COPY = 1 << 31
_FLOAT = 1
_PACKED = {1: "<f", 10: "<e", 11: "<d"}


def is_inference_form(raw: RawGraph) -> bool:
    """Whether the file can be asked as it is."""
    return not any(
        node.op in RANDOM
        or (node.op == "BatchNormalization" and (node.attributes.get("training_mode") or len(node.outputs) > 1))
        or (node.op == "Dropout" and len(node.inputs) > 2)
        for node in raw.nodes
    )


def inference_form(path: str, dropouts: Mapping[str, str]) -> bytes | None:
    """The copy, serialized; None where the file is too large to be copied. `dropouts` as in `planner.make_plan`."""
    if os.path.getsize(path) >= _LARGEST_COPY:  # noqa: PTH202
        return None
    classes = onnx_classes()
    with open(path, "rb") as file:  # noqa: PTH123
        model = classes.ModelProto.FromString(file.read())
    for nodes in (model.graph.node, *(function.node for function in model.functions)):
        _rewrite(classes, nodes, dropouts)
    content: bytes = model.SerializeToString()
    return content


def _rewrite(classes: Any, nodes: Any, dropouts: Mapping[str, str]) -> None:
    rewritten = []
    for node in nodes:
        for attribute in node.attribute:
            if attribute.HasField("g"):
                _rewrite(classes, attribute.g.node, dropouts)
        result = node.output[0] if node.output else ""
        if result in dropouts:
            rewritten.append(_node(classes, "Identity", [dropouts[result]], [result]))
            continue
        if node.domain not in ("", "ai.onnx"):
            rewritten.append(node)
            continue
        if node.op_type in RANDOM:
            rewritten += _settled(classes, node)
            continue
        if node.op_type == "BatchNormalization":
            del node.output[1:]
            for attribute in node.attribute:
                if attribute.name == "training_mode":
                    attribute.i = 0
        elif node.op_type == "Dropout":
            del node.input[2:]
        rewritten.append(node)
    copies = [classes.NodeProto.FromString(node.SerializeToString()) for node in rewritten]
    del nodes[:]
    nodes.extend(copies)


def _settled(classes: Any, node: Any) -> list[Any]:
    """The nodes that give `casting.settled` in place of a draw; the node itself where there is no such number."""
    stated = {attribute.name: attribute.f if attribute.type == _FLOAT else attribute.i for attribute in node.attribute}
    kind, name = int(stated.get("dtype", _FLOAT)), node.output[0]
    if node.op_type == "Bernoulli":
        above = _node(classes, "Greater", [node.input[0], f"{name}:half"], [f"{name}:above"])
        cast = _node(classes, "Cast", [f"{name}:above"], [name], to=kind)
        return [_constant(classes, f"{name}:half", 0.5, _FLOAT), above, cast]
    if kind not in _PACKED or node.op_type == "Multinomial":
        return [node]
    value = middle(node.op_type, stated)
    shape, made = f"{name}:shape", _node(classes, "ConstantOfShape", [f"{name}:shape"], [name])
    attribute = made.attribute.add(name="value", type=4)
    attribute.t.CopyFrom(_tensor(classes, value, kind, [1]))
    if node.input:
        return [_node(classes, "Shape", [node.input[0]], [shape]), made]
    sizes = next((list(attribute.ints) for attribute in node.attribute if attribute.name == "shape"), [])
    source = _node(classes, "Constant", [], [shape])
    held = source.attribute.add(name="value", type=4)
    held.t.CopyFrom(classes.TensorProto(data_type=7, dims=[len(sizes)], int64_data=sizes))
    return [source, made]


def _tensor(classes: Any, value: float, kind: int, dims: list[int]) -> Any:
    return classes.TensorProto(data_type=kind, dims=dims, raw_data=struct.pack(_PACKED[kind], value))


def _constant(classes: Any, name: str, value: float, kind: int) -> Any:
    node = _node(classes, "Constant", [], [name])
    attribute = node.attribute.add(name="value", type=4)
    attribute.t.CopyFrom(_tensor(classes, value, kind, []))
    return node


def _node(classes: Any, op: str, inputs: list[str], outputs: list[str], **numbers: int) -> Any:
    node = classes.NodeProto(op_type=op, input=inputs, output=outputs)
    for name, number in numbers.items():
        node.attribute.add(name=name, type=2, i=number)
    return node
