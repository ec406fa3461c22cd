"""Layers that hold a weight: linear in all its spellings, convolutions, embeddings and recurrent layers.

Stdlib, ir, load.wiring and load.stored only.
"""

from __future__ import annotations

import math

from trainaudit.ir.graph import Attribute, Role
from trainaudit.ir.ops import Op
from trainaudit.load.known import FLOATING, Stored
from trainaudit.load.raw import RawNode
from trainaudit.load.wiring import Draft, Use, Wiring, number, numbers, real, word


def is_weight(tensor: Stored | None) -> bool:
    """Floating point or quantised, with at least two axes."""
    return tensor is not None and len(tensor.shape) >= 2 and (tensor.quantized or tensor.data.dtype in FLOATING)


# --- linear --------------------------------------------------------------------------------------------------------------


def _weight_use(tensor: Stored, unit: int, incoming: int, outgoing: int, groups: int = 1) -> Use:
    tensor = tensor.alone()
    return Use(Role.WEIGHT, tensor, tensor.axis(unit), incoming, outgoing, groups)


def _linear(place: int, node: RawNode, activation: str, weight: Stored, unit: int, contracted: int) -> Draft:
    """A product with a stored weight whose axis `unit` counts outputs and whose axis `contracted` counts inputs (as seen)."""
    outgoing, incoming = weight.shape[unit], weight.shape[contracted]
    groups = math.prod(weight.shape) // max(outgoing * incoming, 1)
    attributes: dict[str, Attribute] = {"in_features": incoming, "out_features": outgoing}
    use = _weight_use(weight, unit, incoming, outgoing, groups)
    return Draft(Op.LINEAR, place, [activation], [node.outputs[0]], (place,), [use], attributes)


def matmul(wiring: Wiring, place: int, node: RawNode) -> Draft:
    """MatMul, FusedMatMul, Gemm: with a stored weight on either side, or a product of activations."""
    left, right = node.inputs[0], node.inputs[1]
    gemm = node.op in ("Gemm", "FusedGemm")
    flip_left = flip_right = 0
    alpha = 1.0
    if node.attributes:
        flip_left, flip_right = number(node, "transA", 0), number(node, "transB", 0)
        alpha = real(node, "alpha", 1.0)
    weight = wiring.stored(right)
    bias_axis = -1
    start = wiring.stored(left) if weight is not None and is_weight(weight) else None
    if weight is not None and is_weight(weight) and (start is None or start.generated):
        rank = len(weight.shape)
        unit, contracted = (rank - 2, rank - 1) if flip_right else (rank - 1, rank - 2)
        draft = _linear(place, node, left, weight, unit, contracted)
        if start is not None:  # the first step of an unrolled recurrence reads zeros that the graph makes
            draft.inputs = []
            draft.uses.append(Use(Role.CONSTANT, start))
    else:
        weight = wiring.stored(left)
        if weight is None or not is_weight(weight) or wiring.is_stored(right):
            return _vector_product(wiring, place, node)
        rank = len(weight.shape)
        unit, contracted = (rank - 1, rank - 2) if flip_left else (rank - 2, rank - 1)
        draft = _linear(place, node, right, weight, unit, contracted)
        bias_axis = -2
    if alpha != 1.0:
        draft.attributes["alpha"] = alpha
    if gemm and len(node.inputs) > 2 and node.inputs[2]:
        offset = wiring.stored(node.inputs[2])
        if offset is None:
            draft.inputs.append(node.inputs[2])
        elif real(node, "beta", 1.0) != 0:
            draft.uses.append(bias_use(offset))
    else:
        absorb_bias(wiring, draft, draft.uses[0].fan_out or 0, bias_axis)
    return draft


def _vector_product(wiring: Wiring, place: int, node: RawNode) -> Draft:
    """A product of activations, or with a stored vector (a linear layer of one unit, without a matrix)."""
    for weight_name, other in ((node.inputs[1], node.inputs[0]), (node.inputs[0], node.inputs[1])):
        weight = wiring.stored(weight_name)
        if (
            weight is not None
            and len(weight.shape) == 1
            and weight.data.dtype in FLOATING
            and not wiring.is_stored(other)
        ):
            size = weight.shape[0]
            use = Use(Role.WEIGHT, weight.alone(), None, size, 1)
            attributes: dict[str, Attribute] = {"in_features": size, "out_features": 1}
            return Draft(Op.LINEAR, place, [other], [node.outputs[0]], (place,), [use], attributes)
    draft = Draft(Op.MATMUL, place, [], [node.outputs[0]], (place,))
    for name in node.inputs:
        if name:
            tensor = wiring.stored(name)
            if tensor is None:
                draft.inputs.append(name)
            else:
                draft.uses.append(Use(Role.CONSTANT, tensor))
    return draft


def bias_use(tensor: Stored) -> Use:
    tensor = tensor.alone()
    longest = max(range(len(tensor.shape)), key=lambda axis: tensor.shape[axis], default=None)
    return Use(Role.BIAS, tensor, None if longest is None else tensor.axis(longest))


