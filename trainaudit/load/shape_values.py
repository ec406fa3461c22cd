"""Folding: the elements of small tensors that shapes are computed from. Stdlib, numpy and load only.

A fold returns the elements of a node's only output, flat in row-major order, or None; `infer_shapes` keeps them where their number
agrees with the output's shape. Whole numbers and booleans (as 0 and 1) are ints, symbolic sizes texts, unknown elements None.
Semantics: the ONNX operator specification.
"""

# ruff: noqa: ARG001 (one signature for every rule)

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from trainaudit.ir.graph import Dimension, Shape, TensorData
from trainaudit.load import dimensions as size
from trainaudit.load.raw import RawNode
from trainaudit.load.shape_known import MOST_ELEMENTS, Known, Number, Shapes, input_name, integer, integers
from trainaudit.load.shape_rules_movement import shape_stretch

Values = tuple[Number, ...]
Fold = Callable[[RawNode, Shapes, Known], Values | None]


def _whole(value: Number) -> Dimension:
    """`value` for whole-number arithmetic: a float counts where it is whole."""
    if isinstance(value, float):
        return int(value) if value.is_integer() else None
    return value


def _arithmetic(
    whole: Callable[[Dimension, Dimension], Dimension], real: Callable[[float, float], float] | None
) -> Callable[[Number, Number], Number]:
    def apply(a: Number, b: Number) -> Number:
        if isinstance(a, str) or isinstance(b, str) or (isinstance(a, int) and isinstance(b, int)):
            return whole(_whole(a), _whole(b))
        if a is None or b is None:
            return whole(None, None) if real is None else None
        return None if real is None else _finite(real(a, b))

    return apply


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _quotient(a: Dimension, b: Dimension) -> Dimension:
    """ONNX divides whole numbers towards zero."""
    exact = size.divide(a, b)
    if exact is not None or not isinstance(b, int) or b == 0:
        return exact
    if isinstance(a, int):
        return abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)
    return size.floor_divide(a, b) if b > 0 and size.is_nonnegative(a) else None


def _real_quotient(a: Number, b: Number) -> Number:
    """Division of floats, whose symbols stand for whole numbers."""
    if isinstance(a, (int, float)) and isinstance(b, (int, float)):
        return _finite(a / b)
    return size.divide(_whole(a), _whole(b))


def _modulo(a: Dimension, b: Dimension) -> Dimension:
    if isinstance(a, int) and isinstance(b, int) and b:
        return a % b
    return 0 if size.divide(a, b) is not None else None


def _power(a: Number, b: Number) -> Number:
    if isinstance(a, (int, float)) and isinstance(b, (int, float)) and abs(b) <= 64 and abs(a) <= 2**32:
        result = a**b
        return _finite(result) if isinstance(result, float) else result if isinstance(result, int) else None
    return a if b == 1 else None


def _product(a: Number, b: Number) -> Number:
    if a == 0 or b == 0:
        return 0
    return _MULTIPLY(a, b)


def _equal(a: Number, b: Number) -> Number:
    if a is None or b is None:
        return None
    if a == b:
        return 1
    if isinstance(a, str) or isinstance(b, str):
        difference = size.subtract(_whole(a), _whole(b))
        above = size.is_nonnegative(size.subtract(difference, 1))
        below = size.is_nonnegative(size.subtract(size.subtract(_whole(b), _whole(a)), 1))
        return 0 if above or below else None
    return 0


def _less(a: Number, b: Number) -> Number:
    if isinstance(a, (int, float)) and isinstance(b, (int, float)):
        return int(a < b)
    if size.is_nonnegative(size.subtract(size.subtract(_whole(b), _whole(a)), 1)):
        return 1
    return 0 if size.is_nonnegative(size.subtract(_whole(a), _whole(b))) else None


def _not(a: Number) -> Number:
    return None if a is None or isinstance(a, str) else int(not a)


def _and(a: Number, b: Number) -> Number:
    if a == 0 or b == 0:
        return 0
    return 1 if a == 1 and b == 1 else None


def _or(a: Number, b: Number) -> Number:
    if a == 1 or b == 1:
        return 1
    return 0 if a == 0 and b == 0 else None


