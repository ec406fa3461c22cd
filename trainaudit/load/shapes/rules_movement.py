"""Shape rules of operators that move, select, join and make values. Stdlib, load.dimensions and load.shape_known only.

Semantics: the ONNX operator specification, opset 7 to the newest.
"""

# ruff: noqa: ARG001 (one signature for every rule)

from __future__ import annotations

from trainaudit.ir.graph import Dimension, Shape
from trainaudit.load.raw import RawNode
from trainaudit.load.shapes.dimensions import (
    add,
    as_size,
    ceil_divide,
    divide,
    floor_divide,
    is_nonnegative,
    merge,
    minimum,
    multiply,
    product,
    subtract,
)
from trainaudit.load.shapes.known import (
    Known,
    Rule,
    Shapes,
    axes_argument,
    axis_of,
    input_name,
    integer,
    integers,
    shape_from,
)
from trainaudit.load.shapes.rules_elementwise import broadcast_shapes

_FAR = 2**31 - 1
"""Slices that end here or beyond end at the end: exporters write the largest 32- or 64-bit number."""


def reshape(node: RawNode, shapes: Shapes, known: Known) -> Shapes:
    """Reshape: 0 copies a size (unless `allowzero`), -1 is inferred."""
    target = integers(node, "shape") or known.sizes(input_name(node, 1))
    if target is None:
        length = known.length(input_name(node, 1))
        return (None if length is None else (None,) * min(length, 64),)
    return (reshaped(shapes[0], tuple(target), copies_zero=not integer(node, "allowzero", 0)),)


def reshaped(shape: Shape | None, target: tuple[Dimension, ...], *, copies_zero: bool) -> Shape:
    """The shape that `target` stands for, given the shape before. A single unknown size follows from the element count."""
    result: list[Dimension] = []
    left = None if shape is None else list(shape)
    right: list[Dimension] = []
    missing: list[int] = []
    for axis, size in enumerate(target):
        if size == 0 and copies_zero:
            result.append(None if shape is None else shape[axis])
            if left is not None:
                left[axis] = 1  # the same size on both sides
        elif size is None or size == -1:
            missing.append(axis)
            result.append(None)
        else:
            result.append(as_size(size))
            right.append(size)
    if len(missing) == 1 and left is not None and 0 not in right:
        for size in right:
            if size in left:
                left.remove(size)
                right = _without(right, size)
        result[missing[0]] = divide(product(left), product(right))
    return tuple(result)


def _without(sizes: list[Dimension], size: Dimension) -> list[Dimension]:
    position = sizes.index(size)
    return sizes[:position] + sizes[position + 1 :]


def flatten(node: RawNode, shapes: Shapes, known: Known) -> Shapes:
    """Flatten to a matrix."""
    shape = shapes[0]
    if shape is None:
        return ((None, None),)
    axis = integer(node, "axis", 1)
    axis = axis + len(shape) if axis < 0 else axis
    return ((product(shape[:axis]), product(shape[axis:])),)


def transpose(node: RawNode, shapes: Shapes, known: Known) -> Shapes:
    """Transpose; without `perm` the axes are reversed."""
    shape = shapes[0]
    order = integers(node, "perm")
    if shape is None:
        return (None if order is None else (None,) * len(order),)
    return (shape[::-1] if order is None else tuple([shape[axis] for axis in order]),)


def squeeze(node: RawNode, shapes: Shapes, known: Known) -> Shapes:
    """Squeeze: axes as an attribute, or as an input from opset 13."""
    shape = shapes[0]
    axes = axes_argument(node, known, 1)
    if shape is None:
        return (None,)
    if axes is None:
        count = known.length(input_name(node, 1))
        return (None if count is None else (None,) * (len(shape) - count),)
    if axes:
        dropped = {axis_of(axis, len(shape)) for axis in axes}
        return (tuple([size for axis, size in enumerate(shape) if axis not in dropped]),)
    if all(isinstance(size, int) for size in shape):
        return (tuple([size for size in shape if size != 1]),)
    return (None,)


