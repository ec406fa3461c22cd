"""Folding: the elements of small tensors that shapes are computed from. Stdlib, numpy and load only.

A fold returns the elements of a node's first output, flat in row-major order, or None; `infer_shapes` keeps them where their number
agrees with the output's shape. Folds of moved elements live in `values_moved`. Semantics: the ONNX operator specification.
"""

# ruff: noqa: ARG001 (one signature for every fold)

from __future__ import annotations

import math
from collections.abc import Callable

from trainaudit.load.raw import RawNode
from trainaudit.load.shapes import dimensions as size
from trainaudit.load.shapes import numbers as number
from trainaudit.load.shapes.dimension_text import LARGEST
from trainaudit.load.shapes.known import Known, Number, Shapes, input_name, integer
from trainaudit.load.shapes.rules_making import shape_stretch
from trainaudit.load.shapes.values_moved import FOLDS as MOVED
from trainaudit.load.shapes.values_moved import Fold, Values, first, operands, output_count


def elementwise(function: number.Operation) -> Fold:
    """A fold of two or more tensors, elements of one being paired with all of the other."""

    def fold(node: RawNode, shapes: Shapes, known: Known) -> Values | None:
        numbers, tensors = known.numbers, known.tensors
        for name in node.inputs:
            if name not in numbers and name not in tensors:
                return None
        given = operands(node, known)
        if given is None:
            return None
        result = given[0]
        for values in given[1:]:
            count = max(len(result), len(values))
            left = result * count if len(result) == 1 else result
            right = values * count if len(values) == 1 else values
            if len(left) != len(right):
                return None
            result = tuple(map(function, left, right))
        return result

    return fold


def each(function: Callable[[Number], Number]) -> Fold:
    """A fold of each element of one tensor."""

    def fold(node: RawNode, shapes: Shapes, known: Known) -> Values | None:
        values = first(node, shapes, known)
        return None if values is None else tuple(map(function, values))

    return fold


def reduced(function: number.Operation) -> Fold:
    """A reduction of all elements to one."""

    def fold(node: RawNode, shapes: Shapes, known: Known) -> Values | None:
        values = first(node, shapes, known)
        if not values or output_count(node, known) != 1:
            return None
        result = values[0]
        for value in values[1:]:
            result = function(result, value)
        return (result,)

    return fold


def _is_float(dtype: str | None) -> bool:
    return dtype is not None and "float" in dtype


def _divide(node: RawNode, shapes: Shapes, known: Known) -> Values | None:
    dtype = known.dtypes.get(node.inputs[0]) or known.dtypes.get(node.inputs[1])
    if dtype is None:
        return None
    return (_DIVIDE_REAL if _is_float(dtype) else _DIVIDE_WHOLE)(node, shapes, known)


def _cast(node: RawNode, shapes: Shapes, known: Known) -> Values | None:
    values = first(node, shapes, known)
    target = known.dtypes.get(node.outputs[0])
    if values is None or target is None:
        return None
    if target == "bool":
        return tuple([int(bool(x)) if isinstance(x, (int, float)) else None for x in values])
    if _is_float(target):
        return tuple([float(x) if isinstance(x, int) else x for x in values])
    return tuple([_truncated(x) if isinstance(x, float) else x for x in values])


def _truncated(value: float) -> int | None:
    return int(value) if abs(value) < LARGEST else None


def _where(node: RawNode, shapes: Shapes, known: Known) -> Values | None:
    given = operands(node, known)
    if given is None:
        return None
    count = max(map(len, given))
    condition, a, b = (values * count if len(values) == 1 else values for values in given)
    return tuple([number.choice(*triple) for triple in zip(condition, a, b, strict=True)])


def _shape(node: RawNode, shapes: Shapes, known: Known) -> Values | None:
    shape = shapes[0]
    return None if shape is None else shape[shape_stretch(node)]


def _size(node: RawNode, shapes: Shapes, known: Known) -> Values | None:
    return None if shapes[0] is None else (size.product(shapes[0]),)


def _constant_of_shape(node: RawNode, shapes: Shapes, known: Known) -> Values | None:
    count = output_count(node, known)
    if count is None:
        return None
    value = node.attributes.get("value")
    if value is None:
        return (0.0,) * count
    fill = value.read().ravel().tolist()[0]  # type: ignore[union-attr]
    return (int(fill) if isinstance(fill, bool) else fill,) * count


def _range(node: RawNode, shapes: Shapes, known: Known) -> Values | None:
    count = output_count(node, known)
    start, step = known.scalar(node.inputs[0]), known.scalar(node.inputs[2])
    if count is None or start is None or step is None:
        return None
    return tuple([size.add(start, size.multiply(step, index)) for index in range(count)])


def _cumulative_sum(node: RawNode, shapes: Shapes, known: Known) -> Values | None:
    values = first(node, shapes, known)
    if values is None or integer(node, "exclusive", 0) or integer(node, "reverse", 0) or len(shapes[0] or ()) != 1:
        return None
    result: list[Number] = []
    for value in values:
        result.append(number.add(result[-1], value) if result else value)
    return tuple(result)


def _clip(node: RawNode, shapes: Shapes, known: Known) -> Values | None:
    values = first(node, shapes, known)
    if values is None or "min" in node.attributes or "max" in node.attributes:
        return None
    for position, bound in ((1, number.maximum), (2, number.minimum)):
        if input_name(node, position):
            limit = known.vector(node.inputs[position])
            if limit is None:
                return None
            values = tuple([bound(value, limit[0]) for value in values])
    return values


_DIVIDE_WHOLE = elementwise(number.divide_whole)
_DIVIDE_REAL = elementwise(number.divide_real)

FOLDS: dict[str, Fold] = {
    **MOVED,
    "Abs": each(number.absolute),
    "Add": elementwise(number.add),
    "And": elementwise(number.conjunction),
    "Cast": _cast,
    "CastLike": _cast,
    "Ceil": each(number.rounding(math.ceil)),
    "Clip": _clip,
    "ConstantOfShape": _constant_of_shape,
    "CumSum": _cumulative_sum,
    "Div": _divide,
    "Equal": elementwise(number.equal),
    "Exp": each(number.of_real(math.exp)),
    "Floor": each(number.rounding(math.floor)),
    "Greater": elementwise(number.greater),
    "GreaterOrEqual": elementwise(number.greater_or_equal),
    "Less": elementwise(number.less),
    "LessOrEqual": elementwise(number.less_or_equal),
    "Log": each(number.of_real(math.log)),
    "Max": elementwise(number.maximum),
    "Min": elementwise(number.minimum),
    "Mod": elementwise(number.modulo),
    "Mul": elementwise(number.multiply),
    "Neg": each(number.negative),
    "Not": each(number.negation),
    "Or": elementwise(number.disjunction),
    "Pow": elementwise(number.power),
    "Range": _range,
    "Reciprocal": each(number.of_real(lambda x: 1 / x)),
    "ReduceMax": reduced(number.maximum),
    "ReduceMin": reduced(number.minimum),
    "ReduceProd": reduced(number.multiply),
    "ReduceSum": reduced(number.add),
    "Round": each(number.rounding(round)),
    "Shape": _shape,
    "Size": _size,
    "Sqrt": each(number.of_real(math.sqrt)),
    "Sub": elementwise(number.subtract),
    "Sum": elementwise(number.add),
    "Where": _where,
}

READS_SHAPES = frozenset({"Shape", "Size", "ConstantOfShape", "Concat"})
"""Folds that may know something where the elements of their first input are unknown."""
