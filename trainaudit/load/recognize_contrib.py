"""Operators that stand for several layers at once: fused attention, embedding, normalization and activations of onnxruntime's
optimizer (com.microsoft), and ONNX's own Attention. Stdlib, ir and load only."""

from __future__ import annotations

import math

from trainaudit.ir.graph import Attribute, Role
from trainaudit.ir.ops import Op
from trainaudit.load.fused import add_operand, given, inner_value
from trainaudit.load.raw import RawNode
from trainaudit.load.recognize_kernels import convolution
from trainaudit.load.recognize_normalization import add_normalized_shape, affine, group_norm
from trainaudit.load.recognize_weights import bias_use, mark_quantized, matmul, quantized_matmul
from trainaudit.load.wiring import Draft, Use, Wiring, number, real, word

_ACTIVATIONS = {
    "Relu": Op.RELU, "Tanh": Op.TANH, "Sigmoid": Op.SIGMOID, "LeakyRelu": Op.LEAKY_RELU, "HardSigmoid": Op.HARD_SIGMOID,
    "Clip": Op.CLIP, "Elu": Op.ELU, "Softplus": Op.SOFTPLUS, "Selu": Op.SELU, "HardSwish": Op.HARD_SWISH, "Gelu": Op.GELU,
    "QuickGelu": Op.GELU, "Silu": Op.SILU, "silu": Op.SILU, "gelu": Op.GELU, "relu": Op.RELU, "ThresholdedRelu": Op.THRESHOLDED_RELU,
    "Softsign": Op.SOFTSIGN, "Softmax": Op.SOFTMAX, "LogSoftmax": Op.LOG_SOFTMAX, "Hardmax": Op.HARDMAX,
}  # fmt: skip


# --- normalization -------------------------------------------------------------------------------------------------------


def skip_layer_norm(wiring: Wiring, place: int, node: RawNode) -> list[Draft]:
    """SkipLayerNormalization: a residual sum and the normalization of it."""
    simple = node.op == "SkipSimplifiedLayerNormalization"
    total = node.outputs[3] if len(node.outputs) > 3 and node.outputs[3] else inner_value(wiring, node, "sum")
    add = Draft(Op.ADD, place, [], [total], (place,))
    add_operand(wiring, add, node.inputs[0], Role.POSITION)
    add_operand(wiring, add, node.inputs[1], Role.POSITION)
    add_operand(wiring, add, given(node, 3 if simple else 4), Role.BIAS)
    if total not in wiring.shapes and node.outputs[0] in wiring.shapes:
        wiring.shapes[total] = wiring.shapes[node.outputs[0]]
    norm = Draft(Op.RMS_NORM if simple else Op.LAYER_NORM, place, [total], [node.outputs[0]], (), last=place)
    _normalize_last(wiring, norm, node, node.inputs[2], "" if simple else given(node, 3))
    return [add, norm]


def _normalize_last(wiring: Wiring, norm: Draft, node: RawNode, scale: str, shift: str) -> None:
    rank = wiring.rank(norm.inputs[0])
    norm.attributes = {"eps": real(node, "epsilon", 1e-12), "axes": (-1 if rank is None else rank - 1,)}
    affine(wiring, norm, scale, shift)
    add_normalized_shape(wiring, norm, scale)


def embed_layer_norm(wiring: Wiring, place: int, node: RawNode) -> list[Draft]:
    """EmbedLayerNormalization: up to three embeddings, their sum, and its normalization."""
    drafts: list[Draft] = []
    summed: list[str] = []
    total = node.outputs[2] if len(node.outputs) > 2 and node.outputs[2] else inner_value(wiring, node, "sum")
    add = Draft(Op.ADD, place, summed, [total], (), last=place)
    for at, index_at, what in ((2, 0, "word"), (3, 8, "position"), (4, 1, "segment")):
        name = given(node, at)
        table = wiring.stored(name) if name else None
        if table is None:
            continue
        if node.op.startswith("Q"):
            table = mark_quantized(table)
        role = Role.POSITION if what == "position" else Role.EMBEDDING
        use = Use(role, table, None, math.prod(table.shape[1:]), table.shape[0])
        indices = given(node, index_at)
        if not indices or wiring.is_stored(indices):
            add.uses.append(use)
            continue
        output = inner_value(wiring, node, what)
        attributes: dict[str, Attribute] = {"vocabulary_size": table.shape[0], "width": use.fan_in or 0}
        nodes = () if drafts else (place,)
        drafts.append(Draft(Op.EMBEDDING, place, [indices], [output], nodes, [use], attributes, last=place))
        summed.append(output)
    if not drafts:
        add.nodes = (place,)
    norm = Draft(Op.LAYER_NORM, place, [total], [node.outputs[0]], (), last=place)
    _normalize_last(wiring, norm, node, given(node, 5), given(node, 6))
    return [*drafts, add, norm]


