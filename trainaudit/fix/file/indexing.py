"""Where everything stands in an ONNX file: its nodes, its stored tensors and its declared values, and what is to be changed of them.

Stdlib and the loader's walk over the wire format. Nothing is parsed that need not be, and payloads of tensors stay in the file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import field

from trainaudit.errors import TrainauditError
from trainaudit.fix.file.fields import fields
from trainaudit.frozen import frozen, slotted
from trainaudit.ir.graph import Graph
from trainaudit.load.datafile import DataFile, open_model
from trainaudit.load.datatypes import Array
from trainaudit.load.wire import ATTRIBUTE, FUNCTION, GRAPH, INSIDE, TENSOR, Window, WireError, entries, varint

NODE, INITIALIZER, INPUT, OUTPUT, VALUE, SPARSE = 1, 5, 11, 12, 13, 15
"""Fields of GraphProto."""

_MODEL_VERSION, _MODEL_GRAPH, _MODEL_METADATA, _MODEL_FUNCTION = 1, 7, 14, 25
_NODE_INPUT, _NODE_ATTRIBUTE = 1, 5
_NODE_TEXTS = (1, 2, 3, 4, 7)
"""Inputs, outputs, name, operator and domain."""

_TENSOR_NAME, _TENSOR_EXTERNAL, _VALUE_NAME = 8, 13, 1
_BODIES = frozenset({6, 11})
"""Fields of AttributeProto that hold graphs."""

_CONTROL = frozenset({"If", "Loop", "Scan", "SequenceMap"})


@frozen(eq=False)
class Node:
    """A node of the main graph. `start`, `payload` and `stop` tell where its field stands in the file, -1 for one that was put in; `content` is its message
    where it is not the file's. `outer` are the values that graphs inside it may read."""

    op: str
    domain: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    start: int = -1
    payload: int = -1
    stop: int = -1
    content: bytes | None = None
    outer: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """What tells nodes apart: a value has one maker."""
        return next((name for name in self.outputs if name), "")


@frozen(eq=False)
class Tensor:
    """An initializer. `start`, `payload` and `stop` tell where its field stands in the file, or (where `is_new`) the message that it is made from; `content` is
    its message where that stands nowhere. `make` gives new values in the file's layout and element type; None: they stay."""

    name: str
    start: int = -1
    payload: int = -1
    stop: int = -1
    content: bytes | None = None
    make: Callable[[], Array] | None = None
    is_new: bool = False


@frozen
class Chunk:
    """A graph field of the file: where it starts with its tag, where its payload does, and where it ends."""

    start: int
    payload: int
    stop: int


@slotted(eq=False)
class Contents:
    """The nodes, stored tensors and declared values of a main graph, in the order of the file."""

    nodes: list[Node] = field(default_factory=list)
    tensors: dict[str, Tensor] = field(default_factory=dict)
    values: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Name → where its field starts and ends."""

    def copied(self) -> Contents:
        return Contents(self.nodes[:], dict(self.tensors), dict(self.values))


@slotted(eq=False)
class Editing:
    """A file, what stands in it (`found`) and what shall stand in it (`now`)."""

    path: str
    file: DataFile
    window: Window
    graph: Graph
    chunks: list[Chunk] = field(default_factory=list)
    found: Contents = field(default_factory=Contents)
    now: Contents = field(default_factory=Contents)
    inputs: set[str] = field(default_factory=set)
    outputs: set[str] = field(default_factory=set)
    sparse: set[str] = field(default_factory=set)
    names: set[str] = field(default_factory=set)
    node_names: set[str] = field(default_factory=set)
    metadata: list[str] = field(default_factory=list)
    """Keys of the model's metadata."""
    ir_version: int = 0

    @property
    def opset(self) -> int:
        return self.graph.origin.opset or 0

    def message(self, item: Node | Tensor) -> bytes:
        """The whole message of a node or tensor, as it is now (a tensor's without its new values)."""
        if item.content is not None:
            return item.content
        return self.file.read(item.payload, item.stop - item.payload)

    def maker(self, value: str) -> Node | None:
        """The node of the main graph that gives a value."""
        return next((node for node in self.now.nodes if value in node.outputs), None) if value else None

    def readers(self, value: str) -> list[Node]:
        """The nodes of the main graph that read a value, themselves or in a graph inside them."""
        return [node for node in self.now.nodes if value in node.inputs or value in node.outer]

    def is_read(self, value: str) -> bool:
        """A node reads the value, or it is an output of the model."""
        return value in self.outputs or bool(self.readers(value))

    def put(self, old: Node, *new: Node) -> None:
        """Puts nodes in the place of one: none takes it out."""
        place = next(index for index, node in enumerate(self.now.nodes) if node is old)
        self.now.nodes[place : place + 1] = new

    def new_name(self, base: str) -> str:
        """A name that no value of the file has; it has one now."""
        return _free(base, self.names)

    def new_node_name(self, base: str) -> str:
        return _free(base, self.node_names)


def _free(base: str, taken: set[str]) -> str:
    name, number = base, 2
    while name in taken:
        name, number = f"{base}_{number}", number + 1
    taken.add(name)
    return name


def index_file(path: str, graph: Graph) -> Editing:
    """Where everything stands in the file that `graph` was read from.

    Raises `TrainauditError` where it cannot be read, or is not the file any more that was."""
    file = open_model(path)
    editing = Editing(path, file, Window(file), graph)
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
        editing.now = editing.found.copied()
    except (WireError, UnicodeDecodeError) as error:
        raise TrainauditError("damaged-file", f"{path} is damaged.", "Copy or export it again.") from error
    return editing


def _index_graph(editing: Editing, chunk: Chunk) -> None:
    window, found = editing.window, editing.found
    for number, wire, start, payload, stop in entries(window, chunk.payload, chunk.stop):
        if wire != 2:
            continue
        if number == NODE:
            node = _node(editing, start, payload, stop)
            found.nodes.append(node)
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
    """Where the external data of the file lie, as it says, each once; tensors inside nodes, functions and bodies count."""
    found: dict[str, None] = {}
    window = editing.window
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
    return list(found)
