"""Convolutions, embeddings and recurrent layers. Stdlib, ir, load.wiring and load.stored only."""

from __future__ import annotations

import math

import numpy as np

from trainaudit.ir.graph import Attribute, Role
from trainaudit.ir.ops import Op
from trainaudit.load.known import FillData, Stored
from trainaudit.load.raw import RawNode
from trainaudit.load.recognize_weights import absorb_bias, bias_use, mark_quantized
from trainaudit.load.wiring import SMALL, Draft, Use, Wiring, number, numbers, word


def convolution(wiring: Wiring, place: int, node: RawNode) -> Draft:
    """Conv, ConvTranspose, ConvInteger, QLinearConv, FusedConv and DeformConv."""
    op = node.op
    transposed = op == "ConvTranspose"
    quantized = op in ("QLinearConv", "ConvInteger")
    weight_at, bias_at = (3, 8) if op == "QLinearConv" else (1, 3 if op == "DeformConv" else 2)
    name = node.inputs[weight_at]
    weight = wiring.stored(name)
    draft = Draft(Op.CONV_TRANSPOSE if transposed else Op.CONV, place, [node.inputs[0]], wiring.results(node), (place,))
    groups = number(node, "group", 1)
    if weight is None:
        draft.inputs.append(name)
        draft.attributes.update(window(wiring, node, numbers(node, "kernel_shape")))
    else:
        weight = weight.alone()
        if quantized:
            weight = mark_quantized(weight)
        kernel = weight.shape[2:]
        area = math.prod(kernel)
        # torch.nn.init reads (first, second, *kernel) as (out, in/groups, …) for transposed convolutions too.
        incoming, outgoing = weight.shape[1] * area, weight.shape[0] * area
        use = Use(Role.WEIGHT, weight, weight.axis(1 if transposed else 0), incoming, outgoing, groups)
        draft.uses.append(use)
        draft.attributes.update(window(wiring, node, kernel))
    draft.attributes["groups"] = groups
    if op == "DeformConv":
        draft.inputs.extend(
            n for place_, n in enumerate(node.inputs) if n and place_ in (2, 4) and not wiring.is_stored(n)
        )
    bias_name = node.inputs[bias_at] if len(node.inputs) > bias_at and op != "ConvInteger" else ""
    bias = wiring.stored(bias_name) if bias_name else None
    if bias_name and bias is None:
        draft.inputs.append(bias_name)
    elif bias is not None and not _is_no_bias(bias):
        draft.uses.append(bias_use(bias))
    elif weight is not None and not quantized:
        units = weight.shape[1] * groups if transposed else weight.shape[0]
        absorb_bias(wiring, draft, units, 1)
    return draft


def _is_no_bias(bias: Stored) -> bool:
    """torch's exporter writes a layer without bias as one with zeros expanded to the weight's shape."""
    return bias.generated == "Expand" and isinstance(bias.data, FillData) and bias.data.value == 0