def fused_group_norm(wiring: Wiring, place: int, node: RawNode) -> list[Draft]:
    """GroupNorm and SkipGroupNorm, with the SiLU that may follow inside."""
    drafts: list[Draft] = []
    norm = group_norm(wiring, place, node)
    if node.op == "SkipGroupNorm":
        total = node.outputs[1] if len(node.outputs) > 1 and node.outputs[1] else inner_value(wiring, node, "sum")
        add = Draft(Op.ADD, place, [], [total], (place,))
        for at, role in ((0, Role.POSITION), (3, Role.POSITION), (4, Role.BIAS)):
            add_operand(wiring, add, given(node, at), role)
        norm.inputs[0], norm.nodes, norm.last = total, (), place
        drafts.append(add)
    drafts.append(norm)
    if number(node, "activation", 0) == 1:
        norm.outputs = [inner_value(wiring, node, "normalized")]
        drafts.append(Draft(Op.SILU, place, list(norm.outputs), [node.outputs[0]], (), last=place))
    return drafts


# --- activations and products --------------------------------------------------------------------------------------------


def with_activation(wiring: Wiring, place: int, node: RawNode) -> list[Draft]:
    """FusedConv, FusedGemm and the like: the weighted layer, a sum where there is one, and the activation function."""
    weighted = convolution if "Conv" in node.op else matmul
    name = word(node, "activation")
    if not name:
        return [weighted(wiring, place, node)]
    output = node.outputs[0]
    inner = inner_value(wiring, node, "before activation")
    node.outputs = [inner]
    draft = weighted(wiring, place, node)
    node.outputs = [output]
    draft.outputs = [inner]
    drafts = [draft]
    extra = given(node, 3) if node.op in ("FusedConv", "NhwcFusedConv") else ""
    if extra:
        total = inner_value(wiring, node, "sum")
        drafts.append(Draft(Op.ADD, place, [inner, extra], [total], (), last=place))
        inner = total
    op = _ACTIVATIONS.get(name, Op.OTHER)
    attributes: dict[str, Attribute] = {}
    parameters = node.attributes.get("activation_params")
    first = parameters[0] if isinstance(parameters, list) and parameters else node.attributes.get("activation_alpha")
    if op is Op.LEAKY_RELU:
        attributes["negative_slope"] = float(first) if isinstance(first, (int, float)) else 0.01
    elif op is Op.GELU:
        attributes["approximate"] = "quick" if name == "QuickGelu" else "none"
    elif op is Op.CLIP and isinstance(parameters, list) and len(parameters) > 1:
        attributes["min"], attributes["max"] = float(parameters[0]), float(parameters[1])
    drafts.append(Draft(op, place, [inner], [output], (), attributes=attributes, last=place))
    return drafts


def biased_activation(wiring: Wiring, place: int, node: RawNode) -> list[Draft]:
    """BiasGelu, FastGelu, BiasSplitGelu, BiasSoftmax, BiasAdd and BiasDropout: a sum, then the function."""
    bias = given(node, 1)
    source = node.inputs[0]
    drafts: list[Draft] = []
    skip = given(node, 2) if node.op in ("BiasAdd", "BiasDropout", "BitmaskBiasDropout") else ""
    if bias or skip:
        only = node.op == "BiasAdd"
        total = node.outputs[0] if only else f"{node.outputs[0]}:sum"
        add = Draft(Op.ADD, place, [source], [total], (place,))
        add_operand(wiring, add, bias, Role.BIAS)
        add_operand(wiring, add, skip, Role.CONSTANT)
        drafts.append(add)
        if only:
            return drafts
        if source in wiring.shapes:
            wiring.shapes[total] = wiring.shapes[source]
        source = total
    attributes: dict[str, Attribute] = {}
    op = Op.GELU
    if node.op == "BiasSoftmax":
        op, attributes["dim"] = Op.SOFTMAX, number(node, "axis", -1)
    elif "Dropout" in node.op:
        op = Op.DROPOUT
        ratio = wiring.scalar(given(node, 3)) if given(node, 3) else 0.5
        attributes["p"] = 0.5 if ratio is None else ratio
        attributes["training"] = bool(wiring.scalar(given(node, 4))) if given(node, 4) else False
    elif node.op == "BiasSplitGelu":
        op, attributes["dim"] = Op.GLU, -1
    elif node.op == "QuickGelu":
        alpha = real(node, "alpha", 1.702)
        op = Op.SILU if alpha == 1.0 else Op.GELU
        attributes = {} if op is Op.SILU else {"approximate": "quick"}
    else:
        attributes["approximate"] = "tanh" if node.op == "FastGelu" else "none"
    draft = Draft(
        op, place, [source], wiring.results(node), () if drafts else (place,), attributes=attributes, last=place
    )
    return [*drafts, draft]


