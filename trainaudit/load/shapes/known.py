"""What shape rules read: the facts known so far and a node's attributes. Stdlib, load.raw and ir only.

A rule takes a node, the shapes of its inputs (None where unknown or absent) and `Known`, and returns the shapes of its outputs in
order; outputs that it leaves out are unknown. A rule trusts its node: one that breaks its operator's contract (an input that is
missing, an axis out of range, an attribute of the wrong type) raises one of `MALFORMED`, and its outputs stay unknown.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import field

from trainaudit.frozen import slotted
from trainaudit.ir.graph import Dimension, Shape, TensorData
from trainaudit.load.raw import RawNode
from trainaudit.load.shapes.dimensions import as_size

Number = int | float | str | None
"""An element of a small tensor: a number, a symbolic whole number, or unknown."""

Shapes = Sequence[Shape | None]

MOST_ELEMENTS = 64
"""Tensors with more elements are never folded: what shapes are computed from is smaller."""

MALFORMED: tuple[type[Exception], ...] = (IndexError, KeyError, TypeError, ValueError, AttributeError, ArithmeticError)


@slotted
class Known:
    """Everything inferred so far. `numbers` holds the elements of small tensors, flat and in row-major order; `loops` and
    `weakened` serve `rules_control`: entries by their body's scope, and what stays of carried shapes that change."""

    tensors: dict[str, TensorData]
    shapes: dict[str, Shape]
    dtypes: dict[str, str]
    opset: int
    numbers: dict[str, tuple[Number, ...]] = field(default_factory=dict)
    loops: dict[str, RawNode] = field(default_factory=dict)
    weakened: dict[str, Shape | None] = field(default_factory=dict)

    def is_foldable(self, name: str) -> bool:
        """Whether `vector` may know something; reads nothing."""
        return name in self.numbers or name in self.tensors

    def vector(self, name: str) -> tuple[Number, ...] | None:
        """The elements of a small tensor, stored or computed, or None. A stored one is read once."""
        known = self.numbers.get(name)
        if known is not None:
            return known
        tensor = self.tensors.get(name)
        if tensor is None or math.prod(tensor.shape) > MOST_ELEMENTS or tensor.dtype in _NOT_NUMBERS:
            return None
        read: tuple[Number, ...] = tuple(int(x) if isinstance(x, bool) else x for x in tensor.read().ravel().tolist())
        if any(isinstance(x, float) and not math.isfinite(x) for x in read):
            read = tuple(None if isinstance(x, float) and not math.isfinite(x) else x for x in read)
        self.numbers[name] = read
        return read

    def sizes(self, name: str) -> tuple[Dimension, ...] | None:
        """Like `vector`, for tensors of whole numbers."""
        known = self.vector(name)
        if known is None:
            return None
        return tuple(None if isinstance(x, float) else x for x in known)

    def scalar(self, name: str) -> Dimension:
        """The single whole number in a tensor, or None."""
        known = self.vector(name)
        if known is None or len(known) != 1 or isinstance(known[0], float):
            return None
        return known[0]

    def length(self, name: str) -> int | None:
        """How many elements a vector has, where that is known."""
        shape = self.shapes.get(name)
        return shape[0] if shape is not None and len(shape) == 1 and isinstance(shape[0], int) else None


_NOT_NUMBERS = frozenset({"string", "str", "object", "complex64", "complex128"})

Rule = Callable[[RawNode, Shapes, Known], Shapes]


def shape_from(values: Sequence[Dimension]) -> Shape:
    """Folded numbers as the shape of a tensor: what cannot be a size is unknown."""
    return tuple(as_size(value) for value in values)


def input_name(node: RawNode, position: int) -> str:
    """The name of an optional input, "" where it is absent."""
    return node.inputs[position] if len(node.inputs) > position else ""


def input_shape(shapes: Shapes, position: int) -> Shape | None:
    """The shape of an optional input."""
    return shapes[position] if len(shapes) > position else None


def integer(node: RawNode, name: str, default: int) -> int:
    """A whole-number attribute."""
    value = node.attributes.get(name, default)
    if not isinstance(value, int):
        raise TypeError(name)
    return value


def integers(node: RawNode, name: str) -> list[int] | None:
    """A list-of-whole-numbers attribute; None where it is absent."""
    value = node.attributes.get(name)
    if value is None:
        return None
    if not isinstance(value, list) or not all(isinstance(x, int) for x in value):
        raise TypeError(name)
    return [x for x in value if isinstance(x, int)]


def text(node: RawNode, name: str, default: str) -> str:
    """A text attribute."""
    value = node.attributes.get(name, default)
    if not isinstance(value, str):
        raise TypeError(name)
    return value


def axis_of(axis: Dimension, rank: int) -> int:
    """`axis` counted from the front."""
    if not isinstance(axis, int) or not -rank <= axis < rank:
        raise IndexError(axis)
    return axis + rank if axis < 0 else axis


def axes_argument(node: RawNode, known: Known, position: int) -> tuple[Dimension, ...] | None:
    """The axes that an attribute ("axes", older opsets) or an input gives; () where neither is there, None where unknown."""
    stated = integers(node, "axes")
    if stated is not None:
        return tuple(stated)
    name = input_name(node, position)
    if not name:
        return ()
    values = known.sizes(name)
    return None if values is None or None in values else values