def unsqueeze(node: RawNode, shapes: Shapes, known: Known) -> Shapes:
    """Unsqueeze: axes as an attribute, or as an input from opset 13."""
    shape = shapes[0]
    if shape is None:
        return (None,)
    axes = axes_argument(node, known, 1)
    if axes is None:
        count = known.length(input_name(node, 1))
        return (None if count is None else (None,) * (len(shape) + min(count, 64)),)
    rank = len(shape) + len(axes)
    result = list(shape)
    for axis in sorted({axis_of(axis, rank) for axis in axes}):
        result.insert(axis, 1)
    return (tuple(result) if len(result) == rank else None,)


def expand(node: RawNode, shapes: Shapes, known: Known) -> Shapes:
    """Expand: broadcasting with a shape."""
    target = known.sizes(input_name(node, 1))
    if target is not None:
        return (broadcast_shapes(shapes[0], shape_from(target)),)
    length = known.length(input_name(node, 1))
    return (None if length is None else broadcast_shapes(shapes[0], (None,) * min(length, 64)),)


def tile(node: RawNode, shapes: Shapes, known: Known) -> Shapes:
    """Tile: every axis repeated."""
    shape = shapes[0]
    repeats = known.sizes(input_name(node, 1))
    if shape is None:
        return (None if repeats is None else (None,) * len(repeats),)
    if repeats is None:
        return ((None,) * len(shape),)
    return (tuple(map(multiply, shape, repeats)),)


def concat(node: RawNode, shapes: Shapes, known: Known) -> Shapes:
    """Concat: sizes add up on the axis; elsewhere all inputs agree, so each tells what it knows."""
    first = next((shape for shape in shapes if shape is not None), None)
    if first is None:
        return (None,)
    axis = axis_of(integer(node, "axis", 1), len(first))
    result = list(first)
    total: Dimension = 0
    for shape in shapes:
        if shape is None:
            total = None
            continue
        if len(shape) != len(first):
            return (None,)
        total = add(total, shape[axis])
        if shape is not first:
            result = list(map(merge, result, shape))
    result[axis] = total
    return (tuple(result),)


def split(node: RawNode, shapes: Shapes, known: Known) -> Shapes:
    """Split: into stated sizes, or evenly with a smaller last part."""
    shape = shapes[0]
    count = len(node.outputs)
    if shape is None:
        return (None,) * count
    axis = axis_of(integer(node, "axis", 0), len(shape))
    stated = integers(node, "split")
    sizes: list[Dimension] | None
    if stated is not None:
        sizes = list(shape_from(stated))
    elif input_name(node, 1):
        folded = known.sizes(input_name(node, 1))
        sizes = None if folded is None else list(shape_from(folded))
    else:
        whole = shape[axis]
        sizes = [divide(whole, count)] * count
        if isinstance(whole, int) and sizes[0] is None:
            part = ceil_divide(whole, count)
            rest = subtract(whole, multiply(part, count - 1))
            sizes = [part] * (count - 1) + [rest] if is_nonnegative(rest) else None
    if sizes is None or len(sizes) != count:
        sizes = [None] * count
    return [(*shape[:axis], size, *shape[axis + 1 :]) for size in sizes]


def slice_(node: RawNode, shapes: Shapes, known: Known) -> Shapes:
    """Slice: bounds as attributes (before opset 10) or inputs."""
    shape = shapes[0]
    if shape is None:
        return (None,)
    axes: tuple[Dimension, ...] | None
    starts: tuple[Dimension, ...] | None
    ends: tuple[Dimension, ...]
    if "starts" in node.attributes:
        starts, ends = tuple(integers(node, "starts") or ()), tuple(integers(node, "ends") or ())
        axes, steps = axes_argument(node, known, 9), None
    else:
        starts, ends = known.sizes(node.inputs[1]), known.sizes(node.inputs[2]) or ()
        axes = axes_argument(node, known, 3)
        steps = known.sizes(input_name(node, 4)) if input_name(node, 4) else (1,) * len(shape)
    if axes is None:
        return ((None,) * len(shape),)
    if axes == ():
        count = len(shape) if starts is None else len(starts)
        axes = tuple(range(count))
    result = list(shape)
    for position, axis in enumerate(axes):
        place = axis_of(axis, len(shape))
        start = starts[position] if starts is not None else None
        end = ends[position] if ends else None
        step = 1 if "starts" in node.attributes else (steps[position] if steps is not None else None)
        result[place] = slice_size(shape[place], start, end, step)
    return (tuple(result),)