_MULTIPLY = _arithmetic(size.multiply, lambda a, b: a * b)


def _operands(node: RawNode, known: Known) -> list[Values] | None:
    """The elements of all inputs, or None; reads no tensor unless all inputs are small or stored."""
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


def _aligned(a: Values, b: Values) -> tuple[Values, Values]:
    if len(a) == 1 and len(b) > 1:
        return a * len(b), b
    if len(b) == 1 and len(a) > 1:
        return a, b * len(a)
    return a, b


def _binary(function: Callable[[Number, Number], Number]) -> Fold:
    def fold(node: RawNode, shapes: Shapes, known: Known) -> Values | None:
        operands = _operands(node, known)
        if operands is None:
            return None
        result = operands[0]
        for values in operands[1:]:
            left, right = _aligned(result, values)
            if len(left) != len(right):
                return None
            result = tuple(map(function, left, right))
        return result

    return fold


def _divide(node: RawNode, shapes: Shapes, known: Known) -> Values | None:
    return (_DIVIDE_REAL if _is_float(known.dtypes.get(node.inputs[0])) else _DIVIDE_WHOLE)(node, shapes, known)


def _unary(whole: Callable[[Number], Number] | None, real: Callable[[float], float] | None) -> Fold:
    """A fold of each element; `real` None leaves numbers that are no whole ones unknown."""

    def apply(value: Number) -> Number:
        if isinstance(value, float) or (isinstance(value, int) and whole is None):
            return None if real is None else _finite(real(value))
        return None if whole is None else whole(value)

    def fold(node: RawNode, shapes: Shapes, known: Known) -> Values | None:
        operands = _operands(node, known)
        return None if operands is None else tuple(map(apply, operands[0]))

    return fold


def _is_float(dtype: str | None) -> bool:
    return dtype is not None and "float" in dtype


def _first(node: RawNode, shapes: Shapes, known: Known) -> Values | None:
    """Operators that leave the elements as they are: Identity, Reshape, Squeeze …"""
    name = node.inputs[0]
    return known.vector(name) if known.is_foldable(name) else None


def _cast(node: RawNode, shapes: Shapes, known: Known) -> Values | None:
    values = _first(node, shapes, known)
    if values is None:
        return None
    target = known.dtypes.get(node.outputs[0])
    if target == "bool":
        return tuple(None if x is None or isinstance(x, str) else int(bool(x)) for x in values)
    if _is_float(target):
        return tuple(float(x) if isinstance(x, int) else x for x in values)
    return tuple(int(x) if isinstance(x, float) else x for x in values)


def _where(node: RawNode, shapes: Shapes, known: Known) -> Values | None:
    operands = _operands(node, known)
    if operands is None:
        return None
    count = max(map(len, operands))
    condition, first, second = (values * count if len(values) == 1 else values for values in operands)
    if not len(condition) == len(first) == len(second):
        return None
    return tuple(
        b if choice == 0 else a if choice is not None or a == b else None
        for choice, a, b in zip(condition, first, second, strict=True)
    )


def _shape(node: RawNode, shapes: Shapes, known: Known) -> Values | None:
    shape = shapes[0]
    return None if shape is None else shape[shape_stretch(node)]


def _size(node: RawNode, shapes: Shapes, known: Known) -> Values | None:
    return None if shapes[0] is None else (size.product(shapes[0]),)


def _count(known: Known, node: RawNode) -> int | None:
    """How many elements the output has, where it is small."""
    return element_count(known.shapes.get(node.outputs[0]))


def element_count(shape: Shape | None) -> int | None:
    """How many elements a tensor has, where they are known and few enough to be folded."""
    if shape is None:
        return None
    count = 1
    for length in shape:
        if not isinstance(length, int):
            return None
        count *= length
    return count if count <= MOST_ELEMENTS else None


def _constant_of_shape(node: RawNode, shapes: Shapes, known: Known) -> Values | None:
    count = _count(known, node)
    if count is None:
        return None
    value = node.attributes.get("value")
    if value is None:
        return (0.0,) * count
    fill = value.read().ravel().tolist()[0]  # type: ignore[union-attr]
    return (int(fill) if isinstance(fill, bool) else fill,) * count


