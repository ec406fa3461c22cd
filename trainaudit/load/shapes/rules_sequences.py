"""Shape rules of layers over sequences: recurrence and attention. Stdlib and load only.

Semantics: the ONNX operator specification, opset 7 to the newest.
"""

# ruff: noqa: ARG001 (one signature for every rule)

from __future__ import annotations

from trainaudit.ir.graph import Dimension, Shape
from trainaudit.load.raw import RawNode
from trainaudit.load.shapes.dimensions import add, as_size, divide, merge, multiply, subtract
from trainaudit.load.shapes.known import Known, Rule, Shapes, input_name, input_shape, integer, text


def attention(node: RawNode, shapes: Shapes, known: Known) -> Shapes:
    """Attention of ai.onnx (opset 23): 4-d (batch, heads, sequence, size) or 3-d with the heads in the last axis."""
    query, key, value = shapes[:3]
    past = input_shape(shapes, 4)
    heads: Dimension
    kv_heads: Dimension
    if query is None or key is None or value is None:
        return (query if query is not None and len(query) == 3 and value is None else None,)
    if len(query) == 3:
        heads = integer(node, "q_num_heads", 0)
        kv_heads = integer(node, "kv_num_heads", 0)
        batch, length = query[:2]
        added = merge(key[1], value[1])
        size, value_size = divide(key[2], kv_heads), divide(value[2], kv_heads)
        result: Shape = (batch, length, multiply(value_size, heads))
    else:
        batch, heads, length = query[:3]
        kv_heads, added = key[1], merge(key[2], value[2])
        size, value_size = key[3], value[3]
        result = (batch, heads, length, value_size)
    if not input_name(node, 4):
        total = added
    else:
        total = add(past[2], added) if past is not None else None
    keys: Shape = (batch, kv_heads, total, size)
    return (result, keys, (batch, kv_heads, total, value_size), (batch, heads, length, total))


def linear_attention(node: RawNode, shapes: Shapes, known: Known) -> Shapes:
    """LinearAttention: packed heads (B, T, heads·size), and the recurrent state (B, heads, key size, value size)."""
    query, key, value = shapes[:3]
    if query is None or key is None or value is None:
        return (None,)
    heads, kv_heads = integer(node, "q_num_heads", 0), integer(node, "kv_num_heads", 0)
    key_size, value_size = divide(key[2], kv_heads), divide(value[2], kv_heads)
    return ((query[0], query[1], multiply(value_size, heads)), (query[0], kv_heads, key_size, value_size))


def causal_convolution(node: RawNode, shapes: Shapes, known: Known) -> Shapes:
    """CausalConvWithState: the input's shape, and the last kernel − 1 positions."""
    shape, weight = shapes[:2]
    if shape is None:
        return (None,)
    return (shape, (*shape[:2], subtract(weight[-1], 1) if weight is not None else None))


def flexible_attention(node: RawNode, shapes: Shapes, known: Known) -> Shapes:
    """FlexAttention: (batch, heads, sequence, value size)."""
    query, _, value = shapes[:3]
    return (None if query is None else (*query[:3], value[3] if value is not None else None),)


def recurrent(node: RawNode, shapes: Shapes, known: Known) -> Shapes:
    """RNN, GRU, LSTM: all hidden states, the last one, and the last cell (LSTM)."""
    shape, recurrence = shapes[0], input_shape(shapes, 2)
    directions = 2 if text(node, "direction", "forward") == "bidirectional" else 1
    hidden: Dimension = recurrence[2] if recurrence is not None else None
    if "hidden_size" in node.attributes:
        hidden = as_size(integer(node, "hidden_size", 0))
    sequence, batch = (None, None) if shape is None else shape[:2]
    if integer(node, "layout", 0):
        sequence, batch = batch, sequence
        last: Shape = (batch, directions, hidden)
        return ((batch, sequence, directions, hidden), last, last)
    last = (directions, batch, hidden)
    return ((sequence, directions, batch, hidden), last, last)


RULES: dict[str, Rule] = {
    "Attention": attention,
    "CausalConvWithState": causal_convolution,
    "GRU": recurrent,
    "LSTM": recurrent,
    "LinearAttention": linear_attention,
    "RNN": recurrent,
}
