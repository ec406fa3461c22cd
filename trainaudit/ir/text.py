"""A graph as readable text: one line for each layer, the same text for the same graph. May import ir only.

    graph model.onnx: onnx, opset 17, inference
    input %x: f32[N,64]
    %0 encoder.fc1 = linear(%x) [in_features=64, out_features=128] {weight: fc1.weight f32[128,64]} -> f32[N,128]
    %1 encoder.relu = relu(%0) -> f32[N,128]
    output %1

A value is written as its layer's number (`%3`, `%3.1` for a second result) or as the graph input's name. Names that would not be
read as one word, or that hold control characters, are quoted and escaped.
"""

from __future__ import annotations

import json
from collections.abc import Iterable

from trainaudit.ir.graph import Attribute, Graph, Layer, Parameter, Shape

_SHORT = {
    "float16": "f16", "float32": "f32", "float64": "f64", "bfloat16": "bf16", "int8": "i8", "int16": "i16", "int32": "i32",
    "int64": "i64", "uint8": "u8", "uint16": "u16", "uint32": "u32", "uint64": "u64",
}  # fmt: skip

_SPECIAL = frozenset(" \"'`()[]{},=:%@<>|\\#")


def to_text(graph: Graph) -> str:
    """The whole graph, ending in a newline. Linear in the graph's size."""
    origin = graph.origin
    opset = f", opset {origin.opset}" if origin.opset is not None else ""
    name = origin.path.replace("\\", "/").rsplit("/", 1)[-1]  # the folder is the machine's, not the model's
    lines = [f"graph {word(name)}: {word(origin.format)}{opset}, {word(graph.form)}"]
    references = {name: f"%{input_word(name)}" for name in graph.inputs}
    for name in graph.inputs:
        lines.append(f"input {references[name]}: {_type_of(graph, name)}")
    for layer in graph.layers:
        for slot, name in enumerate(layer.outputs):
            references[name] = f"%{layer.index}.{slot}" if slot else f"%{layer.index}"
        lines.append(layer_line(graph, layer, references))
    for name in graph.outputs:
        lines.append(f"output {references.get(name, word(name))}")
    return "\n".join(lines) + "\n"


def layer_line(graph: Graph, layer: Layer, references: dict[str, str]) -> str:
    """One layer; `references` says how the values that it reads are written."""
    inputs = ", ".join(references.get(name, word(name)) for name in layer.inputs)
    line = f"%{layer.index} {word(layer.name)} = {layer.op.value}({inputs})"
    if layer.attributes:
        line += (
            f" [{', '.join(f'{word(name)}={_attribute(value)}' for name, value in sorted(layer.attributes.items()))}]"
        )
    if layer.parameters:
        stored = (
            f"{word(role)}: {_parameter(graph.parameters.get(name), name)}" for role, name in layer.parameters.items()
        )
        line += f" {{{', '.join(stored)}}}"
    return f"{line} -> {', '.join(_type_of(graph, name) for name in layer.outputs)}"


def shape_text(shape: Shape | None) -> str:
    """A shape in brackets: `[N,?,64]`; `[…]` where not even the rank is known."""
    return "[…]" if shape is None else f"[{','.join('?' if size is None else _size(size) for size in shape)}]"


def word(text: str) -> str:
    """`text` where it reads as one word, else quoted, with everything that is not printable ASCII escaped."""
    if text and text.isprintable() and _SPECIAL.isdisjoint(text):
        return text
    return json.dumps(text)


def input_word(name: str) -> str:
    """The name of a graph input, never to be taken for a layer's number."""
    return json.dumps(name) if name[:1].isdigit() else word(name)


def _size(size: int | str) -> str:
    if isinstance(size, int):
        return str(size)
    return size if size.isprintable() and size.isascii() and '"' not in size and "\\" not in size else json.dumps(size)


def _type_of(graph: Graph, name: str) -> str:
    value = graph.values.get(name)
    return "?" if value is None else _type(value.dtype, value.shape)


def _type(dtype: str | None, shape: Shape | None) -> str:
    return ("?" if dtype is None else _SHORT.get(dtype, word(dtype))) + shape_text(shape)


def _parameter(parameter: Parameter | None, name: str) -> str:
    if parameter is None:
        return f"{word(name)} (missing)"
    notes = "".join(
        f" {note}"
        for note, holds in (("frozen", not parameter.trainable), ("tied", len(parameter.owners) > 1))
        if holds
    )
    return f"{word(name)} {_type(parameter.dtype, parameter.shape)}{notes}"


def _attribute(value: Attribute) -> str:
    if isinstance(value, tuple):
        return _list(_attribute(item) for item in value)
    if isinstance(value, bool):
        return "true" if value else "false"
    return word(value) if isinstance(value, str) else repr(value)


def _list(items: Iterable[str]) -> str:
    return f"({', '.join(items)})"