def slice_size(size: Dimension, start: Dimension, end: Dimension, step: Dimension) -> Dimension:
    """How many elements `[start:end:step]` selects from `size`."""
    if start is None or end is None or not isinstance(step, int) or step == 0:
        return None
    if isinstance(size, int) and isinstance(start, int) and isinstance(end, int):
        return len(range(size)[slice(start, end if step > 0 or end >= -size else None, step)])
    if step < 0:
        whole = (start == -1 or (isinstance(start, int) and start >= _FAR)) and isinstance(end, int) and end <= -_FAR
        return ceil_divide(size, -step) if whole else None
    last = _clamped(size, end)
    first = as_size(add(size, start)) if isinstance(start, int) and start < 0 else as_size(start)
    if first is None and isinstance(start, int) and start < 0 and isinstance(end, int) and end >= _FAR:
        return ceil_divide(minimum(size, -start), step)  # the last few of an unknown number
    return ceil_divide(as_size(subtract(last, first)), step) if last is not None else None


def _clamped(size: Dimension, end: Dimension) -> Dimension:
    if isinstance(end, int):
        if end >= _FAR:
            return size
        if end < 0:
            return as_size(add(size, end))
    return minimum(size, as_size(end))


def gather(node: RawNode, shapes: Shapes, known: Known) -> Shapes:
    """Gather: the indices' shape in place of the axis."""
    shape, indices = shapes
    if shape is None or indices is None:
        return (None,)
    axis = axis_of(integer(node, "axis", 0), len(shape))
    return (shape[:axis] + indices + shape[axis + 1 :],)


def gather_elements(node: RawNode, shapes: Shapes, known: Known) -> Shapes:
    """GatherElements: shaped like the indices."""
    return (shapes[1],)


def gather_nd(node: RawNode, shapes: Shapes, known: Known) -> Shapes:
    """GatherND: the last axis of the indices counts the axes that they index."""
    shape, indices = shapes
    if shape is None or indices is None or not isinstance(indices[-1], int):
        return (None,)
    return (indices[:-1] + shape[integer(node, "batch_dims", 0) + indices[-1] :],)


def pad(node: RawNode, shapes: Shapes, known: Known) -> Shapes:
    """Pad: amounts as an attribute (before opset 11) or an input."""
    shape = shapes[0]
    if shape is None:
        return (None,)
    stated = integers(node, "pads") or integers(node, "paddings")
    amounts = tuple(stated) if stated is not None else known.sizes(input_name(node, 1))
    axes = axes_argument(node, known, 3)
    if amounts is None or axes is None:
        return ((None,) * len(shape),)
    places = [axis_of(axis, len(shape)) for axis in axes] if axes else list(range(len(shape)))
    result = list(shape)
    for position, place in enumerate(places):
        both = add(amounts[position], amounts[position + len(places)])
        result[place] = as_size(add(result[place], both))
    return (tuple(result),)


def depth_to_space(node: RawNode, shapes: Shapes, known: Known) -> Shapes:
    """(N, C, H, W) → (N, C/b², H·b, W·b)."""
    if shapes[0] is None:
        return ((None,) * 4,)
    batch, channels, height, width = shapes[0]
    block = integer(node, "blocksize", 1)
    return ((batch, divide(channels, block * block), multiply(height, block), multiply(width, block)),)


def space_to_depth(node: RawNode, shapes: Shapes, known: Known) -> Shapes:
    """(N, C, H, W) → (N, C·b², H/b, W/b)."""
    if shapes[0] is None:
        return ((None,) * 4,)
    batch, channels, height, width = shapes[0]
    block = integer(node, "blocksize", 1)
    return ((batch, multiply(channels, block * block), floor_divide(height, block), floor_divide(width, block)),)


RULES: dict[str, Rule] = {
    "Concat": concat,
    "DepthToSpace": depth_to_space,
    "Expand": expand,
    "Flatten": flatten,
    "Gather": gather,
    "GatherElements": gather_elements,
    "GatherND": gather_nd,
    "Pad": pad,
    "Reshape": reshape,
    "Slice": slice_,
    "SpaceToDepth": space_to_depth,
    "Split": split,
    "Squeeze": squeeze,
    "Tile": tile,
    "Transpose": transpose,
    "Unsqueeze": unsqueeze,
}
