"""Where everything stands in an ONNX file: its nodes, its stored tensors and its declared values.

Stdlib and the loader's walk over the wire format. Nothing is parsed that need not be, and payloads of tensors stay in the file.
"""

from __future__ import annotations

from collections.abc import Iterator

from trainaudit.errors import TrainauditError
from trainaudit.fix.file.editing import (
    INITIALIZER,
    INPUT,
    NODE,
    OUTPUT,
    SPARSE,
    VALUE,
    Chunk,
    Contents,
    Editing,
    Node,
    Tensor,
)
from trainaudit.fix.file.fields import fields
from trainaudit.ir.graph import Graph
from trainaudit.load.datafile import open_model
from trainaudit.load.wire import ATTRIBUTE, FUNCTION, GRAPH, INSIDE, TENSOR, Window, WireError, entries, varint

_MODEL_VERSION, _MODEL_GRAPH, _MODEL_METADATA, _MODEL_FUNCTION = 1, 7, 14, 25
_NODE_INPUT, _NODE_ATTRIBUTE = 1, 5
_NODE_TEXTS = (1, 2, 3, 4, 7)
"""Inputs, outputs, name, operator and domain."""

_TENSOR_NAME, _TENSOR_EXTERNAL, _VALUE_NAME = 8, 13, 1
_BODIES = frozenset({6, 11})
"""Fields of AttributeProto that hold graphs."""

_CONTROL = frozenset({"If", "Loop", "Scan", "SequenceMap"})


def index_file(path: str, graph: Graph) -> Editing:
    """Where everything stands in the file that `graph` was read from.

    Raises `TrainauditError` where it cannot be read, or is not the file any more that was."""
    file = open_model(path)
    twins = frozenset(name.rpartition(" (")[0] for name in graph.parameters if name.endswith(")"))
    layers = {layer.name: layer for layer in graph.layers}
    editing = Editing(path, file, Window(file), graph, layers=layers, twins=twins)
    try:
        for number, wire, start, payload, stop in entries(editing.window, 0, file.size):
            if number == _MODEL_GRAPH and wire == 2:
                editing.chunks.append(Chunk(start, payload, stop))
            elif number == _MODEL_VERSION and wire == 0:
                editing.ir_version = varint(file.read(payload, stop - payload), 0)[0]
            elif number == _MODEL_METADATA and wire == 2:
                content = file.read(payload, stop - payload)
                editing.metadata += [content[a:b].decode() for n, w, _, a, b in fields(content) if n == 1 and w == 2]
        for chunk in editing.chunks:
            _index_graph(editing, chunk)
        found = editing.found
        editing.now = Contents(found.nodes[:], dict(found.tensors), dict(found.values), found.makers, found.readers)
    except (WireError, UnicodeDecodeError) as error:
        raise _damaged(path) from error
    return editing


def _index_graph(editing: Editing, chunk: Chunk) -> None:
    window, found = editing.window, editing.found
    for number, wire, start, payload, stop in entries(window, chunk.payload, chunk.stop):
        if wire != 2:
            continue
        if number == NODE:
            node = _node(editing, start, payload, stop)
            found.nodes.append(node)
            found.enter(node)
            editing.node_names.add(node.name)
            editing.names.update(node.inputs, node.outputs, node.outer)
        elif number == INITIALIZER:
            name = _name(window, payload, stop, _TENSOR_NAME)
            found.tensors[name] = Tensor(name, start, payload, stop)
            editing.names.add(name)
        elif number in (INPUT, OUTPUT, VALUE):
            name = _name(window, payload, stop, _VALUE_NAME)
            editing.names.add(name)
            if number == VALUE:
                found.values[name] = (start, stop)
            else:
                (editing.inputs if number == INPUT else editing.outputs).add(name)
        elif number == SPARSE:
            name = _sparse_name(window, payload, stop)
            editing.sparse.add(name)
            editing.names.add(name)