def _range(node: RawNode, shapes: Shapes, known: Known) -> Values | None:
    count = _count(known, node)
    start, step = known.scalar(node.inputs[0]), known.scalar(node.inputs[2])
    if count is None or start is None or step is None:
        return None
    return tuple(size.add(start, size.multiply(step, index)) for index in range(count))


def _array(values: Values, shape: Shape | None) -> np.ndarray[tuple[int, ...], np.dtype[np.object_]]:
    """The elements in their shape, for what moves elements about."""
    result = np.empty(len(values), dtype=object)
    result[:] = values
    return result.reshape([length if isinstance(length, int) else -1 for length in shape or ()])


def _flat(array: np.ndarray[tuple[int, ...], np.dtype[np.object_]]) -> Values:
    return tuple(array.ravel().tolist())


def _gather(node: RawNode, shapes: Shapes, known: Known) -> Values | None:
    operands = _operands(node, known)
    if operands is None or shapes[0] is None:
        return None
    values, wanted = operands
    picks = [x for x in wanted if isinstance(x, int)]
    if len(picks) != len(wanted):
        return (None,) * (_count(known, node) or 0)
    if len(shapes[0]) == 1:
        return tuple([values[x] for x in picks])
    indices = np.array(picks, dtype=np.int64).reshape([x for x in shapes[1] or () if isinstance(x, int)])
    return _flat(np.take(_array(values, shapes[0]), indices, axis=integer(node, "axis", 0)))


def _slice(node: RawNode, shapes: Shapes, known: Known) -> Values | None:
    values = _first(node, shapes, known)
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
        if given is not None and len(bounds[-1]) != len(given):
            return None
    starts, ends, axes, steps = bounds
    index = [slice(None)] * len(shape)
    for position, (start, end) in enumerate(zip(starts, ends, strict=True)):
        axis = axes[position] if axes else position
        step = steps[position] if steps else 1
        length = shape[axis]
        past = step < 0 and isinstance(length, int) and end < -length
        index[axis] = slice(start, None if past else end, step)
    return values[index[0]] if len(shape) == 1 else _flat(_array(values, shape)[tuple(index)])


def _concat(node: RawNode, shapes: Shapes, known: Known) -> Values | None:
    # An input that is small but not known leaves its elements unknown, not the whole result: (batch, ?, 768) is worth having.
    if not any(name in known.numbers for name in node.inputs) and not all(map(known.is_foldable, node.inputs)):
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
    first = shapes[0]
    if first is None or len(first) == 1:
        return tuple([value for part in parts for value in part])
    arrays = [_array(part, shape) for part, shape in zip(parts, shapes, strict=True)]
    return _flat(np.concatenate(arrays, axis=integer(node, "axis", 1)))


def _transpose(node: RawNode, shapes: Shapes, known: Known) -> Values | None:
    values = _first(node, shapes, known)
    return None if values is None else _flat(_array(values, shapes[0]).transpose(integers(node, "perm")))


def _expand(node: RawNode, shapes: Shapes, known: Known) -> Values | None:
    values, count = _first(node, shapes, known), _count(known, node)
    if values is None or count is None:
        return None
    target = [x for x in known.shapes[node.outputs[0]] if isinstance(x, int)]
    return _flat(np.broadcast_to(_array(values, shapes[0]), target))


def _tile(node: RawNode, shapes: Shapes, known: Known) -> Values | None:
    operands = _operands(node, known)
    if operands is None or _count(known, node) is None:
        return None
    return _flat(np.tile(_array(operands[0], shapes[0]), [int(x) for x in operands[1] if isinstance(x, int)]))


def _reduce(start: Number, function: Callable[[Number, Number], Number]) -> Fold:
    """Reductions over everything to one element."""

    def fold(node: RawNode, shapes: Shapes, known: Known) -> Values | None:
        values = _first(node, shapes, known)
        if values is None or _count(known, node) != 1:
            return None
        result = start if start is not None else values[0]
        for value in values if start is not None else values[1:]:
            result = function(result, value)
        return (result,)

    return fold


