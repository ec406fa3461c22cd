"""Graphs, functions and bodies of control flow as plain Python, before anything is inlined. Imports the rest of load.

A `Body` is fed with pieces of a GraphProto (see `wire.pieces`), so that the parsed messages never exist all at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from itertools import chain
from typing import Any

import numpy as np

from trainaudit.errors import TrainauditError
from trainaudit.frozen import slotted
from trainaudit.ir.graph import Shape, TensorData
from trainaudit.ir.tensor import ArrayData
from trainaudit.load.datatypes import TYPE_NAMES
from trainaudit.load.raw import RawAttribute, RawNode
from trainaudit.load.tensors import TensorReader, shown

MOST_NODES = 500_000
_MOST_VALUES = 4_000_000
_LONG_LIST = 1 << 16
"""Attributes with more numbers (tree ensembles) become arrays: a list takes eight times the memory."""

_NO_ATTRIBUTES: Mapping[str, RawAttribute] = {}
_NO_METADATA: Mapping[str, str] = {}
"""Most nodes have none, and share these."""

_FLOAT, _INT, _TEXT, _TENSOR, _GRAPH, _FLOATS, _INTS, _TEXTS, _GRAPHS, _SPARSE = 1, 2, 3, 4, 5, 6, 7, 8, 10, 11


@slotted
class Body:
    """One graph or function. `bodies`, `references` and `overloads` belong to the node of that index: its graph attributes,
    the attributes that stand for one of the function's (name -> the function's attribute), and the overload it calls.

    `constants` names the tensors that came from Constant nodes; a Constant whose value is an attribute of the function stays in
    `nodes` until that is known.
    """

    nodes: list[RawNode] = field(default_factory=list)
    inputs: list[str] = field(default_factory=list)
    outputs: list[str] = field(default_factory=list)
    tensors: dict[str, TensorData] = field(default_factory=dict)
    constants: set[str] = field(default_factory=set)
    shapes: dict[str, Shape] = field(default_factory=dict)
    dtypes: dict[str, str] = field(default_factory=dict)
    bodies: dict[int, dict[str, Body]] = field(default_factory=dict)
    references: dict[int, dict[str, str]] = field(default_factory=dict)
    overloads: dict[int, str] = field(default_factory=dict)
    attributes: dict[str, RawAttribute | None] = field(default_factory=dict)
    """Of a function: its attributes and their defaults (None where there is none)."""
    metadata: dict[str, str] = field(default_factory=dict)
    node_count: int = 0
    """Nodes of the file in this body and the bodies in it, Constant nodes included."""


@slotted
class BodyReader:
    """Feeds bodies. `strings` holds each metadata text once: exporters repeat a stack trace on every node of a source line; `names` each name of
    a value, so that who makes it and who reads it name it by one object: that takes less memory, and less time to look up."""

    tensors: TensorReader
    strings: dict[str, str] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    types: dict[bytes, tuple[str | None, Shape | None]] = field(default_factory=dict)
    nodes_left: int = MOST_NODES
    values_left: int = _MOST_VALUES

    def feed(self, body: Body, graph: Any) -> None:
        """Add a piece of a GraphProto to `body`."""
        for initializer in graph.initializer:
            self._add_tensor(body, text(initializer.name), self.tensors.tensor(initializer))
        for initializer in graph.sparse_initializer:
            self._add_tensor(body, text(initializer.values.name), self.tensors.sparse(initializer))
        for value in graph.input:
            body.inputs.append(value.name)
            self._add_type(body, value)
        for value in graph.output:
            body.outputs.append(value.name)
            self._add_type(body, value)
        for value in graph.value_info:
            self._add_type(body, value)
        for entry in graph.metadata_props:
            body.metadata[text(entry.key)] = self._shared(text(entry.value))
        if graph.doc_string:
            body.metadata.setdefault("doc_string", self._shared(text(graph.doc_string)))
        self._add_nodes(body, graph.node)

    def function(self, function: Any) -> Body:
        """A FunctionProto as a body."""
        body = Body(inputs=[text(name) for name in function.input], outputs=[text(name) for name in function.output])
        body.attributes = dict.fromkeys(text(name) for name in function.attribute)
        for attribute in function.attribute_proto:
            body.attributes[text(attribute.name)] = self._attribute(attribute)
        for value in function.value_info:
            self._add_type(body, value)
        self._add_nodes(body, function.node)
        return body

    def _add_tensor(self, body: Body, name: str, data: TensorData) -> None:
        if not name:
            return  # nothing can read it
        if name in body.tensors:
            raise TrainauditError(
                "duplicate-name", f"Two tensors of the model are named {shown(name)}.", "Export the model again."
            )
        body.tensors[self.names.setdefault(name, name)] = data

    def _shared(self, text: str) -> str:
        return self.strings.setdefault(text, text)

    def _add_type(self, body: Body, value: Any) -> None:
        """Note a ValueInfoProto. Equal types are told apart by their bytes and read once: a file repeats a few of them thousands of times."""
        self.values_left -= 1
        if self.values_left < 0:
            raise TrainauditError("too-large", f"The model declares more than {_MOST_VALUES:,} values.")
        content = value.type.SerializeToString()
        known = self.types.get(content)
        if known is None:
            known = self.types[content] = _type_of(value.type)
        dtype, shape = known
        name = text(value.name)
        if dtype is not None:
            body.dtypes[name] = dtype
        if shape is not None:
            body.shapes[name] = shape

    def _add_nodes(self, body: Body, nodes: Any) -> None:
        strings, share = self.strings, self.names.setdefault
        operators: dict[str, str] = {}
        texts: list[str] = []
        append = body.nodes.append
        count = len(nodes)
        self.nodes_left -= count
        if self.nodes_left < 0:
            raise too_many_nodes()
        body.node_count += count
        for node in nodes:
            op, domain, name, read, made = node.op_type, node.domain, node.name, node.input[:], node.output[:]
            inputs, outputs = list(map(share, read, read)), list(map(share, made, made))
            op, domain = operators.setdefault(op, op), operators.setdefault(domain, domain)
            if domain == "ai.onnx":
                domain = ""
            attributes, metadata = _NO_ATTRIBUTES, _NO_METADATA
            # Most nodes have few of these, and to walk over nothing takes twice the time of asking.
            if stated := node.attribute:
                attributes, bodies, references = self._attributes(body, stated)
                if op == "Constant" and not domain and not references and len(outputs) == 1:
                    data = constant_data(attributes)
                    if data is not None:
                        self._add_tensor(body, text(outputs[0]), data)
                        body.constants.add(outputs[0])
                        continue
                if bodies:
                    body.bodies[len(body.nodes)] = bodies
                if references:
                    body.references[len(body.nodes)] = references
            if overload := node.overload:
                body.overloads[len(body.nodes)] = overload
            if entries := node.metadata_props:
                metadata = {entry.key: strings.setdefault(said, said) for entry in entries if (said := entry.value)}
            if doc_string := node.doc_string:
                metadata = {"doc_string": self._shared(doc_string), **metadata}
            texts.append(name)
            if attributes or metadata:
                texts += (*attributes, *metadata)
            append(RawNode(op, domain, name, inputs, outputs, attributes, metadata))
        # protobuf hands bytes out where a text is not UTF-8
        if set(map(type, chain(operators, strings, self.names, texts))) - {str}:
            raise not_text()

    def _attributes(self, body: Body, stated: Any) -> tuple[dict[str, RawAttribute], dict[str, Body], dict[str, str]]:
        """A node's attributes: values, graphs, and those that stand for one of the function's."""
        attributes: dict[str, RawAttribute] = {}
        bodies: dict[str, Body] = {}
        references: dict[str, str] = {}
        for attribute in stated:
            if attribute.ref_attr_name:
                references[text(attribute.name)] = text(attribute.ref_attr_name)
            elif attribute.type == _GRAPH or (attribute.type == 0 and attribute.HasField("g")):
                inner = Body()
                self.feed(inner, attribute.g)
                body.node_count += inner.node_count
                bodies[text(attribute.name)] = inner
            else:
                found = self._attribute(attribute)
                if found is not None:
                    attributes[attribute.name] = found
        return attributes, bodies, references

    def _attribute(self, attribute: Any) -> RawAttribute | None:
        """The attribute's value; None for kinds that no audit reads (types, lists of tensors, lists of graphs)."""
        kind = attribute.type or _guess(attribute)
        if kind == _INT:
            return int(attribute.i)
        if kind == _INTS:
            return _numbers(attribute.ints, np.int64)
        if kind == _FLOAT:
            return float(attribute.f)
        if kind == _TEXT:
            return str(attribute.s.decode(errors="replace"))
        if kind == _TENSOR:
            return self.tensors.tensor(attribute.t)
        if kind == _FLOATS:
            return _numbers(attribute.floats, np.float32)
        if kind == _TEXTS:
            return [text.decode(errors="replace") for text in attribute.strings]
        if kind == _SPARSE:
            return self.tensors.sparse(attribute.sparse_tensor)
        return None