def _name(window: Window, start: int, stop: int, wanted: int) -> str:
    name = ""
    for number, wire, _, payload, end in entries(window, start, stop):
        if number == wanted and wire == 2:
            name = window.slice(payload, end).decode()
    return name


def _sparse_name(window: Window, start: int, stop: int) -> str:
    for number, wire, _, payload, end in entries(window, start, stop):
        if number == 1 and wire == 2:
            return _name(window, payload, end, _TENSOR_NAME)
    return ""


def _node(editing: Editing, start: int, payload: int, stop: int) -> Node:
    window = editing.window
    said: dict[int, list[str]] = {number: [] for number in _NODE_TEXTS}
    attributes: list[tuple[int, int]] = []
    for number, wire, _, begin, end in entries(window, payload, stop):
        if wire == 2 and number == _NODE_ATTRIBUTE:
            attributes.append((begin, end))
        elif wire == 2 and number in said:
            said[number].append(window.slice(begin, end).decode())
    inputs, outputs, name, op, domain = said.values()
    kind, room = "".join(op[-1:]), "".join(domain[-1:])
    room = "" if room == "ai.onnx" else room
    outer: tuple[str, ...] = ()
    if kind in _CONTROL or room:
        outer = tuple(dict.fromkeys(read for begin, end in attributes for read in _read_inside(editing, begin, end)))
    return Node(kind, room, "".join(name[-1:]), tuple(inputs), tuple(outputs), start, payload, stop, None, outer)


def _read_inside(editing: Editing, start: int, stop: int) -> Iterator[str]:
    """Names that the graphs of an attribute read, some of which may be the main graph's; names of their own do no harm."""
    stack = [(start, stop, False)]
    while stack:
        begin, end, is_graph = stack.pop()
        for number, wire, _, payload, last in entries(editing.window, begin, end):
            if wire != 2:
                continue
            if not is_graph:
                if number in _BODIES:
                    stack.append((payload, last, True))
                continue
            if number == OUTPUT:
                yield _name(editing.window, payload, last, _VALUE_NAME)
            elif number == NODE:
                for inner, kind, _, at, until in entries(editing.window, payload, last):
                    if inner == _NODE_INPUT and kind == 2:
                        yield editing.window.slice(at, until).decode()
                    elif inner == _NODE_ATTRIBUTE and kind == 2:
                        stack.append((at, until, False))


def external_locations(editing: Editing) -> list[str]:
    """Where the external data of the file lie, as it says, each once; tensors inside nodes, functions and bodies count. Raises `TrainauditError`."""
    try:
        return list(_locations(editing))
    except (WireError, UnicodeDecodeError) as error:
        raise _damaged(editing.path) from error


def _locations(editing: Editing) -> dict[str, None]:
    found: dict[str, None] = {}
    window = Window(editing.file)
    stack = [
        (kind, payload, stop)
        for number, wire, _, payload, stop in list(entries(window, 0, editing.file.size))
        if wire == 2 and (kind := {_MODEL_GRAPH: GRAPH, _MODEL_FUNCTION: FUNCTION}.get(number)) is not None
    ]
    while stack:
        kind, begin, end = stack.pop()
        inside = INSIDE[kind]
        for number, wire, _, payload, stop in entries(window, begin, end):
            if kind == ATTRIBUTE and 7 <= number <= 9:
                break  # numbers or texts, perhaps millions
            if wire == 2 and number in inside:
                stack.append((inside[number], payload, stop))
            elif kind == TENSOR and wire == 2 and number == _TENSOR_EXTERNAL:
                content = window.slice(payload, stop)
                said = {n: content[a:b].decode() for n, w, _, a, b in fields(content) if w == 2}
                if said.get(1) == "location":
                    found[said.get(2, "")] = None
    return found


def _damaged(path: str) -> TrainauditError:
    return TrainauditError("damaged-file", f"{path} is damaged.", "Copy or export it again.")
