"""From the raw graph to the canonical one: patterns of several nodes first, then every remaining node by the tables.

Every layer is drafted (`Draft`), drafts are put in order, and only then named and frozen. Attributes are those of `ir.ops`, and
besides them: gate_order and activations of recurrent layers ("iofc" as ONNX orders an LSTM's gates), alpha of a linear layer that
scales, softcap and dropout (its probability) of attention, index of a gather by one stored number, flattened of a softmax before
opset 13, training of dropout and batch_norm, alpha and beta of hard_sigmoid, size, alpha and beta of local_response_norm, eps, axes
and ordinal of lp_norm, upper of triangle, reparametrized of a layer whose weight the graph scales (weight and spectral normalization).
An attention whose weights others read has them as second output.

A bias that an Add gives is part of its layer; a scalar factor on queries, keys or scores is part of the attention's scale and no
layer any more; nodes that only rename, retype to the same type, or quantise and dequantise an activation are gone, and so are those
whose result is known without running the model. Stdlib, numpy, ir and load only.
"""

from __future__ import annotations

from collections.abc import Callable
from operator import attrgetter
from typing import Any

import numpy as np

from trainaudit.ir.graph import Graph, Role
from trainaudit.ir.ops import Op
from trainaudit.load import (
    recognize_activation,
    recognize_affine,
    recognize_attention,
    recognize_contrib,
    recognize_dropout,
    recognize_fused_attention,
    recognize_kernels,
    recognize_moments,
    recognize_normalization,
    recognize_pieces,
    recognize_weights,
)
from trainaudit.load.assemble import assemble
from trainaudit.load.constants import fold_constants
from trainaudit.load.dropped import mark_dropped
from trainaudit.load.elementwise import KINDS, arithmetic, clip, is_argument, operand_use, prelu, where
from trainaudit.load.indexing import wire
from trainaudit.load.operators import ALL, ATEN, CLASSICAL, MICROSOFT, TABLE, TRAINING, Row
from trainaudit.load.raw import RawGraph, RawNode
from trainaudit.load.shapes.inference import Inferred
from trainaudit.load.shapes.known import MALFORMED
from trainaudit.load.spellings import write_plainly
from trainaudit.load.wiring import Draft, Use, Wiring

Convert = Callable[[Wiring, int, RawNode], Draft]
Several = Callable[[Wiring, int, RawNode], list[Draft]]

CONVERTERS: dict[str, Convert] = {
    **dict.fromkeys(("MatMul", "Gemm"), recognize_weights.matmul),
    **dict.fromkeys(("QLinearMatMul", "MatMulInteger"), recognize_weights.quantized_matmul),
    "Einsum": recognize_weights.einsum,
    **dict.fromkeys(("Conv", "ConvTranspose", "ConvInteger", "QLinearConv", "DeformConv"), recognize_kernels.convolution),
    "CausalConvWithState": recognize_kernels.convolution,
    "Gather": recognize_kernels.gather,
    **dict.fromkeys(("LSTM", "GRU", "RNN"), recognize_kernels.recurrent),
    "BatchNormalization": recognize_affine.batch_norm,
    **dict.fromkeys(("LayerNormalization", "RMSNormalization", "SimplifiedLayerNormalization"), recognize_normalization.layer_norm),
    "GroupNormalization": recognize_normalization.group_norm,
    "InstanceNormalization": recognize_normalization.instance_norm,
    "MeanVarianceNormalization": recognize_normalization.mean_variance_norm,
    **dict.fromkeys(("Add", "Sub", "Mul", "Div", "Pow", "Mod", "Sum", "Max", "Min"), arithmetic),
    "Where": where, "Clip": clip, "PRelu": prelu,
}  # fmt: skip

PLAIN = {name: op for name, (op, translate, _) in TABLE.items() if translate is None} | {
    name: op for name, op in KINDS.items() if name != "Mul"
}
"""ai.onnx operators that are one layer without attributes where they read activations alone: most nodes. A product may be a square."""

FUSED: dict[str, Several] = {
    **dict.fromkeys(("Attention", "LinearAttention"), recognize_fused_attention.attention),
    "Swish": recognize_contrib.swish,
}
"""ai.onnx operators that stand for several layers."""

