"""One graph, read through torch and through two exporters of ONNX: what may differ between them and what may not.

`normal_lines` writes a graph so that these differences are gone, and no others:

- names: of values, inputs, nodes, of constants (what the module's state does not name), of statistics that are computed from a weight,
  and of what an exporter packs anew; raw spelling, number of nodes, and `epsilon_dropped`, which says what an exporter left out;
- order: layers are written in the order in which the outputs need them, depth first;
- sizes: layers that compute with shapes alone (exporters read sizes off activations; torch.export knows them), and the zeros that a
  recurrence starts with;
- relabeling: reshape, flatten, squeeze, unsqueeze and moves of axes of size 1 are one operation, told by the shape it gives; a chain of
  them is its last, and one that gives the shape it reads is none, as are slices of everything, casts to the same type and casts of
  one whole number to another; axes of size 1 are left out of sums and means;
- numbers are compared to five digits; outputs that nothing reads are left out, and `training` of batch_norm and dropout, which torch's newer
  exporter writes as in inference;
- two transposes in a row are one, the same operation twice on the same values is one (dropout aside), as are concatenations of
  concatenations, 1/x is reciprocal, adding 0 and multiplying by 1 is nothing, a split is its slices: the older exporter writes them so;
- two spellings of torch's newer exporter: it swaps the last two axes of keys in three nodes, and averages over an image with reduce_mean.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from trainaudit.ir.graph import Attribute, Graph, Layer, Shape
from trainaudit.ir.ops import RECURRENT, Op
from trainaudit.ir.text import shape_text

_LEFT_OUT = ("training", "epsilon_dropped")
_VIEWS = frozenset({Op.RESHAPE, Op.FLATTEN, Op.SQUEEZE, Op.UNSQUEEZE})
_NOTHING = frozenset({Op.SLICE, Op.CAST, Op.EXPAND, Op.IDENTITY, Op.DETACH})
"""Layers that are none where they keep shape and type."""


_COUNTS = {"int32", "int64"}
_NEUTRAL = {Op.ADD: 0, Op.SUB: 0, Op.MUL: 1, Op.DIV: 1}
"""What changes nothing where it is added, subtracted …"""


@dataclass
class Node:
    """A layer that can be rewritten."""

    op: str
    inputs: list[str]
    output: str
    others: tuple[str, ...]
    attributes: dict[str, str]
    parameters: list[str]
    shape: Shape | None


@dataclass
class Plain:
    """A graph as rewritable nodes by the name of what they make."""

    makers: dict[str, Node] = field(default_factory=dict)
    alias: dict[str, str] = field(default_factory=dict)

    def resolve(self, name: str) -> str:
        while name in self.alias:
            name = self.alias[name]
        return name

    def maker(self, name: str, op: str) -> Node | None:
        node = self.makers.get(self.resolve(name))
        return node if node is not None and node.op == op else None


def normal_lines(graph: Graph, stored: Mapping[str, str]) -> list[str]:
    """The graph as one line for each layer, in the order in which its outputs need them. `stored` gives for
    each name of the module's parameters the first one of the same tensor (see `names_of`)."""
    sizes = _sizes(graph, stored)
    plain = Plain()
    for layer in graph.layers:
        if not layer.outputs or layer.outputs[0] in sizes:
            continue
        node = _node(graph, layer, sizes, stored)
        node.inputs = [plain.resolve(name) for name in node.inputs]
        _simplify(graph, plain, node, layer)
    return _written(graph, plain)


def _node(graph: Graph, layer: Layer, sizes: set[str], stored: Mapping[str, str]) -> Node:
    inputs = [name for name in layer.inputs if name not in sizes]
    attributes = {
        key: _number(value)
        for key, value in layer.attributes.items()
        if key not in _LEFT_OUT and not (key == "steps" and value == (1,))
    }
    packed = layer.op in RECURRENT

    def named(role: str) -> bool:
        return not packed and (bool(layer.inputs) or not role.startswith("running"))

    parameters = [
        f"{role}: {first_name(name, stored) if named(role) else ''} {shape_text(graph.parameters[name].shape)}"
        for role, name in layer.parameters.items()
        if packed or role.startswith("running") or name.partition("[")[0] in stored
    ]
    shape = graph.values[layer.outputs[0]].shape
    return Node(layer.op.value, inputs, layer.outputs[0], layer.outputs[1:], attributes, parameters, shape)


def first_name(name: str, stored: Mapping[str, str]) -> str:
    """Of a tied tensor the first name: exporters choose another."""
    base, bracket, part = name.partition("[")
    return f"{stored.get(base, base)}{bracket}{part}"


def names_of(module: Any) -> dict[str, str]:
    """Every name of a module's parameters, and the first name of the same tensor."""
    first: dict[int, str] = {}
    named = module.named_parameters(remove_duplicate=False)
    return {name: first.setdefault(id(parameter), name) for name, parameter in named}


