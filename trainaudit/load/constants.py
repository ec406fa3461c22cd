"""Seeing through the nodes that stand between a stored tensor and the layer that uses it, and small arithmetic on constants.

A value made from stored tensors alone becomes a `Stored` of its own; its nodes become layers only where something still reads
the value as an activation. Large results stay lazy; small ones (shapes, axes, scale factors) are computed here.
Stdlib, numpy, ir and load's index only.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from operator import itemgetter

import numpy as np

from trainaudit.load.computed import computed
from trainaudit.load.constant_arithmetic import ARITHMETIC, slice_of
from trainaudit.load.constant_generators import GENERATORS, generated, is_weight_of
from trainaudit.load.constant_views import VIEWS, seen_as
from trainaudit.load.datatypes import Array
from trainaudit.load.known import FLOATING, ComputedData, FillData, Stored, numpy_type
from trainaudit.load.raw import RawNode
from trainaudit.load.shapes.known import MALFORMED
from trainaudit.load.wiring import SMALL, Wiring, number

_ELEMENTWISE_LIMIT = 1 << 20

_DEEPEST = 64
"""Most steps between a stored tensor and what is seen of it: reading takes them one inside the other."""

_KEEPS_ITS_TENSOR = frozenset({*VIEWS, "Expand", "Slice", "Gather", "Split"})


def fold_constants(wiring: Wiring) -> bytearray:
    """Find every value that stored tensors alone determine. Returns a mark for each node that only makes such values; those no
    longer count as readers."""
    marks = bytearray(len(wiring.nodes))
    tensors, known, numbers_of = wiring.raw.tensors, wiring.known, wiring.numbers
    for place, node in enumerate(wiring.nodes):
        op = node.op
        inputs = node.inputs
        has_stored = bool(inputs) and (inputs[0] in tensors or inputs[0] in known)
        try:
            if (
                len(node.outputs) == 1
                and node.outputs[0] in numbers_of
                and not (has_stored and _keeps_tensor(wiring, node))
                and op not in GENERATORS
                and _fold_numbers(wiring, node.outputs[0])
            ):
                marks[place] = 1
                continue
            if inputs and not has_stored and op != "Shape":
                continue
            if node.domain not in ("", "ai.onnx") and op != "DequantizeLinear":
                continue
            if (op in VIEWS or op == "Shape" or op in GENERATORS or op == "Split" or op in ARITHMETIC) and _fold(
                wiring, node
            ):
                marks[place] = 1
        except MALFORMED:
            # A malformed constant expression: its nodes stay layers, where shape inference or a rule may speak of them.
            continue
    if any(marks):
        read = {name for place, node in enumerate(wiring.nodes) if marks[place] for name in node.inputs if name}
        _forget_readers(wiring, marks, read)
        # A shape of which only known sizes were read is read no longer.
        idle = [wiring.producer[name] for name in read if name in wiring.producer and not wiring.consumers[name]]
        shapes = [place for place in idle if wiring.nodes[place].op == "Shape" and not marks[place]]
        for place in shapes:
            marks[place] = wiring.nodes[place].outputs[0] not in wiring.outputs
        _forget_readers(wiring, marks, {wiring.nodes[place].inputs[0] for place in shapes})
    return marks


def _forget_readers(wiring: Wiring, marks: bytearray, names: set[str]) -> None:
    for name in names:
        wiring.consumers[name] = [reader for reader in wiring.consumers.get(name, ()) if not marks[reader]]


def _keeps_tensor(wiring: Wiring, node: RawNode) -> bool:
    """The result is called after the tensor it is of, which numbers that shape inference computed have lost."""
    if node.op in _KEEPS_ITS_TENSOR:
        return True
    if node.op not in ("Concat", "Mul", "Div", "Sub"):
        return False
    operands = [wiring.stored(name) for name in node.inputs]
    return all(operand is not None and operand.is_floating and operand.shape for operand in operands)


def _fold(wiring: Wiring, node: RawNode) -> bool:
    op = node.op
    known = wiring.known
    name = node.outputs[0]
    view = VIEWS.get(op)
    if op == "Shape":
        return _fold_shape(wiring, node)
    if op in GENERATORS:
        if op.startswith("Random") and not is_weight_of(wiring, name):
            return False
        made = generated(node, wiring)
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
        if seen.depth > _DEEPEST:
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
    if op == "Expand" and operands[0].is_floating and len(operands) > 1:
        return _fold_expand(wiring, node, operands[0])
    if op == "Split":
        return _fold_split(wiring, node, operands)
    if op == "MatMul" and not any(operand.size in operand.shape for operand in operands):
        return False  # what is computed from a matrix by a vector is small: the largest singular value of a spectral normalization
    function = ARITHMETIC[op]
    if max(operand.depth for operand in operands) >= _DEEPEST:
        return False
    largest = max(operand.size for operand in operands)
    quantized = any(operand.quantized for operand in operands)
    if largest <= SMALL and not quantized and not (op in ("Slice", "Gather") and operands[0].data.dtype in FLOATING):
        with np.errstate(all="ignore"):
            result = np.asarray(function(node, [operand.read() for operand in operands]))
        if result.size <= SMALL or result.size <= 4 * largest:
            data = ComputedData(result.shape, result.dtype.name, lambda: result)
            known[name] = computed(wiring, node, operands, data)
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
        shape = slice_of(node, [dummy, *arguments]).shape
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
        seen_as(whole, shape, axes, lambda array: function(node, [array, *arguments])), part=part
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
        shape = slice_of(node, [dummy, *(operand.read() for operand in operands[1:])]).shape
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

    data = ComputedData(shape, dtype, cache(compute) if size <= SMALL else compute)
    wiring.known[name] = computed(wiring, node, operands, data)
    return True


def _fold_expand(wiring: Wiring, node: RawNode, whole: Stored) -> bool:
    """A stored tensor repeated along some axes (a class token for every example): still that tensor."""
    wanted = wiring.integers(node.inputs[1])
    if wanted is None:
        return False
    shape = np.broadcast_shapes(whole.shape, wanted)
    if math.prod(shape) > _ELEMENTWISE_LIMIT * 64:
        return False
    axes = (-1,) * (len(shape) - len(whole.shape)) + (whole.axes or tuple(range(len(whole.shape))))
    wiring.known[node.outputs[0]] = seen_as(whole, shape, axes, lambda array: np.broadcast_to(array, shape))
    return True


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
        wiring.known[name] = replace(seen_as(whole, shape, axes, itemgetter(window)), part=part)
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
