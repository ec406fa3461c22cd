"""Shape rules of the domain com.microsoft: the fused and quantized layers of ONNX Runtime. Stdlib and load only.

Semantics: ONNX Runtime's contrib operator documentation.
"""

# ruff: noqa: ARG001 (one signature for every rule)

from __future__ import annotations

from trainaudit.ir.graph import Dimension, Shape
from trainaudit.load.raw import RawNode
from trainaudit.load.shapes.dimensions import add, as_size, divide, floor_divide, multiply
from trainaudit.load.shapes.known import Known, Rule, Shapes, input_name, input_shape, integer, integers
from trainaudit.load.shapes.rules_elementwise import (
    all_same,
    broadcast_shapes,
    dynamic_quantization,
    layer_normalization,
    reduction,
    same,
)
from trainaudit.load.shapes.rules_layers import (
    convolution,
    convolution_shape,
    gemm,
    global_pooling,
    matmul_shape,
    pooling,
)
from trainaudit.load.shapes.rules_making import nothing
from trainaudit.load.shapes.rules_movement import concat, expand, pad
from trainaudit.load.shapes.rules_signals import fold_columns, grid_sample


def skip_normalization(node: RawNode, shapes: Shapes, known: Known) -> Shapes:
    """SkipLayerNormalization: the result, mean and deviation (seldom there), and the sum of input, skip and bias."""
    shape = shapes[0]
    statistics = None if shape is None else (*shape[:-1], 1)
    return (shape, statistics, statistics, shape)


def embedding_normalization(node: RawNode, shapes: Shapes, known: Known) -> Shapes:
    """EmbedLayerNormalization: ids (batch, sequence) and tables of width W → (batch, sequence, W)."""
    ids, table = shapes[0], shapes[2]
    if ids is None:
        return (None,)
    result = (*ids, table[1] if table is not None else None)
    return (result, ids[:1], result)


def packed_attention(node: RawNode, shapes: Shapes, known: Known) -> Shapes:
    """Attention: one weight (width, query + key + value) makes all three."""
    query, weight = shapes[:2]
    sizes = integers(node, "qkv_hidden_sizes")
    hidden = sizes[2] if sizes else third(weight[1] if weight is not None else None)
    return _attention(node, query, hidden, hidden, input_shape(shapes, 4), input_name(node, 4))


def quantized_attention(node: RawNode, shapes: Shapes, known: Known) -> Shapes:
    """QAttention: as Attention, the operands followed by scales and zero points."""
    query, weight = shapes[:2]
    hidden = third(weight[1] if weight is not None else None)
    return _attention(node, query, hidden, hidden, input_shape(shapes, 8), input_name(node, 8))


def third(size: Dimension) -> Dimension:
    """A third, where that is whole."""
    return divide(size, 3)


def _attention(
    node: RawNode, query: Shape | None, hidden: Dimension, added: Dimension, past: Shape | None, past_name: str
) -> Shapes:
    if query is None:
        return (None,)
    heads = integer(node, "num_heads", 1)
    total = query[1] if not past_name else add(query[1], past[3]) if past is not None else None
    return ((query[0], query[1], hidden), (2, query[0], heads, total, divide(added, heads)))


def multi_head_attention(node: RawNode, shapes: Shapes, known: Known) -> Shapes:
    """MultiHeadAttention: query (batch, sequence, width), value (batch, sequence, width) or (batch, heads, sequence, size)."""
    query, key, value = (input_shape(shapes, position) for position in range(3))
    past = input_shape(shapes, 6)
    heads = integer(node, "num_heads", 1)
    if query is None:
        return (None,)
    if len(query) == 5:  # packed: (batch, sequence, heads, 3, size)
        return ((query[0], query[1], multiply(query[2], query[4])),)
    if not input_name(node, 2):
        # key holds keys and values: (batch, sequence, heads, 2, size)
        return ((query[0], query[1], query[2]),)
    if value is None:
        return ((query[0], query[1], None),)
    width = multiply(value[1], value[3]) if len(value) == 4 else value[2]
    added = value[2] if len(value) == 4 else value[1]
    total = added if not input_name(node, 6) else add(added, past[2]) if past is not None else None
    keys: Shape | None = None
    if key is not None:
        keys = (query[0], heads, total, key[3] if len(key) == 4 else divide(key[-1], heads) if len(key) == 3 else None)
    return ((query[0], query[1], width), keys, (query[0], heads, total, divide(width, heads)))


def grouped_query_attention(node: RawNode, shapes: Shapes, known: Known) -> Shapes:
    """GroupQueryAttention: shaped like the query; a packed one holds keys and values as well."""
    query = shapes[0]
    if query is None:
        return (None,)
    if input_name(node, 1):
        return (query,)
    heads, kv_heads = integer(node, "num_heads", 1), integer(node, "kv_num_heads", 1)
    return ((*query[:2], multiply(divide(query[2], heads + 2 * kv_heads), heads)),)


def fused_matmul(node: RawNode, shapes: Shapes, known: Known) -> Shapes:
    """FusedMatMul: either operand may be transposed first."""
    if integer(node, "transBatchA", 0) or integer(node, "transBatchB", 0):
        return (None,)
    operands = []
    for shape, flag in zip(shapes, ("transA", "transB"), strict=False):
        flipped = integer(node, flag, 0) and shape is not None and len(shape) > 1
        operands.append((*shape[:-2], shape[-1], shape[-2]) if flipped and shape is not None else shape)
    return (matmul_shape(operands[0], operands[1]),)


