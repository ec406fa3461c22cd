"""Seeing through the nodes that stand between a stored tensor and the layer that uses it, and small arithmetic on constants.

A value made from stored tensors alone becomes a `Stored` of its own; its nodes become layers only where something still reads
the value as an activation. Large results stay lazy; small ones (shapes, axes, scale factors) are computed here.
Stdlib, numpy, ir, load.wiring and load.stored only.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from operator import itemgetter
from typing import Any

import numpy as np

from trainaudit.ir.graph import TensorData
from trainaudit.load.datatypes import TYPE_NAMES, Array
from trainaudit.load.known import FLOATING, ComputedData, FillData, Stored, draw, numpy_type
from trainaudit.load.raw import RawNode
from trainaudit.load.wiring import SMALL, Wiring, number, numbers


def type_name(code: object) -> str | None:
    """The word for an ONNX element type number."""
    return TYPE_NAMES.get(code) if isinstance(code, int) else None


# --- one stored tensor seen in another way -------------------------------------------------------------------------------


def _renamed(stored: Stored, _node: RawNode, _wiring: Wiring) -> Stored | None:
    return stored


def _cast(stored: Stored, node: RawNode, wiring: Wiring) -> Stored | None:
    target = type_name(node.attributes.get("to"))
    if node.op == "CastLike":
        target = wiring.dtypes.get(node.inputs[1])
        if target is None:
            like = wiring.stored(node.inputs[1])
            target = like.data.dtype if like else "float32"
    if target is None:
        return None
    if target in FLOATING and stored.data.dtype in FLOATING:
        return stored
    wanted = numpy_type(target)
    return replace(stored, view=partial(_read_cast, stored.view, wanted))


def _read_cast(view: Callable[[Array], Array] | None, wanted: np.dtype[np.generic], array: Array) -> Array:
    return (array if view is None else view(array)).astype(wanted)


def _dequantized(stored: Stored, _node: RawNode, _wiring: Wiring) -> Stored | None:
    return replace(stored, quantized=True)


def _seen_as(stored: Stored, shape: tuple[int, ...], axes: tuple[int, ...], change: Callable[[Array], Array]) -> Stored:
    def view(array: Array, earlier: Callable[[Array], Array] | None = stored.view) -> Array:
        return change(array if earlier is None else earlier(array))

    return replace(stored, shape=shape, axes=axes, view=view)


def _transposed(stored: Stored, node: RawNode, _wiring: Wiring) -> Stored | None:
    rank = len(stored.shape)
    perm = node.attributes.get("perm")
    order = tuple(int(axis) for axis in perm) if isinstance(perm, list) else tuple(range(rank))[::-1]
    if sorted(order) != list(range(rank)):
        return None
    axes = stored.axes or tuple(range(rank))
    return _seen_as(
        stored,
        tuple(stored.shape[axis] for axis in order),
        tuple(axes[axis] for axis in order),
        lambda a: a.transpose(order),
    )


def _reshaped(stored: Stored, node: RawNode, wiring: Wiring) -> Stored | None:
    shape = _new_shape(stored.shape, node, wiring)
    if shape is None or math.prod(shape) != stored.size:
        return None
    return _seen_as(stored, shape, _follow(stored, shape), lambda a: a.reshape(shape))


def _new_shape(old: tuple[int, ...], node: RawNode, wiring: Wiring) -> tuple[int, ...] | None:
    """The shape that Reshape, Flatten, Squeeze or Unsqueeze gives to a tensor of known shape."""
    rank = len(old)
    if node.op == "Flatten":
        axis = node.attributes.get("axis", 1)
        assert isinstance(axis, int)
        axis += rank if axis < 0 else 0
        return (math.prod(old[:axis]), math.prod(old[axis:]))
    if node.op == "Reshape":
        wanted = wiring.argument(node, 1, "shape")
        if wanted is None:
            return None
        copies = not node.attributes.get("allowzero", 0)
        if copies and any(size == 0 and place >= rank for place, size in enumerate(wanted)):
            return None
        sizes = [old[place] if size == 0 and copies else size for place, size in enumerate(wanted)]
        if sizes.count(-1) == 1:
            rest = math.prod(size for size in sizes if size != -1)
            if rest == 0 or math.prod(old) % rest:
                return None
            sizes[sizes.index(-1)] = math.prod(old) // rest
        return tuple(sizes)
    axes = wiring.argument(node, 1, "axes")
    if node.op == "Squeeze":
        if axes is None:
            return tuple(size for size in old if size != 1)
        dropped = {axis % rank for axis in axes} if rank else set()
        return tuple(size for place, size in enumerate(old) if place not in dropped)
    if axes is None:
        return None
    total = rank + len(axes)
    added = {axis % total for axis in axes}
    rest_of = iter(old)
    return tuple(1 if place in added else next(rest_of) for place in range(total))


def _follow(stored: Stored, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Which axis of the data each axis of a reshaped tensor is: equal sizes in the same order are the same axis."""
    before = stored.axes or tuple(range(len(stored.shape)))
    kept = [(size, axis) for size, axis in zip(stored.shape, before, strict=True) if size != 1]
    if [size for size, _ in kept] != [size for size in shape if size != 1]:
        return (-1,) * len(shape)
    rest = iter(kept)
    return tuple(-1 if size == 1 else next(rest)[1] for size in shape)


