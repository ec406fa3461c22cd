"""Masks of attention scores: the lowest number that is added or filled in, and whether the mask hides the future.

Stdlib, numpy, ir, load.wiring and load.elementwise only.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from trainaudit.ir.graph import Attribute, Role
from trainaudit.load.elementwise import is_learnt
from trainaudit.load.known import Stored
from trainaudit.load.raw import RawNode
from trainaudit.load.wiring import Draft, Use, Wiring

_ELSEWHERE = frozenset({"MatMul", "Einsum", "FusedMatMul", "Gemm", "Conv", "Shape"})
"""Nodes behind which no mask is looked for."""


def add_masks(
    wiring: Wiring, draft: Draft, masks: list[str], fills: list[float], attributes: dict[str, Attribute]
) -> None:
    """Give an attention its masks as inputs or parameters, and what they say as mask_value and is_causal."""
    lowest = min(fills, default=0.0)
    causal = False
    for name in filter(None, [_that_hides(wiring, name) for name in masks]):
        tensor = wiring.stored(name) if wiring.is_stored(name) else None
        if tensor is None:
            draft.inputs.append(name)
            value, triangle = _mask_facts(wiring, name)
        else:
            if tensor.size > 1:
                learnt = tensor.is_floating and is_learnt(wiring, tensor)
                draft.uses.append(Use(Role.POSITION if learnt else Role.CONSTANT, tensor))
            value, triangle = _stored_mask_facts(tensor)
        lowest = min(lowest, value)
        causal = causal or triangle
    if lowest <= _MASK:
        attributes["mask_value"] = lowest
    if causal:
        attributes["is_causal"] = True


def _that_hides(wiring: Wiring, name: str) -> str:
    """A mask without the one in it that hides nothing, which transformers adds while torch.export runs; "" where that is all."""
    if _hides_nothing(wiring, name):
        return ""
    place = wiring.maker(name, "Add")
    if place is not None:
        left, right = wiring.nodes[place].inputs
        for added, other in ((left, right), (right, left)):
            if _hides_nothing(wiring, added):
                return other
    return name


def _hides_nothing(wiring: Wiring, name: str) -> bool:
    """Where(yes everywhere, 0, …): the yes is stored, however many examples it is repeated for."""
    place = wiring.maker(name, "Where")
    if place is None or wiring.scalar(wiring.nodes[place].inputs[1]) != 0:
        return False
    allowed = wiring.nodes[place].inputs[0]
    while (spread := wiring.maker(allowed, "Expand", "Unsqueeze", "Cast")) is not None:
        allowed = wiring.nodes[spread].inputs[0]
    tensor = wiring.stored(allowed)
    return tensor is not None and tensor.data.dtype == "bool" and tensor.size <= _LARGEST and bool(tensor.read().all())


_LARGEST = 1 << 16
_MASK = -100.0
"""Numbers at or below this, added to scores, are masks: e^-100 vanishes beside any ordinary weight."""


def _stored_mask_facts(tensor: Stored) -> tuple[float, bool]:
    """The lowest number of a stored mask, and whether it hides exactly what lies above the diagonal."""
    if tensor.size > 1 << 24 or tensor.quantized:
        return 0.0, False
    array: Any = tensor.read()
    if array.dtype.kind == "b":
        hidden = ~array
        lowest = 0.0
    elif array.dtype.kind == "f" and array.size:
        lowest = float(np.min(array))
        hidden = array <= _MASK
    else:
        return 0.0, False
    if array.ndim < 2 or array.shape[-1] != array.shape[-2] or array.shape[-1] < 2:
        return lowest, False
    square = hidden.reshape(-1, *array.shape[-2:])[0]
    above = np.triu(np.ones(square.shape, bool), 1)
    return lowest, bool((square == above).all() or (square == ~above).all())


def _mask_facts(wiring: Wiring, name: str) -> tuple[float, bool]:
    """The same for a mask that the graph computes: the lowest stored number on the way, and a triangle or a comparison of two
    ranges. Looks at no more than 48 nodes; remembered by value, because all layers share their mask."""
    found = wiring.masks.get(name)
    if found is not None:
        return found
    lowest, causal = 0.0, False
    seen = {name}
    pending = [name]
    visited = 0
    while pending and visited < 48:
        value = pending.pop()
        place = wiring.producer.get(value)
        if place is None or wiring.nodes[place].op in _ELSEWHERE:
            continue
        visited += 1
        node = wiring.nodes[place]
        if node.op == "Trilu" or (
            node.op in ("LessOrEqual", "GreaterOrEqual", "Greater", "Less") and not wiring.is_stored(value)
        ):
            causal = causal or node.op == "Trilu" or _compares_positions(wiring, node)
        for source in node.inputs:
            if not source or source in seen:
                continue
            seen.add(source)
            tensor = wiring.stored(source) if wiring.is_stored(source) else None
            if tensor is None:
                pending.append(source)
            elif tensor.is_floating:
                below, triangle = _stored_mask_facts(tensor)
                lowest = min(lowest, below)
                causal = causal or triangle
            elif tensor.data.dtype == "bool":
                causal = causal or _stored_mask_facts(tensor)[1]
    result = (lowest if lowest <= _MASK else 0.0, causal)
    wiring.masks[name] = result
    return result


def _compares_positions(wiring: Wiring, node: RawNode) -> bool:
    """Both sides are ranges of positions, seen through reshapes, casts and sums with offsets."""
    return all(_is_positions(wiring, name, 0) for name in node.inputs)


def _is_positions(wiring: Wiring, name: str, depth: int) -> bool:
    if wiring.is_stored(name):
        tensor = wiring.stored(name)
        return tensor is not None and tensor.size > 1 and not tensor.is_floating
    place = wiring.producer.get(name)
    if place is None or depth > 8:
        return False
    node = wiring.nodes[place]
    if node.op == "Range":
        return True
    if node.op in ("Add", "Sub", "Unsqueeze", "Reshape", "Cast", "Expand", "Slice", "Gather", "Transpose", "Squeeze"):
        return any(_is_positions(wiring, source, depth + 1) for source in node.inputs[:2])
    return False
