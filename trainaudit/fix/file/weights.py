"""Stored weights with other values: which tensor of the file a parameter of the graph is, and what becomes of it.

Exporters store equal tensors once, reorder the gates of recurrent weights in the graph, and keep small tensors in nodes. A parameter whose
numbers cannot be found in the file with certainty is refused.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np

from trainaudit.changes import Change
from trainaudit.fix.drawing import drawn
from trainaudit.fix.file.editing import Editing, Node, Tensor
from trainaudit.fix.file.encoding import CODES, DATA_TYPE, DIMS, WRITABLE, decoded, encoded, renamed, tensor_message
from trainaudit.fix.file.fields import fields, message_parts
from trainaudit.fix.refusal import NotApplicableError
from trainaudit.ir.graph import Parameter, Role
from trainaudit.load.cutting import Marker
from trainaudit.load.datatypes import Array
from trainaudit.load.external import ExternalFiles
from trainaudit.load.protobuf import onnx_classes
from trainaudit.load.tensors import TensorReader
from trainaudit.load.wire import entries, varint


def holds_already(editing: Editing, change: Change) -> bool:
    """It is a "set" of values that are so in the file. Raises `NotApplicableError`."""
    if change.kind != "set" or change.amount is None:
        return False
    tensor = _tensor_of(editing, _parameter_of(editing, change))
    return bool((decoded(values_of(editing, tensor)(), stored_shape(editing, tensor)[1]) == change.amount).all())


def _parameter_of(editing: Editing, change: Change) -> Parameter:
    parameter = editing.graph.parameters.get(change.where)
    if parameter is None:
        raise NotApplicableError(f"the file holds no parameter {change.where}")
    return parameter


def change_weight(editing: Editing, change: Change, seed: int) -> Parameter:
    """Notes what "initialize", "scale" and "set" do to the parameter that they name, and returns it. Raises `NotApplicableError`."""
    parameter = _parameter_of(editing, change)
    tensor = _tensor_of(editing, parameter)
    shape, dtype = stored_shape(editing, tensor)
    if math.prod(shape) != parameter.size:
        raise NotApplicableError(f"{change.where} is but a part of a tensor of the file")
    if change.kind != "initialize" and (change.amount is None or not math.isfinite(change.amount)):
        raise NotApplicableError(f"{change.kind} says no number")
    before, number = values_of(editing, tensor), change.amount or 0.0

    def make() -> Array:
        if change.kind == "initialize":
            return encoded(drawn(parameter, change.to, change.amount, seed).reshape(shape), dtype)
        if change.kind == "set":
            return encoded(np.full(shape, number), dtype)
        return encoded(decoded(before(), dtype).astype(np.float64) * number, dtype)

    refuse_overflow(make, dtype, parameter.name)
    editing.store(replace(tensor, make=make))
    return parameter


def refuse_overflow(make: Callable[[], Array], dtype: str, name: str) -> None:
    """Refuses values that the element type cannot hold."""
    values = decoded(make(), dtype)
    if not np.isfinite(values).all():
        raise NotApplicableError(f"{dtype} cannot hold the new values of {name}")


def _tensor_of(editing: Editing, parameter: Parameter) -> Tensor:
    """The initializer whose numbers are the parameter's, and nobody else's. Raises `NotApplicableError`."""
    name, graph = parameter.name, editing.graph
    if parameter.quantized:
        raise NotApplicableError(f"{name} is quantized")
    if parameter.generated:
        raise NotApplicableError(f"{name} is not stored: the graph makes it ({parameter.generated})")
    layers = [graph.layers[owner] for owner in parameter.owners]
    if any(layer.attributes.get("reparametrized") for layer in layers) and parameter.role is not Role.BIAS:
        raise NotApplicableError(f"the graph scales {name} before it uses it")
    roles = {word.rstrip("_0123456789") for layer in layers for word, used in layer.parameters.items() if used == name}
    roles = {
        Role.WEIGHT if role in (Role.EMBEDDING, Role.WEIGHT) else role for role in roles
    }  # an embedding tied to the head
    if len(roles) > 1 or name in editing.twins:
        raise NotApplicableError(f"the file stores {name} together with equal numbers that mean something else")
    if any(layer.scope for layer in layers):
        raise NotApplicableError(f"{name} is used inside a body of control flow")
    tensor = editing.now.tensors.get(name)
    if tensor is not None:
        _part_aliases(editing, tensor)
        return tensor
    maker = editing.maker(name)
    if maker is not None and maker.op == "Identity" and not maker.domain:
        source = editing.now.tensors.get(maker.inputs[0])
        if source is not None:
            return _own_tensor(editing, maker, source)
    if maker is not None and maker.op == "Constant" and not maker.domain:
        return _tensor_of_constant(editing, maker)
    if name in editing.sparse:
        raise NotApplicableError(f"{name} is stored sparse")
    raise NotApplicableError(
        f"{name} is no tensor of the file's main graph: it is put together by the graph, or stored in a function or body"
    )


def _part_aliases(editing: Editing, tensor: Tensor) -> None:
    """Other parameters that are stored as this one, since their numbers are equal, get tensors of their own."""
    for node in editing.readers(tensor.name):
        if node.op == "Identity" and not node.domain and node.outputs[0] in editing.graph.parameters:
            _own_tensor(editing, node, tensor)


def _own_tensor(editing: Editing, alias: Node, source: Tensor) -> Tensor:
    """A tensor in the place of an Identity node, with the values that the source has in the file."""
    name = alias.outputs[0]
    if name in editing.outputs:
        raise NotApplicableError(f"{name} is an output of the model")
    made = replace(source, name=name, make=None, is_new=True)
    editing.put(alias)
    editing.store(made)
    return made


def _tensor_of_constant(editing: Editing, node: Node) -> Tensor:
    """A tensor in the place of a Constant node."""
    proto = onnx_classes().NodeProto.FromString(editing.message(node))
    if len(proto.attribute) != 1 or proto.attribute[0].name != "value":
        raise NotApplicableError(f"{node.key} is a constant of another kind than a tensor")
    if node.key in editing.outputs:
        raise NotApplicableError(f"{node.key} is an output of the model")
    content = renamed(message_parts(constant_message(editing.message(node))), node.key)
    made = Tensor(node.key, content=content, is_new=True)
    editing.put(node)
    editing.store(made)
    return made


def constant_message(message: bytes) -> bytes:
    """The TensorProto in the attribute of a Constant node."""
    for number, wire, _, payload, stop in fields(message):
        if number == 5 and wire == 2:
            attribute = message[payload:stop]
            for inner, kind, _, begin, end in fields(attribute):
                if inner == 5 and kind == 2:
                    return attribute[begin:end]
    raise NotApplicableError("a constant holds no tensor")


def stored_shape(editing: Editing, tensor: Tensor) -> tuple[tuple[int, ...], str]:
    """Shape and element type of a tensor as the file holds it. Raises `NotApplicableError` for types whose values cannot be made anew."""
    shape, dtype = declared(editing, tensor)
    if dtype not in WRITABLE:
        raise NotApplicableError(f"{tensor.name} holds {dtype or 'an unknown element type'}")
    return shape, dtype


def declared(editing: Editing, tensor: Tensor) -> tuple[tuple[int, ...], str]:
    """Shape and element type of a tensor as the file holds it, "" for a type that is not known."""
    sizes: list[int] = []
    code = 0
    for number, wire, content in _small_fields(editing, tensor):
        if number == DATA_TYPE and wire == 0:
            code = varint(content, 0)[0]
        elif number == DIMS:  # one by one, or packed
            place = 0
            while place < len(content):
                size, place = varint(content, place)
                sizes.append(size)
    return tuple(sizes), next((name for name, known in CODES.items() if known == code), "")


def _small_fields(editing: Editing, tensor: Tensor) -> Iterator[tuple[int, int, bytes]]:
    """(number, wire type, payload) of a tensor's fields, values left out."""
    if tensor.content is not None:
        message = tensor.content
        yield from (
            (number, wire, message[payload:stop])
            for number, wire, _, payload, stop in fields(message)
            if number <= DATA_TYPE
        )
        return
    for number, wire, _, payload, stop in entries(editing.window, tensor.payload, tensor.stop):
        if number <= DATA_TYPE:
            yield number, wire, editing.window.slice(payload, stop)


def values_of(editing: Editing, tensor: Tensor) -> Callable[[], Array]:
    """Reads a tensor's values as they are now, as stored."""
    return tensor.make or (lambda: file_values(editing, tensor))


def file_values(editing: Editing, tensor: Tensor) -> Array:
    """A tensor's values in the file, as stored."""
    folder = os.path.dirname(editing.path)  # noqa: PTH120 -- "" must stay ""
    reader = TensorReader(editing.file, Marker(), ExternalFiles(folder))
    data = reader.tensor(onnx_classes().TensorProto.FromString(editing.message(tensor)), tensor.name)
    return data.read_range(0, math.prod(data.shape)).reshape(data.shape)


def new_tensor(editing: Editing, name: str, dtype: str, values: Array) -> None:
    """Notes a new initializer."""
    stored = np.ascontiguousarray(values, "<i8") if dtype == "int64" else encoded(values, dtype)
    editing.store(Tensor(name, content=tensor_message(name, dtype, values.shape, stored), is_new=True))