def _simplify(graph: Graph, plain: Plain, node: Node, layer: Layer) -> None:
    """Enter a node, or what it comes to."""
    source = graph.values.get(layer.inputs[0]) if layer.inputs else None
    before = None if source is None else source.shape
    if layer.op in _VIEWS or (layer.op is Op.TRANSPOSE and _moves_only_ones(before, layer)):
        node.op, node.attributes, node.inputs = "view", {}, node.inputs[:1]
        _join_views(graph, plain, node)
        return
    value = graph.values[layer.outputs[0]]
    if (
        layer.attributes.get("scalar") == _NEUTRAL.get(layer.op, math.nan)
        and len(node.inputs) == 1
        and not node.parameters
    ):
        plain.alias[node.output] = node.inputs[0]
        return
    counts = layer.op is Op.CAST and source is not None and {source.dtype, value.dtype} <= _COUNTS
    keeps = source is not None and source.shape == value.shape and (counts or source.dtype == value.dtype)
    if layer.op in _NOTHING and not node.parameters and len(node.inputs) == 1 and keeps:
        plain.alias[node.output] = node.inputs[0]
        return
    axes = layer.attributes.get("axes")
    if layer.op is Op.GLOBAL_AVERAGE_POOL and before is not None:
        node.op, axes = Op.REDUCE_MEAN.value, tuple(range(2, len(before)))
    if node.op in (Op.REDUCE_MEAN, Op.REDUCE_SUM) and before is not None and isinstance(axes, tuple):
        _reduce(graph, plain, node, before, tuple(int(axis) for axis in axes))
        return
    perm = layer.attributes.get("perm")
    if layer.op is Op.TRANSPOSE and before is not None and 1 in before and isinstance(perm, tuple):
        _move(graph, plain, node, before, tuple(int(axis) for axis in perm))
        return
    if layer.op is Op.DIV and layer.attributes.get("scalar") == 1 and layer.attributes.get("scalar_side") == "left":
        node.op, node.attributes = Op.RECIPROCAL.value, {}
    elif layer.op is Op.TRANSPOSE and "perm" in node.attributes:
        _transpose(graph, plain, node)
        return
    elif layer.op is Op.CONCAT:
        inner = [plain.maker(name, node.op) for name in node.inputs]
        node.inputs = [
            source
            for name, maker in zip(node.inputs, inner, strict=True)
            for source in (maker.inputs if maker is not None and maker.attributes == node.attributes else [name])
        ]
    elif layer.op is Op.SPLIT and isinstance(layer.attributes.get("sizes"), tuple):
        _cut(graph, plain, node, layer)
        return
    plain.makers[node.output] = node


def _reduce(graph: Graph, plain: Plain, node: Node, before: Shape, axes: tuple[int, ...]) -> None:
    """A sum or mean over the axes that are not of size 1, between views."""
    kept = [axis for axis, size in enumerate(before) if size != 1]
    rest = tuple(size for axis, size in enumerate(before) if size != 1 and axis not in axes)
    attributes = {"axes": _number(tuple(place for place, axis in enumerate(kept) if axis in axes)), "keepdim": "false"}
    _between_views(graph, plain, node, tuple(before[axis] for axis in kept), attributes, rest)


def _move(graph: Graph, plain: Plain, node: Node, before: Shape, perm: tuple[int, ...]) -> None:
    """A transpose of the axes that are not of size 1, between views."""
    kept = [axis for axis, size in enumerate(before) if size != 1]
    moved = [axis for axis in perm if axis in kept]
    attributes = {"perm": _number(tuple(kept.index(axis) for axis in moved))}
    _between_views(
        graph, plain, node, tuple(before[axis] for axis in kept), attributes, tuple(before[axis] for axis in moved)
    )


def _between_views(
    graph: Graph, plain: Plain, node: Node, read: Shape, attributes: dict[str, str], made: Shape
) -> None:
    seen = Node("view", node.inputs[:1], f"{node.output} seen", (), {}, [], read)
    _join_views(graph, plain, seen)
    inner = Node(node.op, [plain.resolve(seen.output)], f"{node.output} small", (), attributes, [], made)
    if node.op == Op.TRANSPOSE:
        _transpose(graph, plain, inner)
    else:
        plain.makers[inner.output] = inner
    node.op, node.attributes, node.inputs = "view", {}, [plain.resolve(inner.output)]
    _join_views(graph, plain, node)


def _transpose(graph: Graph, plain: Plain, node: Node) -> None:
    """Two transposes in a row are one, and one that moves nothing is none."""
    if (first := plain.maker(node.inputs[0], node.op)) is not None:
        node.attributes = {"perm": _composed(first.attributes["perm"], node.attributes["perm"])}
        node.inputs = first.inputs
    if node.attributes["perm"] == _number(tuple(range(len(node.shape or ())))):
        plain.alias[node.output] = node.inputs[0]
    else:
        plain.makers[node.output] = node


def _composed(first: str, second: str) -> str:
    """Two permutations as one."""
    inner, outer = (list(map(int, text.strip("()").split(", "))) for text in (first, second))
    return _number(tuple(inner[axis] for axis in outer))