_VIEWS: dict[str, Callable[[Stored, RawNode, Wiring], Stored | None]] = {
    "Identity": _renamed, "Cast": _cast, "CastLike": _cast, "DequantizeLinear": _dequantized, "Transpose": _transposed,
    "Reshape": _reshaped, "Flatten": _reshaped, "Squeeze": _reshaped, "Unsqueeze": _reshaped,
}  # fmt: skip


# --- tensors that the graph makes ----------------------------------------------------------------------------------------


def _generated(node: RawNode, wiring: Wiring) -> Stored | None:
    """ConstantOfShape, EyeLike and the random operators on known shapes."""
    attributes = node.attributes
    name = node.outputs[0]
    shape: tuple[int, ...] | None
    if node.op in ("RandomNormal", "RandomUniform"):
        wanted = attributes.get("shape")
        shape = tuple(int(size) for size in wanted) if isinstance(wanted, list) else None
    elif node.op == "ConstantOfShape":
        shape = wiring.integers(node.inputs[0])
    else:
        like = wiring.stored(node.inputs[0])
        shape = like.shape if like else None
    if shape is None or any(size < 0 for size in shape):
        return None
    if node.op == "ConstantOfShape":
        value = attributes.get("value")
        if value is None or isinstance(value, (int, float, str, list)):
            return Stored(name, FillData(shape, "float32", 0.0), shape, generated=node.op)
        return Stored(name, FillData(shape, value.dtype, value.read().reshape(-1)[0].item()), shape, generated=node.op)
    dtype = type_name(attributes.get("dtype")) or "float32"
    if node.op == "EyeLike":
        if len(shape) != 2:
            return None
        offset = attributes.get("k", 0)
        kind = numpy_type(dtype)
        data: TensorData = ComputedData(shape, dtype, lambda: np.eye(shape[0], shape[1], int(str(offset)), kind))
        return Stored(name, data, shape, generated=node.op)
    uniform = "Uniform" in node.op
    first = attributes.get("low" if uniform else "mean", 0.0)
    second = attributes.get("high" if uniform else "scale", 1.0)
    if not isinstance(first, (int, float)) or not isinstance(second, (int, float)):
        return None
    return Stored(name, draw(shape, dtype, uniform, first, second), shape, generated=node.op)


_GENERATORS = frozenset(
    {"ConstantOfShape", "EyeLike", "RandomNormal", "RandomUniform", "RandomNormalLike", "RandomUniformLike"}
)


# --- arithmetic on constants ---------------------------------------------------------------------------------------------


def _slice(node: RawNode, arrays: list[Array]) -> Array:
    array = arrays[0]
    if len(arrays) > 1:
        starts, ends = arrays[1].tolist(), arrays[2].tolist()
        axes = arrays[3].tolist() if len(arrays) > 3 else list(range(len(starts)))
        steps = arrays[4].tolist() if len(arrays) > 4 else [1] * len(starts)
    else:
        starts, ends = _list(node, "starts"), _list(node, "ends")
        axes = _list(node, "axes") or list(range(len(starts)))
        steps = [1] * len(starts)
    window = [slice(None)] * array.ndim
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        window[axis] = slice(start, None if step < 0 and end < -array.shape[axis] else end, step)
    return array[tuple(window)]


def _list(node: RawNode, name: str) -> list[int]:
    return list(numbers(node, name) or ())