def text(value: Any) -> str:
    """A string field of a message. Raises `TrainauditError` where protobuf hands it out as bytes, for it is not UTF-8."""
    if value.__class__ is str:
        return str(value)
    raise not_text()


def not_text() -> TrainauditError:
    return TrainauditError(
        "invalid-text",
        "The model holds a name that is not UTF-8 text, so the file is damaged.",
        "Export the model again.",
    )


def _type_of(kind: Any) -> tuple[str | None, Shape | None]:
    """(dtype, shape) of a TypeProto, as far as it tells; sequences, maps and optionals have neither."""
    if not kind.HasField("tensor_type"):
        return None, None
    tensor = kind.tensor_type
    dtype = TYPE_NAMES.get(tensor.elem_type)
    if not tensor.HasField("shape"):
        return dtype, None
    shape: list[int | str | None] = []
    for axis in tensor.shape.dim:
        if axis.HasField("dim_value"):
            shape.append(axis.dim_value if axis.dim_value >= 0 else None)
        else:
            shape.append(text(axis.dim_param) or None)
    return dtype, tuple(shape)


def _numbers(values: Any, dtype: Any) -> list[int] | list[float] | TensorData:
    if len(values) > _LONG_LIST:
        return ArrayData(np.fromiter(values, dtype, len(values)))
    numbers: list[float] = values[:]
    return numbers