FUSED_MICROSOFT: dict[str, Several] = {
    **dict.fromkeys(("Attention", "QAttention", "PackedAttention", "LongformerAttention"), recognize_fused_attention.packed_attention),
    **dict.fromkeys(
        ("MultiHeadAttention", "GroupQueryAttention", "DecoderMaskedMultiHeadAttention", "PackedMultiHeadAttention", "SparseAttention",
         "PagedAttention", "SparsePagedAttention", "LinearAttention", "DynamicSparseAttention"),
        recognize_fused_attention.attention,
    ),
    **dict.fromkeys(("SkipLayerNormalization", "SkipSimplifiedLayerNormalization"), recognize_contrib.skip_layer_norm),
    **dict.fromkeys(("EmbedLayerNormalization", "QEmbedLayerNormalization"), recognize_contrib.embed_layer_norm),
    **dict.fromkeys(("GroupNorm", "SkipGroupNorm"), recognize_contrib.fused_group_norm),
    **dict.fromkeys(
        ("FusedConv", "NhwcFusedConv", "NhwcConv", "Conv", "FusedGemm", "FusedMatMul", "FusedMatMulActivation"), recognize_contrib.with_activation
    ),
    **dict.fromkeys(
        ("BiasGelu", "FastGelu", "QuickGelu", "BiasSplitGelu", "BiasSoftmax", "BiasAdd", "BiasDropout", "BitmaskBiasDropout"),
        recognize_contrib.biased_activation,
    ),
    **dict.fromkeys(
        ("QGemm", "DynamicQuantizeMatMul", "MatMulIntegerToFloat", "MatMulInteger16", "MatMulNBits", "MatMulBnb4", "MatMulFpQ4"),
        recognize_contrib.quantized_product,
    ),
    **dict.fromkeys(("QLinearAdd", "QLinearMul"), recognize_contrib.quantized_arithmetic),
    **dict.fromkeys(("MoE", "QMoE"), recognize_contrib.mixture_of_experts),
}  # fmt: skip
"""com.microsoft operators that stand for several layers or need code of their own."""

PATTERNS: dict[str, tuple[Callable[[Wiring, int], Draft | None], ...]] = {
    **dict.fromkeys(recognize_activation.ROOTS, (recognize_activation.written_out,)),
    "Sigmoid": (recognize_activation.written_out, recognize_pieces.glu),
    **dict.fromkeys(("Sqrt", "Pow"), (recognize_moments.written_out,)),
    **dict.fromkeys(("ReduceL2", "ReduceL1"), (recognize_moments.divided_by_length,)),
    "InstanceNormalization": (recognize_affine.grouped,),
    "BatchNormalization": (recognize_affine.layer_norm_by_rows,),
    "Softmax": (),
    "Pad": (recognize_pieces.unfold,),
    "Less": (recognize_dropout.dropout, recognize_activation.written_out),
    "Bernoulli": (recognize_dropout.dropout,),
    "Exp": (recognize_pieces.softmax_in_pieces, recognize_activation.written_out),
}
"""Root operator → the patterns that may stand around it."""


def canonicalize(raw: RawGraph, inferred: Inferred) -> Graph:
    """The canonical graph of a raw one and of what inference found out about it; `raw`'s nodes are rewired in place."""
    wiring = wire(raw, inferred)
    with np.errstate(all="ignore"):
        return _canonicalize(wiring)


def _canonicalize(wiring: Wiring) -> Graph:
    write_plainly(wiring)
    folded = fold_constants(wiring)
    drafts = recognize(wiring, folded)
    unrecognized: dict[str, int] = {}
    taken, other = wiring.taken, Op.OTHER
    tensors, known = wiring.raw.tensors.keys(), wiring.known.keys()
    for place, node in enumerate(wiring.nodes):
        if taken[place]:
            continue
        if folded[place]:
            drafts.append(Draft(Op.CONSTANT, place, [], [name for name in node.outputs if name], (place,)))
            continue
        inputs, outputs, op = node.inputs, node.outputs, PLAIN.get(node.op)
        is_plain = not node.domain and len(outputs) == 1 and outputs[0]
        if op is not None and is_plain and tensors.isdisjoint(inputs) and known.isdisjoint(inputs):
            drafts.append(Draft(op, place, inputs[:], outputs[:], (place,), [], {}, place))
            continue
        made = _checked(wiring, place, node)
        if made[-1].op is other:
            spelling = f"{node.domain}.{node.op}" if node.domain else node.op
            unrecognized[spelling] = unrecognized.get(spelling, 0) + 1
        drafts += made
    no_activations = {"", *wiring.raw.tensors, *wiring.known}
    for draft in drafts:
        if not no_activations.isdisjoint(draft.inputs):
            _sort_inputs(wiring, draft)
        if "" in draft.outputs:
            draft.outputs = [name for name in draft.outputs if name]
    drafts.sort(key=attrgetter("last"))
    mark_dropped(wiring, drafts)
    return assemble(wiring, _living(wiring, drafts, folded), unrecognized)


def recognize(wiring: Wiring, folded: bytearray) -> list[Draft]:
    """Find the layers that are written in several nodes, and mark the nodes as taken."""
    drafts: list[Draft] = []
    softmaxes: list[Draft] = []
    taken = wiring.taken
    for place, node in enumerate(wiring.nodes):
        patterns = PATTERNS.get(node.op)
        if patterns is None or taken[place] or folded[place] or node.domain not in ("", "ai.onnx"):
            continue
        if node.op == "Softmax":
            softmaxes += _checked(wiring, place, node)
            continue
        for pattern in patterns:
            draft = _matched(pattern, wiring, place)
            if draft is not None:
                for member in draft.nodes:
                    taken[member] = 1
                (softmaxes if draft.op is Op.SOFTMAX else drafts).append(draft)
                break
    for softmax in softmaxes:
        draft = _matched(recognize_attention.attention, wiring, softmax)
        if draft is not None:
            for member in draft.nodes:
                taken[member] = 1
            drafts.append(draft)
        elif len(softmax.nodes) > 1:
            drafts.append(softmax)
    return drafts