def _gather(node: RawNode, arrays: list[Array]) -> Array:
    return np.take(arrays[0], arrays[1].astype(np.int64), axis=number(node, "axis", 0))


def _concat(node: RawNode, arrays: list[Array]) -> Array:
    return np.concatenate(arrays, axis=number(node, "axis", 0))


def _expand(_node: RawNode, arrays: list[Array]) -> Array:
    wanted = tuple(int(size) for size in arrays[1].tolist())
    return np.broadcast_to(arrays[0], np.broadcast_shapes(arrays[0].shape, wanted))


def _range(_node: RawNode, arrays: list[Array]) -> Array:
    start, stop, step = (array.item() for array in arrays)
    if step == 0 or abs((stop - start) / step) > SMALL * 64:
        raise ValueError("a range too long to be a constant")
    return np.asarray(np.arange(start, stop, step), arrays[0].dtype)


def _triangle(node: RawNode, arrays: list[Array]) -> Array:
    offset = int(arrays[1].item()) if len(arrays) > 1 else 0
    return np.triu(arrays[0], offset) if number(node, "upper", 1) else np.tril(arrays[0], offset)


def _reduce(function: Callable[..., Array], node: RawNode, arrays: list[Array]) -> Array:
    axes = tuple(int(axis) for axis in arrays[1].tolist()) if len(arrays) > 1 else tuple(_list(node, "axes")) or None
    return np.asarray(function(arrays[0], axis=axes, keepdims=bool(number(node, "keepdims", 1))))


def _norm(array: Any, axis: tuple[int, ...] | None, keepdims: bool) -> Any:
    return np.sqrt(np.sum(np.square(array), axis=axis, keepdims=keepdims))


def _divide(left: Any, right: Any) -> Any:
    if left.dtype.kind in "iu":
        return np.trunc(left / right).astype(left.dtype)
    return np.divide(left, right)


def _plain(function: Callable[..., Array], _node: RawNode, arrays: list[Array]) -> Array:
    return function(*arrays)


def _power(left: Any, right: Any) -> Any:
    return np.power(left, right.astype(np.float64) if left.dtype.kind == "f" else right).astype(left.dtype)


_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "Add": np.add, "Sub": np.subtract, "Mul": np.multiply, "Div": _divide, "Pow": _power, "Sqrt": np.sqrt, "Neg": np.negative,
    "Reciprocal": np.reciprocal, "Exp": np.exp, "Floor": np.floor, "Ceil": np.ceil, "Equal": np.equal, "Less": np.less,
    "LessOrEqual": np.less_equal, "Greater": np.greater, "GreaterOrEqual": np.greater_equal, "Not": np.logical_not,
    "And": np.logical_and, "Or": np.logical_or, "Where": np.where, "Mod": np.mod, "Max": np.maximum, "Min": np.minimum,
    "Abs": np.abs, "Log": np.log, "Sin": np.sin, "Cos": np.cos,
}  # fmt: skip

_ARITHMETIC: dict[str, Callable[[RawNode, list[Array]], Array]] = {
    "Slice": _slice, "Gather": _gather, "Concat": _concat, "Expand": _expand, "Range": _range, "Trilu": _triangle,
    "ReduceL2": partial(_reduce, _norm), "ReduceSum": partial(_reduce, np.sum), "ReduceProd": partial(_reduce, np.prod),
    **{op: partial(_plain, function) for op, function in _FUNCTIONS.items()},
}  # fmt: skip

_ELEMENTWISE_LIMIT = 1 << 20


def fold_constants(wiring: Wiring) -> bytearray:
    """Find every value that stored tensors alone determine. Returns a mark for each node that only makes such values; those no
    longer count as readers."""
    marks = bytearray(len(wiring.nodes))
    tensors, known, numbers_of = wiring.raw.tensors, wiring.known, wiring.numbers
    for place, node in enumerate(wiring.nodes):
        op = node.op
        if (
            len(node.outputs) == 1
            and node.outputs[0] in numbers_of
            and op not in _GENERATORS
            and op != "Expand"
            and _fold_numbers(wiring, node.outputs[0])
        ):
            marks[place] = 1
            continue
        inputs = node.inputs
        if inputs and inputs[0] not in tensors and inputs[0] not in known and op != "Shape":
            continue
        if node.domain not in ("", "ai.onnx") and op != "DequantizeLinear":
            continue
        if op in _VIEWS or op == "Shape" or op in _GENERATORS or op == "Split" or op in _ARITHMETIC:
            try:
                if _fold(wiring, node):
                    marks[place] = 1
            except (ValueError, IndexError, TypeError, OverflowError, ZeroDivisionError):
                # A malformed constant expression: its nodes stay layers, where shape inference or a rule may speak of them.
                continue
    for place, node in enumerate(wiring.nodes):
        if marks[place]:
            for name in node.inputs:
                readers = wiring.consumers.get(name)
                if readers:
                    wiring.consumers[name] = [reader for reader in readers if reader != place]
    return marks