def _cumulative_sum(node: RawNode, shapes: Shapes, known: Known) -> Values | None:
    values = _first(node, shapes, known)
    if values is None or integer(node, "exclusive", 0) or integer(node, "reverse", 0) or len(shapes[0] or ()) != 1:
        return None
    result: list[Number] = []
    for value in values:
        result.append(_ADD(result[-1], value) if result else value)
    return tuple(result)


def _clip(node: RawNode, shapes: Shapes, known: Known) -> Values | None:
    values = _first(node, shapes, known)
    if values is None or "min" in node.attributes or "max" in node.attributes:
        return None
    for position, bound in ((1, _MAXIMUM), (2, _MINIMUM)):
        if input_name(node, position):
            limit = known.vector(node.inputs[position])
            if limit is None:
                return None
            values = tuple([bound(value, limit[0]) for value in values])
    return values


def _scatter_nd(node: RawNode, shapes: Shapes, known: Known) -> Values | None:
    operands = _operands(node, known)
    if operands is None or len(shapes[0] or ()) != 1 or "reduction" in node.attributes:
        return None
    values, places, updates = operands
    result = list(values)
    for place, update in zip(places, updates, strict=True):
        if not isinstance(place, int):
            return None
        result[place] = update
    return tuple(result)


_ADD = _arithmetic(size.add, lambda a, b: a + b)
_MINIMUM = _arithmetic(size.minimum, min)
_MAXIMUM = _arithmetic(size.maximum, max)
_DIVIDE_WHOLE = _binary(_arithmetic(_quotient, None))
_DIVIDE_REAL = _binary(_real_quotient)


def _greater(a: Number, b: Number) -> Number:
    return _less(b, a)


def _less_or_equal(a: Number, b: Number) -> Number:
    return _not(_less(b, a))


def _greater_or_equal(a: Number, b: Number) -> Number:
    return _not(_less(a, b))


FOLDS: dict[str, Fold] = {
    "Abs": _unary(lambda x: abs(x) if isinstance(x, int) else x if size.is_nonnegative(_whole(x)) else None, abs),
    "Add": _binary(_ADD),
    "And": _binary(_and),
    "Cast": _cast,
    "CastLike": _cast,
    "Ceil": _unary(lambda x: x, math.ceil),
    "Clip": _clip,
    "Concat": _concat,
    "ConstantOfShape": _constant_of_shape,
    "CumSum": _cumulative_sum,
    "Div": _divide,
    "Equal": _binary(_equal),
    "Exp": _unary(None, lambda x: math.exp(min(x, 700.0))),
    "Expand": _expand,
    "Flatten": _first,
    "Floor": _unary(lambda x: x, math.floor),
    "Gather": _gather,
    "Greater": _binary(_greater),
    "GreaterOrEqual": _binary(_greater_or_equal),
    "Identity": _first,
    "Less": _binary(_less),
    "LessOrEqual": _binary(_less_or_equal),
    "Log": _unary(None, math.log),
    "Max": _binary(_MAXIMUM),
    "Min": _binary(_MINIMUM),
    "Mod": _binary(_arithmetic(_modulo, None)),
    "Mul": _binary(_product),
    "Neg": _unary(lambda x: size.subtract(0, _whole(x)), lambda x: -x),
    "Not": _unary(_not, None),
    "Or": _binary(_or),
    "Pow": _binary(_power),
    "Range": _range,
    "Reciprocal": _unary(None, lambda x: 1 / x),
    "ReduceMax": _reduce(None, _MAXIMUM),
    "ReduceMin": _reduce(None, _MINIMUM),
    "ReduceProd": _reduce(1, _product),
    "ReduceSum": _reduce(0, _ADD),
    "Reshape": _first,
    "Round": _unary(lambda x: x, round),
    "ScatterND": _scatter_nd,
    "Shape": _shape,
    "Size": _size,
    "Slice": _slice,
    "Sqrt": _unary(None, math.sqrt),
    "Squeeze": _first,
    "Sub": _binary(_arithmetic(size.subtract, lambda a, b: a - b)),
    "Sum": _binary(_ADD),
    "Tile": _tile,
    "Transpose": _transpose,
    "Unsqueeze": _first,
    "Where": _where,
}

__all__ = ["FOLDS", "Fold", "TensorData", "element_count"]
