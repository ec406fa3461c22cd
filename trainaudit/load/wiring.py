"""Who makes and who reads each value of a `RawGraph`, and what is known about it: the index that recognition works on (`indexing` fills it).

Stdlib, numpy, ir and load.raw only.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import field
from typing import Any

from trainaudit.frozen import slotted
from trainaudit.ir.graph import Attribute, Role, Shape
from trainaudit.ir.ops import Op
from trainaudit.load.known import Stored
from trainaudit.load.raw import RawGraph, RawNode
from trainaudit.load.shapes.known import Number

SMALL = 4096
"""Stored tensors up to this many elements are read during recognition (shapes, axes, scalars)."""


@slotted
class Use:
    """A stored tensor in the role it has in a layer. `unit_axis` is an axis of the parameter as the file holds it."""

    role: Role
    tensor: Stored
    unit_axis: int | None = None
    fan_in: int | None = None
    fan_out: int | None = None
    groups: int = 1
    gates: int = 1
    trainable: bool | None = None


@slotted
class Draft:
    """A layer before it has a name: `node` is the raw node that names it, `last` the one whose place it takes, `nodes` all it stands for."""

    op: Op
    node: int
    inputs: list[str]
    outputs: list[str]
    nodes: tuple[int, ...]
    uses: list[Use] = field(default_factory=list)
    attributes: dict[str, Attribute] = field(default_factory=dict)
    last: float = -1

    def __post_init__(self) -> None:
        if self.last < 0:
            self.last = self.nodes[0] if len(self.nodes) == 1 else max(self.nodes)


@slotted
class Wiring:
    """The index. `taken` marks nodes that a recognised pattern has absorbed; `known` caches what `stored` found; `functions`
    which activation functions stretches of nodes are, and `plain` the values that end none of them; `copies` is by what they are
    put together from the name of each tensor that the graph puts together."""

    raw: RawGraph
    nodes: list[RawNode]
    shapes: dict[str, Shape]
    dtypes: dict[str, str]
    numbers: dict[str, tuple[Number, ...]]
    outputs: frozenset[str]
    producer: dict[str, int] = field(default_factory=dict)
    consumers: dict[str, list[int]] = field(default_factory=dict)
    known: dict[str, Stored] = field(default_factory=dict)
    scalars: dict[str, float | None] = field(default_factory=dict)
    functions: dict[Any, tuple[Op, dict[str, Attribute]] | None] = field(default_factory=dict)
    plain: set[str] = field(default_factory=set)
    masks: dict[str, tuple[float, bool]] = field(default_factory=dict)
    copies: dict[Any, str] = field(default_factory=dict)
    taken: bytearray = field(default_factory=bytearray)

    def stored(self, name: str) -> Stored | None:
        """The tensor behind a value, where it is known without running the model."""
        found = self.known.get(name)
        if found is None:
            data = self.raw.tensors.get(name)
            if data is None:
                return None
            found = self.known[name] = Stored(name, data, data.shape)
        return found

    def is_stored(self, name: str) -> bool:
        return name in self.raw.tensors or name in self.known

    def scalar(self, name: str) -> float | None:
        """The number that a value holds, where it is stored and has one element."""
        try:
            return self.scalars[name]
        except KeyError:
            pass
        result: float | None = None
        found = self.stored(name)
        if found is not None and found.size == 1 and not found.quantized:
            try:
                result = float(found.read().reshape(-1)[0])
            except (TypeError, ValueError):
                result = None
        self.scalars[name] = result
        return result

    def integers(self, name: str) -> tuple[int, ...] | None:
        """The integers that a stored value of rank 0 or 1 holds."""
        found = self.stored(name)
        if found is None or found.size > SMALL or len(found.shape) > 1:
            return None
        array = found.read()
        if array.dtype.kind not in "iub":
            return None
        return tuple(int(item) for item in array.reshape(-1).tolist())

    def argument(self, node: RawNode, position: int, attribute: str) -> tuple[int, ...] | None:
        """Integers that newer opsets give as an input and older ones as an attribute."""
        value = node.attributes.get(attribute)
        if isinstance(value, list):
            return tuple(int(item) for item in value if not isinstance(item, str))
        if isinstance(value, int):
            return (value,)
        if len(node.inputs) > position and node.inputs[position]:
            return self.integers(node.inputs[position])
        return None

    def rank(self, name: str) -> int | None:
        found = self.shapes.get(name)
        if found is not None:
            return len(found)
        tensor = self.stored(name)
        return None if tensor is None else len(tensor.shape)

    def dimension(self, name: str, axis: int) -> int | None:
        """The size of one axis, where it is a known number."""
        found = self.shapes.get(name)
        if found is None:
            tensor = self.stored(name)
            if tensor is None:
                return None
            found = tensor.shape
        if not -len(found) <= axis < len(found):
            return None
        size = found[axis]
        return size if isinstance(size, int) else None

    def maker(self, name: str, *ops: str) -> int | None:
        """The node that makes a value, where it is one of `ops` and not yet absorbed."""
        number = self.producer.get(name)
        if number is None or self.taken[number] or self.nodes[number].op not in ops:
            return None
        return number

    def reader(self, name: str, *ops: str) -> int | None:
        """The only node that reads a value, where it is one of `ops` and not yet absorbed."""
        numbers = self.consumers.get(name)
        if numbers is None or name in self.outputs or len(numbers) != 1:
            return None
        number = numbers[0]
        return None if self.taken[number] or self.nodes[number].op not in ops else number

    def results(self, node: RawNode) -> list[str]:
        """A node's first result, and the others that something reads."""
        outputs = node.outputs
        if len(outputs) == 1:
            return [outputs[0]]
        return [
            name
            for position, name in enumerate(outputs)
            if name and (position == 0 or name in self.consumers or name in self.outputs)
        ]

    def is_closed(self, members: Iterable[int], exits: Iterable[str]) -> bool:
        """Nothing outside `members` reads what they make, `exits` aside."""
        inside = set(members)
        allowed = set(exits)
        for number in inside:
            for name in self.nodes[number].outputs:
                if not name or name in allowed:
                    continue
                if name in self.outputs:
                    return False
                for reader in self.consumers.get(name, ()):
                    if reader not in inside:
                        return False
        return True

    def split_scalar(self, node: RawNode) -> tuple[str, float] | None:
        """Of a two-operand node the operand that is not stored and the number that the other one holds."""
        if len(node.inputs) != 2:
            return None
        left, right = node.inputs
        number = self.scalar(right)
        if number is not None and not self.is_stored(left):
            return left, number
        number = self.scalar(left)
        if number is not None and not self.is_stored(right):
            return right, number
        return None


def number(node: RawNode, name: str, default: int) -> int:
    """An integer attribute."""
    value = node.attributes.get(name, default)
    return value if isinstance(value, int) else default


def real(node: RawNode, name: str, default: float) -> float:
    """A number attribute."""
    value = node.attributes.get(name, default)
    return float(value) if isinstance(value, (int, float)) else default


def numbers(node: RawNode, name: str) -> tuple[int, ...] | None:
    """A list of integers, or None where the attribute is absent."""
    value = node.attributes.get(name)
    return tuple(int(item) for item in value) if isinstance(value, list) else None


def word(node: RawNode, name: str, default: str = "") -> str:
    """A text attribute."""
    value = node.attributes.get(name, default)
    return value if isinstance(value, str) else default