def _fold(wiring: Wiring, node: RawNode) -> bool:
    op = node.op
    known = wiring.known
    name = node.outputs[0]
    view = _VIEWS.get(op)
    if op == "Shape":
        return _fold_shape(wiring, node)
    if op in _GENERATORS:
        made = _generated(node, wiring)
        if made is None:
            return False
        known[name] = made
        return True
    operands: list[Stored] = []
    for value in node.inputs:
        operand = wiring.stored(value) if value else None
        if operand is None:
            if value and not (op == "CastLike" and operands):
                return False
            continue
        operands.append(operand)
    if view is not None:
        seen = view(operands[0], node, wiring)
        if seen is None:
            return False
        known[name] = seen
        return True
    if op == "Expand" and operands[0].size == 1 and (operands[0].generated or operands[0].data.dtype in FLOATING):
        wanted = wiring.integers(node.inputs[1])
        if wanted is None:
            return False
        shape = np.broadcast_shapes(operands[0].shape, wanted)
        value = operands[0].read().reshape(-1)[0].item()
        known[name] = Stored(name, FillData(shape, operands[0].data.dtype, value), shape, generated="Expand")
        return True
    if op == "Split":
        return _fold_split(wiring, node, operands)
    function = _ARITHMETIC[op]
    largest = max(operand.size for operand in operands)
    quantized = any(operand.quantized for operand in operands)
    if largest <= SMALL and not quantized and not (op in ("Slice", "Gather") and operands[0].data.dtype in FLOATING):
        with np.errstate(all="ignore"):
            result = np.asarray(function(node, [operand.read() for operand in operands]))
        if result.size <= SMALL or result.size <= 4 * largest:
            known[name] = _computed(name, operands, result.shape, result.dtype.name, lambda: result)
            return True
        return False
    if op in ("Slice", "Gather"):
        return _fold_part(wiring, node, operands, function)
    return _fold_lazily(wiring, node, operands, function)


def _fold_part(
    wiring: Wiring, node: RawNode, operands: list[Stored], function: Callable[[RawNode, list[Array]], Array]
) -> bool:
    """A slice of a large stored tensor, or the rows of a table at stored indices: still that tensor, seen in part."""
    whole = operands[0]
    arguments = [operand.read() for operand in operands[1:]]
    if any(array.size > _ELEMENTWISE_LIMIT for array in arguments):
        return False
    axes = whole.axes or tuple(range(len(whole.shape)))
    if node.op == "Slice":
        dummy = np.broadcast_to(np.zeros((), np.int8), whole.shape)
        shape = _slice(node, [dummy, *arguments]).shape
        window = [f"{low}" for low in shape]
        if len(arguments) > 1 and arguments[0].size == 1:
            axis = int(arguments[2][0]) % len(whole.shape) if len(arguments) > 2 else 0
            start = int(arguments[0][0])
            start += whole.shape[axis] if start < 0 else 0
            window = [":"] * axis + [f"{start}:{start + shape[axis]}"]
        part = whole.part if shape == whole.shape else f"{whole.part}[{', '.join(window)}]"
    else:
        axis = number(node, "axis", 0) % len(whole.shape)
        shape = whole.shape[:axis] + arguments[0].shape + whole.shape[axis + 1 :]
        if math.prod(shape) > _ELEMENTWISE_LIMIT * 64:
            return False
        here = (axes[axis],) if arguments[0].ndim else ()
        axes = axes[:axis] + (-1,) * (arguments[0].ndim - 1) + here + axes[axis + 1 :]
        part = whole.part + (
            f"[{', '.join([':'] * axis + [str(arguments[0].item())])}]" if arguments[0].ndim == 0 else "[rows]"
        )
    wiring.known[node.outputs[0]] = replace(
        _seen_as(whole, shape, axes, lambda array: function(node, [array, *arguments])), part=part
    )
    return True


