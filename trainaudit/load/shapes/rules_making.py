"""Shape rules of operators that make values from shapes or whose result's size the data decides. Stdlib and load only.

Semantics: the ONNX operator specification, opset 7 to the newest.
"""

# ruff: noqa: ARG001 (one signature for every rule)

from __future__ import annotations

from trainaudit.ir.graph import Shape
from trainaudit.load.raw import RawNode
from trainaudit.load.shapes.dimension_text import LARGEST
from trainaudit.load.shapes.dimensions import as_size, ceil_divide, product, subtract
from trainaudit.load.shapes.known import (
    Known,
    Rule,
    Shapes,
    axis_of,
    input_shape,
    integer,
    integers,
    shape_from,
)


def one_hot(node: RawNode, shapes: Shapes, known: Known) -> Shapes:
    """OneHot: a new axis of `depth` classes."""
    shape = shapes[0]
    if shape is None:
        return (None,)
    axis = axis_of(integer(node, "axis", -1), len(shape) + 1)
    return ((*shape[:axis], as_size(known.scalar(node.inputs[1])), *shape[axis:]),)


def shape_size(node: RawNode, shapes: Shapes, known: Known) -> Shapes:
    """Shape: a vector with one element per axis, of the stretch from `start` to `end`."""
    shape = shapes[0]
    return ((None,) if shape is None else (len(shape[shape_stretch(node)]),),)


def shape_stretch(node: RawNode) -> slice:
    """The axes that a Shape node reads (all of them before opset 15)."""
    return slice(integer(node, "start", 0), integer(node, "end", LARGEST))


def scalar(node: RawNode, shapes: Shapes, known: Known) -> Shapes:
    """Size and the like."""
    return ((),)


def constant_of_shape(node: RawNode, shapes: Shapes, known: Known) -> Shapes:
    """ConstantOfShape: the shape is the input's elements."""
    target = known.sizes(node.inputs[0])
    if target is not None:
        return (shape_from(target),)
    length = known.length(node.inputs[0])
    return (None if length is None else (None,) * min(length, 64),)


def range_(node: RawNode, shapes: Shapes, known: Known) -> Shapes:
    """Range: max(⌈(limit − start) / step⌉, 0) elements."""
    values = [known.vector(name) for name in node.inputs[:3]]
    if any(value is None or len(value) != 1 for value in values):
        return ((None,),)
    start, limit, step = (value[0] for value in values if value is not None)
    if isinstance(start, float) or isinstance(limit, float) or isinstance(step, float):
        if isinstance(start, (int, float)) and isinstance(limit, (int, float)) and isinstance(step, (int, float)):
            return ((max(int(-((start - limit) // step)), 0),),)
        return ((None,),)
    distance = subtract(limit, start)
    if not isinstance(step, int) or step == 0 or distance is None:
        return ((None,),)
    if isinstance(distance, int):
        return ((max(-(-distance // step), 0),),)
    return ((ceil_divide(as_size(distance), step) if step > 0 else None,),)


def random(node: RawNode, shapes: Shapes, known: Known) -> Shapes:
    """RandomNormal and RandomUniform."""
    stated = integers(node, "shape")
    return (None if stated is None else shape_from(stated),)


def multinomial(node: RawNode, shapes: Shapes, known: Known) -> Shapes:
    """(batch, classes) → (batch, samples)."""
    return ((shapes[0][0] if shapes[0] else None, as_size(integer(node, "sample_size", 1))),)


def nonzero(node: RawNode, shapes: Shapes, known: Known) -> Shapes:
    """NonZero: one row of indices per axis."""
    return ((len(shapes[0]) if shapes[0] is not None else None, None),)


def non_max_suppression(node: RawNode, shapes: Shapes, known: Known) -> Shapes:
    """Selected (batch, class, box) triples."""
    return ((None, 3),)


def unique(node: RawNode, shapes: Shapes, known: Known) -> Shapes:
    """Unique values, then three vectors of indices and counts."""
    shape = shapes[0]
    vector: Shape = (None,)
    if "axis" not in node.attributes:
        return (vector, vector, (None if shape is None else product(shape),), vector)
    if shape is None:
        return (None, vector, vector, vector)
    axis = axis_of(integer(node, "axis", 0), len(shape))
    return ((*shape[:axis], None, *shape[axis + 1 :]), vector, (shape[axis],), vector)


def compress(node: RawNode, shapes: Shapes, known: Known) -> Shapes:
    """Compress: as many as the condition says."""
    shape = shapes[0]
    if "axis" not in node.attributes:
        return ((None,),)
    if shape is None:
        return (None,)
    axis = axis_of(integer(node, "axis", 0), len(shape))
    return ((*shape[:axis], None, *shape[axis + 1 :]),)


def center_crop_pad(node: RawNode, shapes: Shapes, known: Known) -> Shapes:
    """CenterCropPad: stated sizes on the axes."""
    shape = shapes[0]
    if shape is None:
        return (None,)
    axes = integers(node, "axes")
    places = [axis_of(axis, len(shape)) for axis in axes] if axes is not None else list(range(len(shape)))
    sizes = known.sizes(node.inputs[1]) or (None,) * len(places)
    result = list(shape)
    for place, size in zip(places, sizes, strict=True):
        result[place] = as_size(size)
    return (tuple(result),)


def string_split(node: RawNode, shapes: Shapes, known: Known) -> Shapes:
    """StringSplit: the pieces on a new last axis, and their number."""
    shape = shapes[0]
    return (None if shape is None else (*shape, None), shape)


def nothing(node: RawNode, shapes: Shapes, known: Known) -> Shapes:
    """Sequences, maps and results whose shape only the data tells."""
    return ()


def text_normalizer(node: RawNode, shapes: Shapes, known: Known) -> Shapes:
    """StringNormalizer may drop strings."""
    shape = input_shape(shapes, 0)
    return (None if shape is None else (*shape[:-1], None),)


RULES: dict[str, Rule] = {
    "CenterCropPad": center_crop_pad,
    "Compress": compress,
    "ConcatFromSequence": nothing,
    "Constant": nothing,
    "ConstantOfShape": constant_of_shape,
    "Loop": nothing,
    "LoopEntry": nothing,
    "LoopExit": nothing,
    "Multinomial": multinomial,
    "NonMaxSuppression": non_max_suppression,
    "NonZero": nonzero,
    "OneHot": one_hot,
    "RandomNormal": random,
    "RandomUniform": random,
    "Range": range_,
    "Scan": nothing,
    "SequenceAt": nothing,
    "SequenceConstruct": nothing,
    "SequenceEmpty": nothing,
    "SequenceErase": nothing,
    "SequenceInsert": nothing,
    "SequenceMap": nothing,
    "Shape": shape_size,
    "Size": scalar,
    "SplitToSequence": nothing,
    "StringNormalizer": text_normalizer,
    "StringSplit": string_split,
    "Unique": unique,
}
