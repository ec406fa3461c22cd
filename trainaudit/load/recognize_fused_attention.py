"""ONNX's own Attention and onnxruntime's fused ones. Stdlib, ir and load's index only."""

from __future__ import annotations

import math

from trainaudit.ir.graph import Attribute, Role
from trainaudit.ir.ops import Op
from trainaudit.load.fused import add_operand, given
from trainaudit.load.raw import RawNode
from trainaudit.load.recognize_weights import mark_quantized
from trainaudit.load.wiring import Draft, Use, Wiring, number, real


def _attention_draft(
    wiring: Wiring, place: int, node: RawNode, inputs: list[str], masks: list[str], width: int | None, heads: int
) -> Draft:
    draft = Draft(Op.ATTENTION, place, inputs, wiring.results(node), (place,))
    attributes = draft.attributes
    head = width // heads if width is not None and heads > 0 else None
    if head:
        attributes["head_dim"] = head
    scale = real(node, "scale", 0.0)
    if scale:
        attributes["scale"] = scale
    elif head:
        attributes["scale"] = 1.0 / math.sqrt(head)
    if number(node, "is_causal", number(node, "unidirectional", 0)) == 1 or node.op in (
        "GroupQueryAttention",
        "SparseAttention",
    ):
        attributes["is_causal"] = True
    if real(node, "softcap", 0.0):
        attributes["softcap"] = real(node, "softcap", 0.0)
    present = [name for name in masks if name]
    if present and node.domain == "com.microsoft" and node.op != "GroupQueryAttention":
        attributes["mask_value"] = real(node, "mask_filter_value", -10000.0)
    for name in present:
        add_operand(wiring, draft, name, Role.CONSTANT)
    return draft


def attention(wiring: Wiring, place: int, node: RawNode) -> list[Draft]:
    """Attention of ONNX (opset 23) and onnxruntime's operators that read queries, keys and values."""
    values = [name for name in node.inputs[:3] if name]
    heads = number(node, "q_num_heads", number(node, "num_heads", 0))
    rank = wiring.rank(values[0])
    # (batch, heads, length, head) where four axes are there, else (batch, length, heads·head).
    width = wiring.dimension(values[0], -1)
    if rank == 4:
        heads = 1
    masks = {"Attention": (3,), "MultiHeadAttention": (4, 5), "PackedMultiHeadAttention": (6,)}.get(node.op, ())
    bias = given(node, 3) if node.op in ("MultiHeadAttention", "PackedMultiHeadAttention") else ""
    draft = _attention_draft(wiring, place, node, values, [given(node, at) for at in masks], width, heads)
    add_operand(wiring, draft, bias, Role.BIAS)
    return [draft]


def packed_attention(wiring: Wiring, place: int, node: RawNode) -> list[Draft]:
    """onnxruntime's Attention: the projection of queries, keys and values together, and the attention."""
    weight = wiring.stored(node.inputs[1])
    if weight is None or len(weight.shape) != 2:
        return [Draft(Op.ATTENTION, place, [name for name in node.inputs if name], wiring.results(node), (place,))]
    if node.op == "QAttention":
        weight = mark_quantized(weight)
    incoming, outgoing = weight.shape
    name = f"{node.outputs[0]}:projection"
    attributes: dict[str, Attribute] = {"in_features": incoming, "out_features": outgoing}
    use = Use(Role.WEIGHT, weight, weight.axis(1), incoming, outgoing)
    linear = Draft(Op.LINEAR, place, [node.inputs[0]], [name], (place,), [use], attributes)
    add_operand(wiring, linear, given(node, 2), Role.BIAS)
    masks = [given(node, at) for at in ((5,) if node.op == "QAttention" else (3, 5))]
    draft = _attention_draft(wiring, place, node, [name], masks, outgoing // 3, number(node, "num_heads", 0))
    draft.nodes = ()
    draft.last = place
    return [linear, draft]
