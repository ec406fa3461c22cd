"""Arithmetic on constants: what each operator computes, on numpy arrays. Stdlib, numpy and load's raw nodes only."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from trainaudit.load.datatypes import Array
from trainaudit.load.raw import RawNode
from trainaudit.load.wiring import SMALL, number, numbers, real


def slice_of(node: RawNode, arrays: list[Array]) -> Array:
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


def _clip(node: RawNode, arrays: list[Array]) -> Array:
    given = dict(zip([place for place, name in enumerate(node.inputs) if name], arrays, strict=True))
    low, high = given.get(1, real(node, "min", -np.inf)), given.get(2, real(node, "max", np.inf))
    return np.asarray(np.clip(arrays[0], low, high), arrays[0].dtype)


_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "Add": np.add, "Sub": np.subtract, "Mul": np.multiply, "Div": _divide, "Pow": _power, "Sqrt": np.sqrt, "Neg": np.negative,
    "Reciprocal": np.reciprocal, "Exp": np.exp, "Floor": np.floor, "Ceil": np.ceil, "Equal": np.equal, "Less": np.less,
    "LessOrEqual": np.less_equal, "Greater": np.greater, "GreaterOrEqual": np.greater_equal, "Not": np.logical_not,
    "And": np.logical_and, "Or": np.logical_or, "Where": np.where, "Mod": np.mod, "Max": np.maximum, "Min": np.minimum,
    "Abs": np.abs, "Log": np.log, "Sin": np.sin, "Cos": np.cos,
}  # fmt: skip

ARITHMETIC: dict[str, Callable[[RawNode, list[Array]], Array]] = {
    "MatMul": partial(_plain, np.matmul), "Clip": _clip, "Slice": slice_of, "Gather": _gather, "Concat": _concat, "Expand": _expand, "Range": _range, "Trilu": _triangle,
    "ReduceL2": partial(_reduce, _norm), "ReduceSum": partial(_reduce, np.sum), "ReduceProd": partial(_reduce, np.prod),
    "ReduceMax": partial(_reduce, np.max), "ReduceMin": partial(_reduce, np.min), "ReduceMean": partial(_reduce, np.mean),
    **{op: partial(_plain, function) for op, function in _FUNCTIONS.items()},
}  # fmt: skip