def plain_matmul(node: RawNode, shapes: Shapes, known: Known) -> Shapes:
    """Products of the first two inputs."""
    return (matmul_shape(shapes[0], shapes[1]),)


def packed_matmul(node: RawNode, shapes: Shapes, known: Known) -> Shapes:
    """MatMulNBits: the weight's columns are an attribute."""
    shape = shapes[0]
    return (None if shape is None else (*shape[:-1], as_size(integer(node, "N", 0))),)


def quantized_gemm(node: RawNode, shapes: Shapes, known: Known) -> Shapes:
    """QGemm: each operand is followed by its scale and zero point."""
    return gemm(node, (shapes[0], shapes[3]), known)


def quantized_binary(node: RawNode, shapes: Shapes, known: Known) -> Shapes:
    """QLinearAdd, QLinearMul: each operand is followed by its scale and zero point."""
    return (broadcast_shapes(shapes[0], shapes[3]),)


def quantized_concat(node: RawNode, shapes: Shapes, known: Known) -> Shapes:
    """QLinearConcat: scale and zero point of the result, then triples."""
    return concat(node, shapes[2::3], known)


def quantized_where(node: RawNode, shapes: Shapes, known: Known) -> Shapes:
    """QLinearWhere: the condition, then two triples."""
    return (broadcast_shapes(broadcast_shapes(shapes[0], shapes[1]), shapes[4]),)


def quantized_global_pooling(node: RawNode, shapes: Shapes, known: Known) -> Shapes:
    """QLinearGlobalAveragePool, channels first or last."""
    shape = shapes[0]
    if shape is None or not integer(node, "channels_last", 0):
        return global_pooling(node, shapes[:1], known)
    return ((shape[0], *(1,) * (len(shape) - 2), shape[-1]),)


def channels_first_only(rule: Rule) -> Rule:
    """`rule` for nodes that do not keep their channels last."""

    def apply(node: RawNode, shapes: Shapes, known: Known) -> Shapes:
        return (None,) if integer(node, "channels_last", 0) else rule(node, shapes, known)

    return apply


def channels_last_convolution(node: RawNode, shapes: Shapes, known: Known) -> Shapes:
    """NhwcConv and NhwcFusedConv: (N, …, C) and a weight (M, …, C / groups)."""
    shape, weight = shapes[:2]
    if shape is None or weight is None:
        return (None,)
    first = convolution_shape(node, (shape[0], shape[-1], *shape[1:-1]), (weight[0], weight[-1], *weight[1:-1]))
    return (None if first is None else (first[0], *first[2:], first[1]),)


def channels_last_pooling(node: RawNode, shapes: Shapes, known: Known) -> Shapes:
    """NhwcMaxPool."""
    shape = shapes[0]
    if shape is None:
        return (None,)
    first = pooling(node, ((shape[0], shape[-1], *shape[1:-1]),), known)[0]
    return (None if first is None else (first[0], *first[2:], first[1]),)


def halved(node: RawNode, shapes: Shapes, known: Known) -> Shapes:
    """BiasSplitGelu: half of the last axis gates the other half."""
    shape = shapes[0]
    return (None if shape is None else (*shape[:-1], floor_divide(shape[-1], 2)),)


_SAME = """
BiasAdd BiasGelu BiasSoftmax FastGelu Gelu QuickGelu GroupNorm Inverse LongformerAttention RotaryEmbedding Trilu Irfft
QuantizeLinear DequantizeLinear QLinearLeakyRelu QLinearSigmoid QLinearSoftmax SimplifiedLayerNormalization GemmaRotaryEmbedding
BitmaskDropout BiasDropout
"""

RULES: dict[str, Rule] = {
    **dict.fromkeys(_SAME.split(), same),
    "Attention": packed_attention,
    "BeamSearch": nothing,
    "BiasSplitGelu": halved,
    "Col2Im": fold_columns,
    "ConvTransposeWithDynamicPads": nothing,
    "DynamicQuantizeLSTM": nothing,
    "DynamicQuantizeLinear": dynamic_quantization,
    "DynamicQuantizeMatMul": plain_matmul,
    "EmbedLayerNormalization": embedding_normalization,
    "Expand": expand,
    "FusedConv": convolution,
    "FusedGemm": gemm,
    "FusedMatMul": fused_matmul,
    "FusedMatMulActivation": fused_matmul,
    "GemmFastGelu": plain_matmul,
    "GreedySearch": nothing,
    "GridSample": grid_sample,
    "GroupQueryAttention": grouped_query_attention,
    "LayerNormalization": layer_normalization,
    "MatMulBnb4": packed_matmul,
    "MatMulFpQ4": nothing,
    "MatMulInteger16": plain_matmul,
    "MatMulIntegerToFloat": plain_matmul,
    "MatMulNBits": packed_matmul,
    "MultiHeadAttention": multi_head_attention,
    "NhwcConv": channels_last_convolution,
    "NhwcFusedConv": channels_last_convolution,
    "NhwcMaxPool": channels_last_pooling,
    "Pad": pad,
    "QAttention": quantized_attention,
    "QGemm": quantized_gemm,
    "QLinearAdd": quantized_binary,
    "QLinearAveragePool": channels_first_only(pooling),
    "QLinearConcat": quantized_concat,
    "QLinearGlobalAveragePool": quantized_global_pooling,
    "QLinearMul": quantized_binary,
    "QLinearReduceMean": reduction,
    "QLinearWhere": quantized_where,
    "SkipGroupNorm": all_same,
    "SkipLayerNormalization": skip_normalization,
    "SkipSimplifiedLayerNormalization": skip_normalization,
    "TransposeMatMul": fused_matmul,
}
