"""Arithmetic with stored operands: one stored number becomes an attribute, a stored vector or table a parameter.

Stdlib, ir, load.wiring and load.stored only.
"""

from __future__ import annotations

import math
import re

import numpy as np

from trainaudit.ir.graph import Role
from trainaudit.ir.ops import Op
from trainaudit.load.known import FLOATING, Stored
from trainaudit.load.raw import RawNode
from trainaudit.load.wiring import SMALL, Draft, Use, Wiring

_ANONYMOUS = re.compile(
    r"val_\d+|onnx::\w+|.*[Cc]onst(ant)?s?(_fold_opt_)?[_\d/:]*(_output_\d+)?|.*Constant.*|_?lifted_tensor.*|[%_]?\d+|.*/(x|y|mul|add|sub|pow)(:0)?|_inlfunc.*|\w*cst\d*"
)
"""Names that exporters give to numbers in the code: torch's val_3, onnx::Add_12 and /Constant_output_0, tf2onnx's const_fold_opt__7,
skl2onnx's Ad_Addcst."""


def is_named_parameter(wiring: Wiring, tensor: Stored) -> bool:
    """The tensor has a name that a module's parameter would have, not one that an exporter makes up for a constant."""
    name = tensor.name
    return (
        not tensor.generated
        and name not in wiring.raw.constants
        and name in wiring.raw.tensors
        and not _ANONYMOUS.fullmatch(name)
    )


KINDS = {
    "Add": Op.ADD,
    "Sub": Op.SUB,
    "Mul": Op.MUL,
    "Div": Op.DIV,
    "Pow": Op.POW,
    "Mod": Op.MOD,
    "Sum": Op.ADD,
    "Max": Op.MAX,
    "Min": Op.MIN,
}


def arithmetic(wiring: Wiring, place: int, node: RawNode) -> Draft:
    """Add, Sub, Mul, Div, Pow, Mod, and Sum, Max and Min of any number of operands."""
    draft = Draft(KINDS[node.op], place, [], [node.outputs[0]], (place,))
    for position, name in enumerate(node.inputs):
        if not name:
            continue
        if not wiring.is_stored(name):
            draft.inputs.append(name)
            continue
        tensor = wiring.stored(name)
        assert tensor is not None
        side = "left" if position == 0 else "right"
        if tensor.size == 1 and "scalar" not in draft.attributes:
            value = wiring.scalar(name)
            if value is not None:
                draft.attributes["scalar"] = value
                draft.attributes["scalar_side"] = side
                if node.op in ("Add", "Mul") and is_named_parameter(wiring, tensor) and tensor.data.dtype in FLOATING:
                    draft.uses.append(Use(Role.SCALE if node.op == "Mul" else Role.SHIFT, tensor))
                continue
        if not is_argument(tensor):
            draft.uses.append(operand_use(wiring, node.op, tensor))
    if node.op == "Mul" and len(node.inputs) == 2 and node.inputs[0] == node.inputs[1] and len(draft.inputs) == 2:
        return Draft(
            Op.POW, place, draft.inputs[:1], [node.outputs[0]], (place,), [], {"scalar": 2.0, "scalar_side": "right"}
        )
    if node.op == "Max" and draft.attributes.get("scalar") == 0 and len(draft.inputs) == 1 and not draft.uses:
        draft.op = Op.RELU
        draft.attributes = {}
    return draft


_WHOLE = ("Concat", "Expand", "Tile")
"""Operators that put a stored tensor beside activations as it is: a class token."""


def is_argument(tensor: Stored) -> bool:
    """A few stored integers, sizes or indices: nothing that a layer owns."""
    return not (tensor.is_floating or tensor.quantized) and tensor.size <= _FEW


_FEW = 64


def operand_use(wiring: Wiring, op: str, tensor: Stored) -> Use:
    """The role of a stored vector or table in an elementwise layer, or beside activations in a concatenation."""
    if op not in ("Add", "Mul", "Sum", *_WHOLE) or not (tensor.is_floating or tensor.quantized):
        return Use(Role.CONSTANT, tensor)
    wide = [axis for axis, size in enumerate(tensor.shape) if size != 1]
    if len(wide) <= 1 and op not in _WHOLE:
        unit = tensor.axis(wide[0]) if wide else None
        learnt = is_named_parameter(wiring, tensor) or is_learnt(wiring, tensor)
        return Use(Role.SCALE if op == "Mul" else Role.SHIFT, tensor, unit, trainable=None if learnt else False)
    if op == "Mul" or not is_learnt(wiring, tensor):
        return Use(Role.CONSTANT, tensor)
    return Use(Role.POSITION, tensor)