def window(wiring: Wiring, node: RawNode, kernel: tuple[int, ...] | None) -> dict[str, Attribute]:
    """kernel_size, stride, padding and dilation of a convolution or pooling, as torch calls them."""
    attributes: dict[str, Attribute] = {}
    if kernel is None:
        return attributes
    spatial = len(kernel)
    stride = numbers(node, "strides") or (1,) * spatial
    dilation = numbers(node, "dilations") or (1,) * spatial
    attributes["kernel_size"], attributes["stride"], attributes["dilation"] = kernel, stride, dilation
    mode = word(node, "auto_pad", "NOTSET")
    if mode in ("NOTSET", "VALID", ""):
        pads = numbers(node, "pads") if mode == "NOTSET" else None
        attributes["padding"] = pads or (0,) * (2 * spatial)
        return attributes
    begins, ends = [], []
    for axis in range(spatial):
        size = wiring.dimension(node.inputs[0], 2 + axis)
        if size is None:
            return attributes
        steps = -(-size // stride[axis])
        total = max((steps - 1) * stride[axis] + (kernel[axis] - 1) * dilation[axis] + 1 - size, 0)
        smaller, larger = total // 2, total - total // 2
        begins.append(smaller if mode == "SAME_UPPER" else larger)
        ends.append(larger if mode == "SAME_UPPER" else smaller)
    attributes["padding"] = (*begins, *ends)
    return attributes


# --- embedding -----------------------------------------------------------------------------------------------------------


def gather(wiring: Wiring, place: int, node: RawNode) -> Draft:
    """Gather: rows of a stored table are an embedding."""
    data, indices = node.inputs[0], node.inputs[1]
    axis = number(node, "axis", 0)
    table = wiring.stored(data)
    if (
        table is not None
        and len(table.shape) >= 2
        and axis in (0, -len(table.shape))
        and (table.quantized or table.is_floating)
    ):
        # Integer tables (relative position indices, token maps) are no embeddings.
        return _embedding(wiring, place, node, table, indices)
    draft = Draft(Op.GATHER, place, [], [node.outputs[0]], (place,))
    if table is None:
        rank = wiring.rank(data)
        draft.inputs.append(data)
        draft.attributes["dim"] = axis + rank if axis < 0 and rank is not None else axis
    else:
        draft.attributes["dim"] = axis % max(len(table.shape), 1)
        draft.uses.append(Use(Role.CONSTANT, table))
    chosen = wiring.stored(indices)
    if chosen is None:
        draft.inputs.append(indices)
    elif chosen.size == 1:
        draft.attributes["index"] = int(chosen.read().reshape(-1)[0])
    else:
        draft.uses.append(Use(Role.CONSTANT, chosen))
    return draft


def _embedding(wiring: Wiring, place: int, node: RawNode, table: Stored, indices: str) -> Draft:
    # As torch.nn.init counts a (vocabulary, width) weight.
    width = math.prod(table.shape[1:])
    position = "position" in table.name.lower() or _counts_positions(wiring, indices)
    use = Use(Role.POSITION if position else Role.EMBEDDING, table, None, width, table.shape[0])
    attributes: dict[str, Attribute] = {"vocabulary_size": table.shape[0], "width": width}
    return Draft(Op.EMBEDDING, place, [indices], [node.outputs[0]], (place,), [use], attributes)


_OF_FIRST = frozenset(
    {
        "Gather",
        "GatherElements",
        "GatherND",
        "Slice",
        "Expand",
        "Reshape",
        "Unsqueeze",
        "Squeeze",
        "Transpose",
        "Tile",
        "Cast",
    }
)
"""Operators whose result holds values of their first input alone."""


def _counts_positions(wiring: Wiring, name: str) -> bool:
    """The indices are a range, or stored numbers that count up, and no input's values. Looks back over at most 64 values."""
    seen = {name}
    pending = [name]
    counts = False
    while pending:
        value = pending.pop()
        tensor = wiring.stored(value) if wiring.is_stored(value) else None
        if tensor is not None:
            counts = counts or _counts_up(tensor)
            continue
        maker = wiring.producer.get(value)
        if maker is None or len(seen) > 64:
            return False
        node = wiring.nodes[maker]
        counts = counts or node.op in ("Range", "CumSum")
        if node.op in ("Shape", "Size"):
            continue
        for source in node.inputs[:1] if node.op in _OF_FIRST else node.inputs:
            if source and source not in seen:
                seen.add(source)
                pending.append(source)
    return counts


def _counts_up(tensor: Stored) -> bool:
    if tensor.is_floating or tensor.size > SMALL or not tensor.shape or tensor.shape[-1] < 3:
        return False
    return bool((np.diff(np.asarray(tensor.read(), np.int64), axis=-1) == 1).all())


# --- recurrent -----------------------------------------------------------------------------------------------------------

_RECURRENT = {"LSTM": (Op.LSTM, 4, "iofc"), "GRU": (Op.GRU, 3, "zrh"), "RNN": (Op.RNN, 1, "i")}


def recurrent(wiring: Wiring, place: int, node: RawNode) -> Draft:
    """RNN, GRU and LSTM. ONNX orders an LSTM's gates i, o, f, c and a GRU's z, r, h; the attribute gate_order says so."""
    op, gates, order = _RECURRENT[node.op]
    outputs = [name for name in node.outputs if name]
    draft = Draft(op, place, [node.inputs[0]], outputs, (place,))
    for at, role in ((1, Role.INPUT_WEIGHT), (2, Role.RECURRENT_WEIGHT), (3, Role.BIAS)):
        name = node.inputs[at] if len(node.inputs) > at else ""
        if not name:
            continue
        found = wiring.stored(name)
        if found is None:
            draft.inputs.append(name)
            continue
        tensor = found.as_seen()
        if role is Role.BIAS:
            draft.uses.append(Use(role, tensor, gates=gates))
        else:
            incoming = tensor.shape[2] if len(tensor.shape) == 3 else None
            units = tensor.shape[1] if len(tensor.shape) == 3 else None
            draft.uses.append(Use(role, tensor, tensor.axis(1) if units else None, incoming, units, gates=gates))
    for name in node.inputs[4:]:
        if name and not wiring.is_stored(name):
            draft.inputs.append(name)
    hidden = number(node, "hidden_size", 0)
    if hidden:
        draft.attributes["hidden_size"] = hidden
    draft.attributes["bidirectional"] = word(node, "direction", "forward") == "bidirectional"
    draft.attributes["gate_order"] = order
    functions = node.attributes.get("activations")
    if isinstance(functions, list) and functions:
        draft.attributes["activations"] = tuple(str(item).lower() for item in functions)
    elif node.op == "RNN":
        draft.attributes["activations"] = ("tanh",)
    return draft