def _fold_lazily(
    wiring: Wiring, node: RawNode, operands: list[Stored], function: Callable[[RawNode, list[Array]], Array]
) -> bool:
    name = node.outputs[0]
    declared = wiring.shapes.get(name)
    shape: tuple[int, ...]
    if declared is not None and all(isinstance(size, int) for size in declared):
        shape = tuple(size for size in declared if isinstance(size, int))
    elif node.op == "Slice":
        dummy = np.broadcast_to(np.zeros((), np.float32), operands[0].shape)
        shape = _slice(node, [dummy, *(operand.read() for operand in operands[1:])]).shape
    elif node.op == "Concat":
        axis = number(node, "axis", 0)
        sizes = list(operands[0].shape)
        sizes[axis] = sum(operand.shape[axis] for operand in operands)
        shape = tuple(sizes)
    elif node.op in ("Add", "Sub", "Mul", "Div", "Pow", "Sqrt", "Neg", "Exp", "Reciprocal", "Where"):
        shape = np.broadcast_shapes(*(operand.shape for operand in operands))
    else:
        return False
    size = math.prod(shape)
    if size > max(_ELEMENTWISE_LIMIT, sum(operand.size for operand in operands)):
        return False
    dtype = wiring.dtypes.get(name) or operands[-1 if node.op == "Where" else 0].data.dtype

    def compute() -> Array:
        with np.errstate(all="ignore"):
            return np.asarray(function(node, [operand.read() for operand in operands]))

    wiring.known[name] = _computed(name, operands, shape, dtype, compute)
    return True


def _computed(
    name: str, operands: list[Stored], shape: tuple[int, ...], dtype: str, compute: Callable[[], Array]
) -> Stored:
    generated = next((operand.generated for operand in operands if operand.generated), "")
    quantized = any(operand.quantized for operand in operands)
    return Stored(name, ComputedData(shape, dtype, compute), shape, quantized=quantized, generated=generated)


def _fold_split(wiring: Wiring, node: RawNode, operands: list[Stored]) -> bool:
    whole = operands[0]
    axis = number(node, "axis", 0) % max(len(whole.shape), 1)
    sizes = wiring.argument(node, 1, "split")
    if sizes is None:
        count = len(node.outputs)
        share = -(-whole.shape[axis] // count)
        sizes = tuple(min(share, whole.shape[axis] - place * share) for place in range(count))
    start = 0
    for name, size in zip(node.outputs, sizes, strict=True):
        window = (slice(None),) * axis + (slice(start, start + size),)
        shape = (*whole.shape[:axis], size, *whole.shape[axis + 1 :])
        part = whole.part + "[" + ":, " * axis + f"{start}:{start + size}]"
        axes = whole.axes or tuple(range(len(whole.shape)))
        wiring.known[name] = replace(_seen_as(whole, shape, axes, itemgetter(window)), part=part)
        start += size
    return True


def _fold_numbers(wiring: Wiring, name: str) -> bool:
    """A small value all of whose elements shape inference has computed."""
    values = wiring.numbers[name]
    shape = wiring.shapes.get(name)
    if shape is None:
        return False
    sizes = tuple(size for size in shape if isinstance(size, int))
    if len(sizes) != len(shape) or not all(isinstance(value, (int, float)) for value in values):
        return False
    dtype = wiring.dtypes.get(name) or ("int64" if all(isinstance(value, int) for value in values) else "float32")
    array = np.asarray(values, numpy_type(dtype)).reshape(sizes)
    wiring.known[name] = Stored(name, ComputedData(sizes, dtype, lambda: array), sizes)
    return True


def _fold_shape(wiring: Wiring, node: RawNode) -> bool:
    """The shape of a stored tensor, or of an activation whose shape is fully known."""
    source = node.inputs[0]
    stored = wiring.stored(source)
    shape = stored.shape if stored is not None else wiring.shapes.get(source)
    if shape is None or not all(isinstance(size, int) for size in shape):
        return False
    start, end = number(node, "start", 0), number(node, "end", len(shape))
    values = np.asarray(shape[start:end], np.int64)
    name = node.outputs[0]
    wiring.known[name] = Stored(name, ComputedData(values.shape, "int64", lambda: values), values.shape)
    return True