def _guess(attribute: Any) -> int:
    """The kind of an attribute that does not say it, as files of IR version 1 do not."""
    for name, kind in (
        ("f", _FLOAT), ("i", _INT), ("s", _TEXT), ("t", _TENSOR), ("g", _GRAPH), ("sparse_tensor", _SPARSE),
    ):  # fmt: skip
        if attribute.HasField(name):
            return kind
    for name, kind in (("ints", _INTS), ("floats", _FLOATS), ("strings", _TEXTS)):
        if len(getattr(attribute, name)):
            return kind
    return 0


def constant_data(attributes: Mapping[str, RawAttribute]) -> TensorData | None:
    """What a Constant node holds, in any of its seven spellings, or None where it is none of them."""
    for name, value in attributes.items():
        if not isinstance(value, int | float | str | list):
            return value if name in ("value", "sparse_value", "value_ints", "value_floats") else None
        if name in ("value_float", "value_floats"):
            return ArrayData(np.array(value, np.float32))
        if name in ("value_int", "value_ints"):
            return ArrayData(np.array(value, np.int64))
        if name in ("value_string", "value_strings"):
            return ArrayData(np.array(value, object), "string")
    return None


def too_many_nodes() -> TrainauditError:
    return TrainauditError(
        "too-large",
        f"The model has more than {MOST_NODES:,} nodes, which is more than trainaudit audits.",
        "Export it without unrolled loops, or audit its parts.",
    )
