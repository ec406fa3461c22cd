"""A file that is being changed: what stood in it, what shall stand in it, and how a change is taken back. Stdlib, `ir` and the loader's reading of files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import field
from typing import Any

from trainaudit.frozen import frozen, slotted
from trainaudit.ir.graph import Graph, Layer
from trainaudit.load.datafile import DataFile
from trainaudit.load.datatypes import Array
from trainaudit.load.wire import Window

NODE, INITIALIZER, INPUT, OUTPUT, VALUE, SPARSE = 1, 5, 11, 12, 13, 15
"""Fields of GraphProto."""


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
    """The nodes, stored tensors and declared values of a main graph, in the order of the file, and who makes and reads each value."""

    nodes: list[Node] = field(default_factory=list)
    tensors: dict[str, Tensor] = field(default_factory=dict)
    values: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Name → where its field starts and ends."""
    makers: dict[str, Node] = field(default_factory=dict)
    readers: dict[str, tuple[Node, ...]] = field(default_factory=dict)

    def enter(self, node: Node) -> None:
        """Makes known what a node makes and reads."""
        for name in node.outputs:
            if name:
                self.makers[name] = node
        for name in dict.fromkeys((*node.inputs, *node.outer)):
            self.readers[name] = (*self.readers.get(name, ()), node)

    def leave(self, node: Node) -> None:
        for name in node.outputs:
            if self.makers.get(name) is node:
                del self.makers[name]
        for name in dict.fromkeys((*node.inputs, *node.outer)):
            self.readers[name] = tuple(other for other in self.readers[name] if other is not node)


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
    layers: dict[str, Layer] = field(default_factory=dict)
    twins: frozenset[str] = frozenset()
    """Tensors that the graph holds as two parameters, since they mean two things."""
    undo: list[Callable[[], object]] = field(default_factory=list)
    exchanges: list[tuple[Node, tuple[Node, ...]]] = field(default_factory=list)
    """Nodes and what was put in their place, in order."""

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
        return self.now.makers.get(value)

    def readers(self, value: str) -> tuple[Node, ...]:
        """The nodes of the main graph that read a value, themselves or in a graph inside them."""
        return self.now.readers.get(value, ())

    def is_read(self, value: str) -> bool:
        """A node reads the value, or it is an output of the model."""
        return value in self.outputs or bool(self.readers(value))

    def put(self, old: Node, *new: Node) -> None:
        """Puts nodes in the place of one: none takes it out."""
        place = next(index for index, node in enumerate(self.now.nodes) if node is old)
        self._put(place, (old,), new)
        self.exchanges.append((old, new))
        self.undo.append(lambda: self._put(place, new, (old,)))

    def _put(self, place: int, old: Sequence[Node], new: Sequence[Node]) -> None:
        self.now.nodes[place : place + len(old)] = new
        for node in old:
            self.now.leave(node)
        for node in new:
            self.now.enter(node)

    def store(self, tensor: Tensor) -> None:
        """Puts a tensor in the place of the one of its name, or beside the others."""
        self._undo_later(self.now.tensors, tensor.name)
        self.now.tensors[tensor.name] = tensor

    def drop(self, name: str) -> None:
        """A tensor goes, and what the file declares of the value of that name."""
        for held in (self.now.tensors, self.now.values):
            if name in held and name not in self.inputs:
                self._undo_later(held, name)
                del held[name]

    def _undo_later(self, held: dict[str, Any], name: str) -> None:
        old = held.get(name)
        self.undo.append(lambda: held.pop(name, None) if old is None else held.__setitem__(name, old))

    def undo_to(self, mark: int) -> None:
        """Takes back what was noted since `undo` had that length."""
        while len(self.undo) > mark:
            self.undo.pop()()

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
