"""A stored tensor seen through the nodes that only rename, retype or rearrange it. Stdlib, numpy, ir and load's index only."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np

from trainaudit.load.datatypes import TYPE_NAMES, Array
from trainaudit.load.known import FLOATING, Stored, numpy_type
from trainaudit.load.naming import path_of_parameter
from trainaudit.load.raw import RawNode
from trainaudit.load.wiring import Wiring


def type_name(code: object) -> str | None:
    """The word for an ONNX element type number."""
    return TYPE_NAMES.get(code) if isinstance(code, int) else None


def _renamed(stored: Stored, node: RawNode, wiring: Wiring) -> Stored | None:
    # torch's TorchScript exporter stores equal tensors once and gives the other parameters, and the biases that it makes when it
    # folds a BatchNorm, their names by Identity; parameters that are tied in the module share one name instead.
    name = node.outputs[0]
    if node.op != "Identity" or node.inputs[0] not in wiring.raw.tensors:
        return stored
    is_own = path_of_parameter(name) is not None or (len(stored.shape) == 1 and name.startswith("onnx::Conv_"))
    return replace(stored, name=name) if is_own else stored


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
    return replace(stored, view=partial(_read_cast, stored.view, wanted), depth=stored.depth + 1)


def _read_cast(view: Callable[[Array], Array] | None, wanted: np.dtype[np.generic], array: Array) -> Array:
    return (array if view is None else view(array)).astype(wanted)


def _dequantized(stored: Stored, _node: RawNode, _wiring: Wiring) -> Stored | None:
    return replace(stored, quantized=True)


def seen_as(stored: Stored, shape: tuple[int, ...], axes: tuple[int, ...], change: Callable[[Array], Array]) -> Stored:
    def view(array: Array, earlier: Callable[[Array], Array] | None = stored.view) -> Array:
        return change(array if earlier is None else earlier(array))

    return replace(stored, shape=shape, axes=axes, view=view, depth=stored.depth + 1)


def _transposed(stored: Stored, node: RawNode, _wiring: Wiring) -> Stored | None:
    rank = len(stored.shape)
    perm = node.attributes.get("perm")
    order = tuple(int(axis) for axis in perm) if isinstance(perm, list) else tuple(range(rank))[::-1]
    if sorted(order) != list(range(rank)):
        return None
    axes = stored.axes or tuple(range(rank))
    return seen_as(
        stored,
        tuple(stored.shape[axis] for axis in order),
        tuple(axes[axis] for axis in order),
        lambda a: a.transpose(order),
    )


def _reshaped(stored: Stored, node: RawNode, wiring: Wiring) -> Stored | None:
    shape = _new_shape(stored.shape, node, wiring)
    if shape is None or math.prod(shape) != stored.size:
        return None
    return seen_as(stored, shape, _follow(stored, shape), lambda a: a.reshape(shape))


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
    return tuple(1 if place in added else next(rest_of, 1) for place in range(total))


def _follow(stored: Stored, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Which axis of the data each axis of a reshaped tensor is: equal sizes in the same order are the same axis."""
    before = stored.axes or tuple(range(len(stored.shape)))
    kept = [(size, axis) for size, axis in zip(stored.shape, before, strict=True) if size != 1]
    if [size for size, _ in kept] != [size for size in shape if size != 1]:
        return (-1,) * len(shape)
    rest = iter(kept)
    return tuple(-1 if size == 1 else next(rest)[1] for size in shape)


VIEWS: dict[str, Callable[[Stored, RawNode, Wiring], Stored | None]] = {
    "Identity": _renamed, "Cast": _cast, "CastLike": _cast, "DequantizeLinear": _dequantized, "Transpose": _transposed,
    "Reshape": _reshaped, "Flatten": _reshaped, "Squeeze": _reshaped, "Unsqueeze": _reshaped,
}  # fmt: skip
