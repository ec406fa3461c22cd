"""The forget gate's bias of an LSTM: found among the numbers of the file however they are stored and moved about."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np

from trainaudit.changes import Change
from trainaudit.fix.file.editing import Editing, Tensor
from trainaudit.fix.file.encoding import decoded, encoded
from trainaudit.fix.file.weights import refuse_overflow, stored_shape, values_of
from trainaudit.fix.refusal import NotApplicableError
from trainaudit.ir.graph import Layer
from trainaudit.load.datatypes import Array

_VIEWS = frozenset(
    {
        "Identity",
        "Slice",
        "Concat",
        "Unsqueeze",
        "Squeeze",
        "Reshape",
        "Transpose",
        "Split",
        "Gather",
        "Flatten",
        "Constant",
    }
)
"""Nodes that only move about the numbers that they read first (Concat: all)."""

_MOST_NODES = 300


def change_forget_gate(editing: Editing, change: Change) -> Layer:
    """Sets an LSTM's forget gate's bias: of the two that are added `amount` (1) in the first and 0 in the second. Raises `NotApplicableError`."""
    layer = editing.layers.get(change.where)
    order = "" if layer is None else str(layer.attributes.get("gate_order", ""))
    if layer is None or "f" not in order:
        raise NotApplicableError(f"{change.where} is no LSTM")
    node = editing.maker(layer.outputs[0])
    if node is None or node.op != "LSTM":
        raise NotApplicableError(f"{layer.name} is no LSTM node of the file's main graph")
    if len(node.inputs) < 4 or not node.inputs[3]:
        raise NotApplicableError(f"{layer.name} has no bias")
    places = _places(editing, node.inputs[3])
    directions, width = places.shape
    hidden = width // 8
    start = order.index("f") * hidden
    amount = 1.0 if change.amount is None else change.amount
    wanted: dict[str, dict[int, float]] = {}
    for direction in range(directions):
        for begin, number in ((start, amount), (4 * hidden + start, 0.0)):
            for name, index in places[direction, begin : begin + hidden].tolist():
                wanted.setdefault(name, {})[index] = number
    for name, numbers in wanted.items():
        _set_some(editing, editing.now.tensors[name], numbers)
    return layer


def _set_some(editing: Editing, tensor: Tensor, numbers: dict[int, float]) -> None:
    shape, dtype = stored_shape(editing, tensor)
    if len(editing.readers(tensor.name)) > 1 and any(
        node.op not in _VIEWS and node.op != "LSTM" for node in editing.readers(tensor.name)
    ):
        raise NotApplicableError(f"{tensor.name} is read by other layers too")
    before, indices = values_of(editing, tensor), np.fromiter(numbers, np.int64, len(numbers))
    amounts = np.fromiter(numbers.values(), np.float64, len(numbers))

    def make() -> Array:
        values = np.array(decoded(before(), dtype)).reshape(-1)
        values[indices] = amounts
        return encoded(values.reshape(shape), dtype)

    refuse_overflow(make, dtype, tensor.name)
    editing.store(replace(tensor, make=make))


def _places(editing: Editing, value: str) -> Any:
    """For each element of a value that is made of stored tensors alone, which element (name, index) of which it is: an array of pairs."""
    numbered = 0
    known: list[tuple[str, int]] = []
    feeds: dict[str, Array] = {}
    for name in _moved_tensors(editing, value):
        shape, _ = stored_shape(editing, editing.now.tensors[name])
        size = math.prod(shape)
        feeds[name] = np.arange(numbered, numbered + size, dtype=np.float64).reshape(shape)
        known += [(name, index) for index in range(size)]
        numbered += size
    numbers: Any = feeds[value] if value in feeds else _evaluated(editing, feeds, value)
    places: Any = np.empty(len(known), object)
    places[:] = known
    return places[numbers.astype(np.int64)]


def _moved_tensors(editing: Editing, value: str) -> list[str]:
    """The stored tensors whose numbers, moved about, are the value's. Raises `NotApplicableError` where something else happens to them."""
    found: dict[str, None] = {}
    waiting = [value]
    while waiting:
        name = waiting.pop()
        if name in editing.now.tensors:
            found[name] = None
            continue
        maker = editing.maker(name)
        if maker is None or maker.domain or maker.op not in _VIEWS:
            raise NotApplicableError(f"{name} is computed by the graph")
        waiting += maker.inputs if maker.op == "Concat" else maker.inputs[:1]
    return sorted(found)


def _evaluated(editing: Editing, feeds: dict[str, Array], value: str) -> Array:
    """What the nodes before `value` make of these arrays. Sizes that they take from the model's inputs do not matter: one example is enough."""
    import onnx
    from onnx import helper
    from onnx.reference import ReferenceEvaluator

    needed, nodes = {value}, list[Any]()
    for node in reversed(editing.now.nodes):
        if not needed.isdisjoint(node.outputs):
            nodes.append(onnx.NodeProto.FromString(editing.message(node)))
            needed.update(node.inputs)
    if len(nodes) > _MOST_NODES:
        raise NotApplicableError(f"{value} is put together by more than {_MOST_NODES} nodes")
    for name in needed & editing.inputs - editing.now.tensors.keys():
        known = editing.graph.values[name]
        sizes = [size if isinstance(size, int) else 1 for size in known.shape or ()]
        feeds[name] = np.zeros(sizes, known.dtype if known.dtype in ("int64", "int32", "bool") else np.float32)
    constants = [
        onnx.TensorProto.FromString(editing.message(editing.now.tensors[name]))
        for name in needed & editing.now.tensors.keys() - feeds.keys()
    ]
    inputs = [
        helper.make_tensor_value_info(name, onnx.TensorProto.DOUBLE, array.shape) for name, array in feeds.items()
    ]
    outputs = [helper.make_tensor_value_info(value, onnx.TensorProto.DOUBLE, None)]
    graph = helper.make_graph(nodes[::-1], "places", inputs, outputs, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", editing.opset)])
    made: Any = ReferenceEvaluator(model).run(None, feeds)
    return np.asarray(made[0])
