"""Writing raw nodes for traced calls: what every translation uses. Imports no torch: it reads what the tracer left in the calls."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from trainaudit.ir.graph import Shape, TensorData
from trainaudit.ir.tensor import ArrayData
from trainaudit.load.datatypes import TYPE_NAMES
from trainaudit.load.known import FillData
from trainaudit.load.raw import RawAttribute, RawNode
from trainaudit.load.torch.sizes import dimension, shape_of
from trainaudit.load.torch.tensors import type_word

Names = str | list[str]
"""What a call's result is called: one value, or several."""

TYPE_CODES = {name: code for code, name in TYPE_NAMES.items()}

LAST = 2**63 - 1


@dataclass(slots=True)
class Emitter:
    """The raw graph being written. `symbols` names symbolic sizes; `values` says what each traced node's result is called."""

    symbols: dict[Any, str]
    nodes: list[RawNode] = field(default_factory=list)
    tensors: dict[str, TensorData] = field(default_factory=dict)
    constants: set[str] = field(default_factory=set)
    shapes: dict[str, Shape] = field(default_factory=dict)
    dtypes: dict[str, str] = field(default_factory=dict)
    values: dict[Any, Names] = field(default_factory=dict)
    taken: set[str] = field(default_factory=set)
    metadata: dict[str, str] = field(default_factory=dict)
    label: str = ""
    """Of the call being translated: its nodes' metadata, and the name that its values are made from."""
    stored: dict[Any, tuple[str, Any]] = field(default_factory=dict)
    """Traced placeholders and attributes that are tensors of the module: name and tensor."""
    joined: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Stored tensors that stand for several of the module, and those."""
    sizes_known: dict[tuple[str, int], str] = field(default_factory=dict)

    def fresh(self, wanted: str) -> str:
        """A value name that nothing else has."""
        name, number = wanted, 1
        while name in self.taken:
            name, number = f"{wanted}_{number}", number + 1
        self.taken.add(name)
        return name

    def add(
        self, op: str, inputs: Sequence[str], *, outputs: int = 1, domain: str = "", **attributes: RawAttribute
    ) -> str:
        """A node; the name of its first result. Trailing absent inputs are left off."""
        return self.several(op, inputs, outputs, domain, **attributes)[0]

    def several(
        self, op: str, inputs: Sequence[str], count: int, domain: str = "", **attributes: RawAttribute
    ) -> list[str]:
        """A node with `count` results."""
        given = list(inputs)
        while given and not given[-1]:
            given.pop()
        made = [
            self.fresh(f"{self.label}_{op.lower()}" if not place else f"{self.label}_{op.lower()}_{place}")
            for place in range(count)
        ]
        self.nodes.append(RawNode(op, domain, self.label, given, made, attributes, self.metadata))
        return made

    def array(self, values: npt.NDArray[np.generic]) -> str:
        """A stored tensor with these values."""
        name = self.fresh("val_0")
        self.tensors[name] = ArrayData(values)
        self.constants.add(name)
        return name

    def numbers(self, values: Iterable[int]) -> str:
        """A stored list of integers."""
        return self.array(np.asarray(list(values), np.int64))

    def fill(self, value: float | bool, dtype: str, shape: tuple[int, ...] = ()) -> str:
        """A stored tensor with one value everywhere; a number where `shape` is ()."""
        name = self.fresh("val_0")
        self.tensors[name] = FillData(shape, dtype, value)
        self.constants.add(name)
        return name

    def name(self, argument: Any, like: Any = None) -> str:
        """What an argument of a call is called: a traced node's value, a stored number of the type of `like`, "" for None."""
        if argument is None:
            return ""
        if isinstance(argument, (bool, int, float)):
            return self.fill(argument, self.dtype(like) or ("float32" if isinstance(argument, float) else "int64"))
        found = self.values.get(argument)
        if found is None:
            return self.size_value(argument)
        return found if isinstance(found, str) else found[0]

    def dtype(self, node: Any) -> str:
        """The element type of a traced value, "" where it has none."""
        kind = getattr(traced(node), "dtype", None)
        return "" if kind is None else type_word(kind)

    def shape(self, node: Any) -> Shape:
        """The shape of a traced value (also of one that is stored)."""
        return shape_of(traced(node), self.symbols)

    def sizes(self, wanted: Sequence[Any]) -> str:
        """A list of sizes as a value: stored where all are numbers, else computed."""
        if all(isinstance(size, int) for size in wanted):
            return self.numbers(wanted)
        pieces = [self.numbers([size]) if isinstance(size, int) else self._size_list(size) for size in wanted]
        return pieces[0] if len(pieces) == 1 else self.add("Concat", pieces, axis=0)

    def _size_list(self, node: Any) -> str:
        """A traced size as a list of one."""
        if node not in self.values and _size_word(node) == "sym_size":
            return self._axis(self.name(node.args[0]), node.args[1])
        return self.add("Unsqueeze", [self.name(node), self.numbers([0])])

    def _axis(self, source: str, axis: int) -> str:
        found = self.sizes_known.get((source, axis))
        if found is None:
            found = self.sizes_known[source, axis] = self.add("Shape", [source], start=axis, end=axis + 1)
        return found

    def size_value(self, node: Any) -> str:
        """A traced size as a value of rank 0, written when something reads it."""
        fixed = dimension(traced(node), {}) if traced(node) is not None else None
        if isinstance(fixed, int):
            name = self.numbers([fixed])
            name = self.add("Squeeze", [name, self.numbers([0])])
        else:
            name = self._size_node(node)
        self.values[node] = name
        return name

    def _size_node(self, node: Any) -> str:
        target = _size_word(node)
        if target == "sym_size":
            return self.add("Squeeze", [self._axis(self.name(node.args[0]), node.args[1]), self.numbers([0])])
        if target == "sym_numel":
            return self.add("Size", [self.name(node.args[0])])
        op = _SIZE_OPERATORS.get(target)
        operands = [self.name(operand) for operand in node.args if operand is not None]
        return self.add(op or target, operands, domain="" if op else "aten")