def _matched(pattern: Callable[[Wiring, Any], Draft | None], wiring: Wiring, root: Any) -> Draft | None:
    """What a pattern finds; a malformed node (an input missing, an axis out of range) is part of no pattern."""
    try:
        return pattern(wiring, root)
    except MALFORMED:
        return None


def _checked(wiring: Wiring, place: int, node: RawNode) -> list[Draft]:
    """The layers of one node, with every result that something reads. A malformed node is a layer of unknown kind."""
    try:
        drafts = convert(wiring, place, node)
    except MALFORMED:
        drafts = [_by_row(wiring, place, node, None)]
    outputs = node.outputs
    if len(outputs) != 1 or not outputs[0]:
        made = {name for draft in drafts for name in draft.outputs}
        drafts[-1].outputs += [name for name in wiring.results(node) if name not in made]
    return drafts


def _sort_inputs(wiring: Wiring, draft: Draft) -> None:
    """Stored tensors where a converter expected activations are constants; absent inputs are nothing."""
    names = [name for name in draft.inputs if name]
    draft.inputs = [name for name in names if not wiring.is_stored(name)]
    for name in names:
        tensor = wiring.stored(name)
        if tensor is not None and not is_argument(tensor):
            draft.uses.append(Use(Role.CONSTANT, tensor))


def convert(wiring: Wiring, place: int, node: RawNode) -> list[Draft]:
    """The layers that one node stands for: one, or several for a fused operator."""
    domain = node.domain
    if not domain or domain == "ai.onnx":
        row = TABLE.get(node.op)
        if row is None:
            converter = CONVERTERS.get(node.op)
            if converter is not None:
                return [converter(wiring, place, node)]
            several = FUSED.get(node.op)
            if several is not None:
                return several(wiring, place, node)
    elif domain in ("com.microsoft", "com.ms.internal.nhwc", "com.microsoft.nchwc"):
        several = FUSED_MICROSOFT.get(node.op)
        if several is not None:
            return several(wiring, place, node)
        row = MICROSOFT.get(node.op)
        if row is None:
            converter = CONVERTERS.get(node.op)
            if converter is not None:
                return [converter(wiring, place, node)]
            row = TABLE.get(node.op)
    elif domain == "ai.onnx.ml":
        row = CLASSICAL.get(node.op)
    elif domain == "ai.onnx.preview":
        return (
            recognize_fused_attention.attention(wiring, place, node)
            if node.op == "FlexAttention"
            else [_by_row(wiring, place, node, None)]
        )
    elif domain == "ai.onnx.preview.training":
        row = TRAINING.get(node.op)
    elif domain == "aten":
        row = ATEN.get(node.op)
    else:
        row = None
    return [_by_row(wiring, place, node, row)]


def _by_row(wiring: Wiring, place: int, node: RawNode, row: Row | None) -> Draft:
    op, translate, operands = row or (Op.OTHER, None, ALL)
    inputs: list[str] = []
    uses: list[Use] = []
    tensors, known = wiring.raw.tensors, wiring.known
    read = node.inputs if op is not Op.CAST else node.inputs[:1]  # of CastLike's second only the type matters
    for position, name in enumerate(read):
        if not name:
            continue
        if name not in tensors and name not in known:
            inputs.append(name)
        elif position < operands and op is not Op.COMPARE:
            tensor = wiring.stored(name)
            if tensor is not None and not is_argument(tensor):
                uses.append(operand_use(wiring, node.op, tensor))
    attributes = {} if translate is None else translate(wiring, node)
    return Draft(op, place, inputs, node.outputs[:], (place,), uses, attributes, place)


def _living(wiring: Wiring, drafts: list[Draft], folded: bytearray) -> list[Draft]:
    """Leave out what made constants or sizes that nothing reads as an activation any more. A layer that nothing reads in the file stays."""
    read = wiring.outputs.union(*[draft.inputs for draft in drafts])
    if not any(folded) and not any(map(read.isdisjoint, map(attrgetter("outputs"), drafts))):
        return drafts
    needed = set(wiring.outputs)
    kept: list[Draft] = []
    for draft in reversed(drafts):
        is_needed = not needed.isdisjoint(draft.outputs)
        if not is_needed:
            holds_weights = any(use.role is not Role.CONSTANT for use in draft.uses)
            if not holds_weights and any(name in wiring.consumers for name in draft.outputs):
                continue  # what read it stands inside another layer now
        if draft.op is Op.CONSTANT and folded[draft.node]:
            if not is_needed:
                continue
            for name in draft.outputs:
                tensor = wiring.stored(name)
                if tensor is not None:
                    draft.uses.append(Use(Role.CONSTANT, tensor))
        else:
            needed.update(draft.inputs)
        kept.append(draft)
    kept.reverse()
    return kept