def swish(wiring: Wiring, place: int, node: RawNode) -> list[Draft]:
    """Swish of opset 24: SiLU, or the quick GELU by its factor."""
    alpha = real(node, "alpha", 1.0)
    quick = abs(alpha - 1.702) < 1e-3
    attributes: dict[str, Attribute] = {"approximate": "quick"} if quick else {} if alpha == 1.0 else {"alpha": alpha}
    source = [name for name in node.inputs if not wiring.is_stored(name)]
    return [Draft(Op.GELU if quick else Op.SILU, place, source, [node.outputs[0]], (place,), attributes=attributes)]


def quantized_product(wiring: Wiring, place: int, node: RawNode) -> list[Draft]:
    """onnxruntime's products with quantised weights, and the bias they may hold."""
    if node.op == "QGemm":
        weight = wiring.stored(node.inputs[3])
        if weight is None:
            return [Draft(Op.MATMUL, place, [node.inputs[0], node.inputs[3]], [node.outputs[0]], (place,))]
        unit = 0 if number(node, "transB", 0) else 1
        incoming, outgoing = weight.shape[1 - unit], weight.shape[unit]
        use = Use(Role.WEIGHT, mark_quantized(weight), weight.axis(unit), incoming, outgoing)
        attributes: dict[str, Attribute] = {"in_features": incoming, "out_features": outgoing}
        draft = Draft(Op.LINEAR, place, [node.inputs[0]], [node.outputs[0]], (place,), [use], attributes)
        bias = given(node, 6)
    else:
        draft = quantized_matmul(wiring, place, node)
        bias = given(node, {"DynamicQuantizeMatMul": 4, "MatMulIntegerToFloat": 6, "MatMulNBits": 5}.get(node.op, 99))
    tensor = wiring.stored(bias) if bias else None
    if tensor is not None:
        draft.uses.append(bias_use(tensor))
    return [draft]


def quantized_arithmetic(wiring: Wiring, place: int, node: RawNode) -> list[Draft]:
    """QLinearAdd and QLinearMul: operands stand at 0 and 3."""
    draft = Draft(Op.ADD if node.op == "QLinearAdd" else Op.MUL, place, [], [node.outputs[0]], (place,))
    for at in (0, 3):
        add_operand(wiring, draft, given(node, at), Role.CONSTANT)
    return [draft]


def mixture_of_experts(wiring: Wiring, place: int, node: RawNode) -> list[Draft]:
    """MoE: the experts' two products with the activation between them, routed by the second input."""
    drafts: list[Draft] = []
    source = [node.inputs[0], node.inputs[1]]
    for step, (weight_at, bias_at) in enumerate(((2, 3), (4, 5))):
        if node.op == "QMoE":
            weight_at, bias_at = ((2, 4), (5, 7))[step]
        weight = wiring.stored(given(node, weight_at))
        if weight is None or len(weight.shape) != 3:
            return [
                Draft(
                    Op.LINEAR,
                    place,
                    [name for name in node.inputs if name and not wiring.is_stored(name)],
                    [node.outputs[0]],
                    (place,),
                )
            ]
        experts, outgoing, incoming = weight.shape
        output = node.outputs[0] if step else inner_value(wiring, node, "hidden")
        use = Use(
            Role.WEIGHT,
            mark_quantized(weight) if node.op == "QMoE" else weight,
            weight.axis(1),
            incoming,
            outgoing,
            experts,
        )
        attributes: dict[str, Attribute] = {"in_features": incoming, "out_features": outgoing}
        draft = Draft(Op.LINEAR, place, source, [output], () if step else (place,), [use], attributes, last=place)
        add_operand(wiring, draft, given(node, bias_at), Role.BIAS)
        drafts.append(draft)
        if step == 0:
            active = inner_value(wiring, node, "activated")
            op = _ACTIVATIONS.get(word(node, "activation_type", "relu"), Op.GLU)
            drafts.append(Draft(op, place, [output], [active], (), last=place))
            source = [active]
    return drafts