def _size_word(node: Any) -> str:
    """The operator that computes a traced size: "sym_size", "mul" …"""
    return str(getattr(node.target, "__name__", node.target)).partition(".")[0]


_SIZE_OPERATORS = {
    "add": "Add",
    "sub": "Sub",
    "mul": "Mul",
    "floordiv": "Div",
    "truediv": "Div",
    "sym_max": "Max",
    "sym_min": "Min",
    "neg": "Neg",
}


def traced(node: Any) -> Any:
    """The tracer's example of a node's value: a tensor without data, a symbolic size, or a list of those."""
    return getattr(node, "meta", {}).get("val")


@dataclass(frozen=True, slots=True)
class Call:
    """One traced call: the node and its arguments by the names of the operator's schema, defaults filled in."""

    node: Any
    arguments: dict[str, Any]

    def __getitem__(self, name: str) -> Any:
        return self.arguments[name]

    def get(self, name: str, default: Any = None) -> Any:
        value = self.arguments.get(name, default)
        return default if value is None else value

    @property
    def result(self) -> Any:
        """The tracer's example of the result."""
        return traced(self.node)


Translate = Callable[[Emitter, Call], Names | None]
"""Writes the nodes of a call and says what its result is called; None where it cannot, and the call becomes an unknown operator."""


def rank_of(node: Any) -> int:
    return len(traced(node).shape)


def positive(axis: int, rank: int) -> int:
    """An axis counted from the front."""
    return axis + rank if axis < 0 else axis


def each(value: Any, count: int) -> list[int]:
    """One number for each spatial axis."""
    items = [value] if isinstance(value, int) else list(value)
    return items * count if len(items) == 1 else items