def is_learnt(wiring: Wiring, tensor: Stored) -> bool:
    """Whether a stored table looks learnt: it is no mask, and has a parameter's name or (a folded table of positions has a name that
    the exporter made up) at least varied values."""
    if tensor.quantized:
        return True
    distinct = _distinct(tensor)
    if is_named_parameter(wiring, tensor):
        return not 1 < distinct <= _MASK_VALUES
    return tensor.size > 16 and not tensor.generated and distinct > _MASK_VALUES


_MASK_VALUES = 4
"""Masks hold 0 and 1, or 0 and −∞, or the few numbers of Swin's windows; a fresh parameter may hold a single one."""


def _distinct(tensor: Stored) -> int:
    """Number of distinct values among the first few thousand (counted up to what matters)."""
    if math.prod(tensor.data.shape) > SMALL:
        sample = next(tensor.data.blocks(SMALL))
    else:
        sample = tensor.data.read()
    return int(np.unique(np.asarray(sample).reshape(-1)[:SMALL]).size)


def where(wiring: Wiring, place: int, node: RawNode) -> Draft:
    """Where: a branch that is one stored number becomes the attribute fill."""
    draft = Draft(Op.WHERE, place, [], [node.outputs[0]], (place,))
    for position, name in enumerate(node.inputs):
        tensor = wiring.stored(name) if wiring.is_stored(name) else None
        if tensor is None:
            draft.inputs.append(name)
            continue
        value = wiring.scalar(name) if position else None
        if value is not None and "fill" not in draft.attributes:
            draft.attributes["fill"] = value
        elif value is None and not is_argument(tensor):
            draft.uses.append(Use(Role.CONSTANT, tensor))
    return draft


def clip(wiring: Wiring, place: int, node: RawNode) -> Draft:
    """Clip: ReLU, ReLU6 and HardTanh by their bounds, else clip."""
    low, high = clip_bounds(wiring, node)
    draft = Draft(Op.CLIP, place, [node.inputs[0]], [node.outputs[0]], (place,))
    draft.inputs.extend(name for name in node.inputs[1:] if name and not wiring.is_stored(name))
    if len(draft.inputs) > 1:
        return draft
    if low == 0 and high is None:
        draft.op = Op.RELU
    elif low == 0 and high == 6:
        draft.op = Op.RELU6
    else:
        if low == -1 and high == 1:
            draft.op = Op.HARD_TANH
        if low is not None:
            draft.attributes["min"] = low
        if high is not None:
            draft.attributes["max"] = high
    return draft


_LARGEST = 3.0e38
"""ONNX before opset 11 writes "no bound" as the largest float."""


def clip_bounds(wiring: Wiring, node: RawNode) -> tuple[float | None, float | None]:
    """The stored lower and upper bound of a Clip, None where there is none."""
    return _bound(wiring, node, 1, "min"), _bound(wiring, node, 2, "max")


def _bound(wiring: Wiring, node: RawNode, position: int, attribute: str) -> float | None:
    value = node.attributes.get(attribute)
    if len(node.inputs) > position and node.inputs[position]:
        value = wiring.scalar(node.inputs[position])
    if isinstance(value, (int, float)) and abs(value) < _LARGEST:
        return float(value)
    return None


def prelu(wiring: Wiring, place: int, node: RawNode) -> Draft:
    """PRelu with a stored slope."""
    draft = Draft(Op.PRELU, place, [node.inputs[0]], [node.outputs[0]], (place,))
    slope = wiring.stored(node.inputs[1])
    if slope is None:
        draft.inputs.append(node.inputs[1])
    else:
        wide = [axis for axis, size in enumerate(slope.shape) if size != 1]
        draft.uses.append(Use(Role.SLOPE, slope, slope.axis(wide[0]) if wide else None))
    return draft
