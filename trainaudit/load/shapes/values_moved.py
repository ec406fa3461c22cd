"""Folds that move the elements of small tensors about, and what all folds share. Stdlib, numpy and load only.

Semantics: the ONNX operator specification.
"""

# ruff: noqa: ARG001 (one signature for every fold)

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from trainaudit.ir.graph import Dimension, Shape
from trainaudit.load.raw import RawNode
from trainaudit.load.shapes.known import MOST_ELEMENTS, Known, Number, Shapes, input_name, integer, integers

Values = tuple[Number, ...]
"""Elements, flat in row-major order: numbers, symbolic whole numbers as texts, None for unknown ones; booleans as 0 and 1."""

Fold = Callable[[RawNode, Shapes, Known], Values | None]

_Elements = np.ndarray[tuple[int, ...], np.dtype[np.object_]]


def element_count(shape: Shape | None) -> int | None:
    """How many elements a tensor has, where they are few enough to be folded."""
    if shape is None:
        return None
    count = 1
    for length in shape:
        if not isinstance(length, int):
            return None
        count *= length
    return count if count <= MOST_ELEMENTS else None


def output_count(node: RawNode, known: Known) -> int | None:
    """How many elements the first output has, where they are few."""
    return element_count(known.shapes.get(node.outputs[0]))


def operands(node: RawNode, known: Known) -> list[Values] | None:
    """The elements of all inputs, or None; reads no stored tensor unless all inputs are stored or small."""
    for name in node.inputs:
        if not known.is_foldable(name):
            return None
    result = []
    for name in node.inputs:
        values = known.vector(name)
        if values is None:
            return None
        result.append(values)
    return result


def first(node: RawNode, shapes: Shapes, known: Known) -> Values | None:
    """The elements of the first input: what Identity, Reshape, Squeeze and the like give."""
    return known.vector(node.inputs[0])


def _array(values: Values, shape: Shape | None) -> _Elements:
    if shape is None or not all(isinstance(length, int) for length in shape):
        raise ValueError(shape)
    result = np.empty(len(values), dtype=object)
    result[:] = values
    return result.reshape([length for length in shape if isinstance(length, int)])


def _flat(array: _Elements) -> Values:
    return tuple(array.ravel().tolist())


def _gather(node: RawNode, shapes: Shapes, known: Known) -> Values | None:
    values = first(node, shapes, known)
    shape, places = shapes
    if values is None or shape is None or places is None:
        return None
    wanted = known.vector(node.inputs[1])
    if wanted is None or not all(isinstance(x, int) for x in wanted):
        count = output_count(node, known)
        return None if count is None else (None,) * count
    picks = [x for x in wanted if isinstance(x, int)]
    if len(shape) == 1:
        return tuple([values[x] for x in picks])
    indices = np.array(picks, dtype=np.int64).reshape([x for x in places if isinstance(x, int)])
    return _flat(np.take(_array(values, shape), indices, axis=integer(node, "axis", 0)))


def _slice(node: RawNode, shapes: Shapes, known: Known) -> Values | None:
    values = first(node, shapes, known)
    shape = shapes[0]
    if values is None or shape is None:
        return None
    bounds: list[list[int]] = []
    for position, name in enumerate(("starts", "ends", "axes", "steps")):
        given: tuple[Dimension, ...] | list[int] | None = integers(node, name)
        if given is None and input_name(node, position + 1):
            given = known.sizes(node.inputs[position + 1])
            if given is None:
                return None
        bounds.append([x for x in given or () if isinstance(x, int)])
        if len(bounds[-1]) != len(given or ()):
            return None
    starts, ends, axes, steps = bounds
    index = [slice(None)] * len(shape)
    for position, (start, end) in enumerate(zip(starts, ends, strict=True)):
        axis = axes[position] if axes else position
        index[axis] = slice(start, end, steps[position] if steps else 1)
    return values[index[0]] if len(shape) == 1 else _flat(_array(values, shape)[tuple(index)])


def _concat(node: RawNode, shapes: Shapes, known: Known) -> Values | None:
    # An input that is small but not known leaves its own elements unknown, not all of them: (batch, ?, 768) is worth having.
    numbers = known.numbers
    if not any(name in numbers for name in node.inputs) and not all(map(known.is_foldable, node.inputs)):
        return None
    parts: list[Values] = []
    for name, shape in zip(node.inputs, shapes, strict=True):
        values = known.vector(name)
        if values is None:
            count = element_count(shape)
            if count is None:
                return None
            values = (None,) * count
        parts.append(values)
    if all(shape is not None and len(shape) == 1 for shape in shapes):
        return tuple([value for part in parts for value in part])
    arrays = [_array(part, shape) for part, shape in zip(parts, shapes, strict=True)]
    return _flat(np.concatenate(arrays, axis=integer(node, "axis", 1)))


def _transpose(node: RawNode, shapes: Shapes, known: Known) -> Values | None:
    values = first(node, shapes, known)
    return None if values is None else _flat(_array(values, shapes[0]).transpose(integers(node, "perm")))


def _expand(node: RawNode, shapes: Shapes, known: Known) -> Values | None:
    values, count = first(node, shapes, known), output_count(node, known)
    if values is None or count is None:
        return None
    target = [x for x in known.shapes[node.outputs[0]] if isinstance(x, int)]
    return _flat(np.broadcast_to(_array(values, shapes[0]), target))


def _tile(node: RawNode, shapes: Shapes, known: Known) -> Values | None:
    given = operands(node, known)
    if given is None or output_count(node, known) is None:
        return None
    return _flat(np.tile(_array(given[0], shapes[0]), [int(x) for x in given[1] if isinstance(x, int)]))


def _split(node: RawNode, shapes: Shapes, known: Known) -> Values | None:
    """All outputs at once; the first is returned."""
    values = first(node, shapes, known)
    if values is None or len(shapes[0] or ()) != 1:
        return None
    lengths = [element_count(known.shapes.get(name)) for name in node.outputs]
    start = 0
    for name, length in zip(node.outputs, lengths, strict=True):
        if length is None:
            return None
        known.numbers[name] = values[start : start + length]
        start += length
    return values[: lengths[0]]


def _scatter_nd(node: RawNode, shapes: Shapes, known: Known) -> Values | None:
    given = operands(node, known)
    if given is None or len(shapes[0] or ()) != 1 or "reduction" in node.attributes:
        return None
    values, places, updates = given
    result = list(values)
    for place, update in zip(places, updates, strict=True):
        if not isinstance(place, int):
            return None
        result[place] = update
    return tuple(result)


FOLDS: dict[str, Fold] = {
    "Concat": _concat,
    "Expand": _expand,
    "Flatten": first,
    "Gather": _gather,
    "Identity": first,
    "Reshape": first,
    "ScatterND": _scatter_nd,
    "Slice": _slice,
    "Split": _split,
    "Squeeze": first,
    "Tile": _tile,
    "Transpose": _transpose,
    "Unsqueeze": first,
}