def _cut(graph: Graph, plain: Plain, node: Node, layer: Layer) -> None:
    """A split as slices."""
    start, axis = 0, layer.attributes["dim"]
    sizes = layer.attributes["sizes"]
    assert isinstance(sizes, tuple)
    for name, size in zip(layer.outputs, sizes, strict=False):
        bounds = {"axes": f"({axis})", "starts": f"({start})", "ends": f"({start + int(size)})"}
        plain.makers[name] = Node("slice", node.inputs, name, (), bounds, [], graph.values[name].shape)
        start += int(size)


def _join_views(graph: Graph, plain: Plain, node: Node) -> None:
    """A view of a view is a view of what that one sees; one that changes nothing is nothing; a swap of the last two axes between two
    views that merge and restore the axes before them is a swap."""
    first = plain.maker(node.inputs[0], "view")
    if first is not None:
        node.inputs = first.inputs
    swap = plain.maker(node.inputs[0], Op.TRANSPOSE.value)
    inner = plain.maker(swap.inputs[0], "view") if swap is not None else None
    if swap is not None and inner is not None and swap.attributes.get("perm") == "(0, 2, 1)":
        before, rank = _shape(graph, plain, inner.inputs[0]), len(node.shape or ())
        if before is not None and node.shape is not None and rank > 2:
            whole = (*node.shape[:-2], node.shape[-1], node.shape[-2])
            source = inner.inputs
            if before != whole:
                seen = Node("view", inner.inputs, f"{node.output} before", (), {}, [], whole)
                plain.makers[seen.output] = seen
                source = [seen.output]
            node.op, node.inputs = Op.TRANSPOSE.value, source
            node.attributes = {"perm": _number((*range(rank - 2), rank - 1, rank - 2))}
            plain.makers[node.output] = node
            return
    if node.shape is not None and _shape(graph, plain, node.inputs[0]) == node.shape:
        plain.alias[node.output] = node.inputs[0]
    else:
        plain.makers[node.output] = node


def _shape(graph: Graph, plain: Plain, name: str) -> Shape | None:
    node, value = plain.makers.get(name), graph.values.get(name)
    return node.shape if node is not None and node.output == name else None if value is None else value.shape


def _moves_only_ones(shape: Shape | None, layer: Layer) -> bool:
    perm = layer.attributes.get("perm")
    if shape is None or not isinstance(perm, tuple):
        return False
    wide = [axis for axis in perm if shape[int(axis)] != 1]
    return wide == sorted(wide)


def _written(graph: Graph, plain: Plain) -> list[str]:
    numbers = {name: f"in{place}" for place, name in enumerate(graph.inputs)}
    makers = dict(plain.makers)
    for node in plain.makers.values():
        makers.update(dict.fromkeys(node.others, node))
    lines: list[str] = []
    known: dict[str, int] = {}
    for output in graph.outputs:
        pending = [plain.resolve(output)]
        while pending:
            name = pending[-1]
            node = makers.get(name)
            if name in numbers or node is None:
                numbers.setdefault(name, "?")
                pending.pop()
                continue
            node.inputs = [plain.resolve(source) for source in node.inputs]
            missing = [source for source in node.inputs if source not in numbers]
            if missing:
                pending += reversed(missing)
                continue
            line = _line(node, numbers)
            number = known.setdefault(line, len(lines)) if node.op not in _DRAWS else len(lines)
            numbers[node.output] = f"%{number}"
            numbers.update({other: f"%{number}.{slot}" for slot, other in enumerate(node.others, 1)})
            if number == len(lines):
                lines.append(f"%{number} {line}")
    return [*lines, *(f"output {numbers[plain.resolve(name)]}" for name in graph.outputs)]


_DRAWS = frozenset({"dropout", "alpha_dropout", "random"})


def _line(node: Node, numbers: dict[str, str]) -> str:
    attributes = ", ".join(f"{key}={value}" for key, value in sorted(node.attributes.items()))
    inputs = ", ".join(numbers[name] for name in node.inputs)
    shape = shape_text(node.shape)
    return f"{node.op}({inputs}) [{attributes}] {{{', '.join(node.parameters)}}} -> {shape}"


def _sizes(graph: Graph, stored: Mapping[str, str]) -> set[str]:
    """Values that shapes alone determine, or that nothing does (zeros to start with); learnt tensors and random numbers aside."""
    found: set[str] = set()
    for layer in graph.layers:
        learnt = any(name.partition("[")[0] in stored for name in layer.parameters.values())
        if layer.op is Op.RANDOM or learnt:
            continue
        if layer.op is Op.SHAPE or all(name in found for name in layer.inputs):
            found.update(layer.outputs)
    return found


def _number(value: Attribute) -> str:
    if isinstance(value, tuple):
        return f"({', '.join(_number(item) for item in value)})"
    return f"{value:.5g}" if isinstance(value, float) else str(value).lower()