def absorb_bias(wiring: Wiring, draft: Draft, units: int, axis: int) -> None:
    """Take an Add of one stored number per unit into the layer before it, also from behind a Reshape or Transpose that keeps the
    unit axis (tf2onnx), which then stays as a layer of its own. `axis` is where the units are in the layer's output."""
    output = draft.outputs[0]
    adder = wiring.reader(output, "Add", "Reshape", "Transpose", "Squeeze")
    if adder is None:
        return
    between = None
    if wiring.nodes[adder].op != "Add":
        between = adder
        moved = wiring.nodes[between].outputs[0]
        adder = wiring.reader(moved, "Add")
        if adder is None:
            return
        rank = wiring.rank(moved)
        if wiring.nodes[between].op == "Transpose":
            order = numbers(wiring.nodes[between], "perm") or ()
            if not order:
                return
            axis = order.index(axis % len(order)) - len(order)
        elif wiring.nodes[between].op == "Reshape":
            if axis != -1 or wiring.dimension(moved, -1) != units:
                return
        elif rank is None:
            return
        else:
            axis = axis % (rank + 1) - rank if axis >= 0 else axis + 1
        output = moved
    node = wiring.nodes[adder]
    other = node.inputs[1] if node.inputs[0] == output else node.inputs[0]
    bias = wiring.stored(other)
    if bias is None or not (bias.data.dtype in FLOATING or bias.quantized):
        return
    rank = wiring.rank(output)
    if axis >= 0:
        if rank is None:
            rank = len(bias.shape) if len(bias.shape) > axis else axis + 3
        axis -= rank
    if not (-axis <= len(bias.shape) and bias.shape[axis] == units == bias.size):
        return
    wiring.taken[adder] = 1
    draft.uses.append(bias_use(bias))
    draft.nodes = (*draft.nodes, adder)
    if between is None:
        draft.outputs = [node.outputs[0]]
        draft.last = adder
    else:
        shaper = wiring.nodes[between]
        shaper.outputs = [node.outputs[0]]
        wiring.producer[node.outputs[0]] = between


def quantized_matmul(wiring: Wiring, place: int, node: RawNode) -> Draft:
    """QLinearMatMul, MatMulInteger and onnxruntime's relatives: a linear layer over quantised weights."""
    operand = 3 if node.op == "QLinearMatMul" else 1
    weight = wiring.stored(node.inputs[operand])
    if weight is None:
        return Draft(
            Op.MATMUL, place, [n for n in node.inputs if n and not wiring.is_stored(n)], [node.outputs[0]], (place,)
        )
    if node.op in ("MatMulNBits", "MatMulBnb4"):
        incoming, outgoing = number(node, "K", 0), number(node, "N", 0)
        use = Use(Role.WEIGHT, weight, 0, incoming, outgoing)
    else:
        incoming, outgoing = (weight.shape[-2], weight.shape[-1]) if len(weight.shape) > 1 else (weight.shape[0], 1)
        use = _weight_use(weight, len(weight.shape) - 1, incoming, outgoing)
    use.tensor = mark_quantized(use.tensor)
    attributes: dict[str, Attribute] = {"in_features": incoming, "out_features": outgoing}
    return Draft(Op.LINEAR, place, [node.inputs[0]], [node.outputs[0]], (place,), [use], attributes)


def mark_quantized(tensor: Stored) -> Stored:
    return Stored(tensor.name, tensor.data, tensor.shape, tensor.axes, tensor.view, True, tensor.generated, tensor.part)


def einsum(wiring: Wiring, place: int, node: RawNode) -> Draft:
    """Einsum with one stored operand is a linear layer; otherwise a product of activations."""
    equation = word(node, "equation").replace(" ", "")
    attributes: dict[str, Attribute] = {"equation": equation}
    stored = [wiring.stored(name) for name in node.inputs]
    active = [name for name, tensor in zip(node.inputs, stored, strict=True) if tensor is None]
    draft = Draft(Op.EINSUM, place, active, [node.outputs[0]], (place,), [], attributes)
    weight = next((tensor for tensor in stored if tensor is not None), None)
    terms, _, result = equation.partition("->")
    letters = terms.split(",")
    if (
        weight is None
        or len(active) != 1
        or len(letters) != 2
        or not is_weight(weight)
        or "." in letters[stored.index(weight)]
    ):
        draft.uses.extend(Use(Role.CONSTANT, tensor) for tensor in stored if tensor is not None)
        return draft
    own = letters[stored.index(weight)]
    other = letters[1 - stored.index(weight)]
    if not result:
        result = "".join(sorted(letter for letter in set(own + other) if (own + other).count(letter) == 1))
    size = dict(zip(own, weight.shape, strict=True))
    contracted = [letter for letter in own if letter not in result]
    units = [letter for letter in own if letter in result and letter not in other]
    incoming = math.prod(size[letter] for letter in contracted)
    outgoing = math.prod(size[letter] for letter in units)
    tensor = weight.alone()
    axis = tensor.axis(own.index(units[-1])) if len(units) == 1 else None
    draft.op = Op.LINEAR
    draft.uses.append(Use(Role.WEIGHT, tensor, axis, incoming, outgoing))
    attributes["in_features"], attributes["out_features"] = incoming, outgoing
    if len(units) == 1 and result.endswith(units[0]):
        absorb_bias(wiring, draft, outgoing, -1)
    return draft
