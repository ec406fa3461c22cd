"""The changes of the architecture that can be made in a file, one function each: nodes put in, taken out and exchanged (see `placing`)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np

from trainaudit.changes import Change
from trainaudit.fix.file.describing import Edit
from trainaudit.fix.file.editing import Editing, Node
from trainaudit.fix.file.fields import exchanged, field
from trainaudit.fix.file.making import Nodes, activation, away_from_zero, floor, node, normalization
from trainaudit.fix.file.placing import (
    ATTRIBUTE,
    INPUT,
    OUTPUT,
    behind,
    drop_unread,
    dtype_of,
    end_of,
    exchange,
    insert,
    members_of,
    only_input,
    refuse_other_results,
    stored_number,
    sweep,
    with_inputs,
    with_output,
)
from trainaudit.fix.refusal import NotApplicableError
from trainaudit.ir.graph import Layer
from trainaudit.ir.ops import ACTIVATIONS, NORMALIZATIONS, Op
from trainaudit.load.protobuf import onnx_classes

_POOLINGS = frozenset({Op.MAX_POOL, Op.AVERAGE_POOL, Op.LP_POOL, Op.GLOBAL_MAX_POOL, Op.GLOBAL_AVERAGE_POOL})


def rewire(editing: Editing, change: Change) -> Edit:
    """Notes a change of the architecture. Raises `NotApplicableError`."""
    layer = editing.layers.get(change.where)
    if layer is None:
        raise NotApplicableError(f"the file holds no layer {change.where}")
    if layer.scope:
        raise NotApplicableError(f"{layer.name} stands inside a body of control flow")
    start = len(editing.exchanges)
    _KINDS[change.kind](editing, layer, change)
    done = editing.exchanges[start:]
    before = Counter(old.op for old, _ in done)
    after = Counter(item.op for _, new in done for item in new)
    taken, put = (before - after).elements(), (after - before).elements()
    return Edit(change, layer.name, (layer.name,), taken=tuple(taken), put=tuple(put))


def _swap_activation(editing: Editing, layer: Layer, change: Change) -> None:
    if layer.op not in ACTIVATIONS:
        raise NotApplicableError(f"{layer.name} is no activation function")
    end, value, result = end_of(editing, layer), only_input(layer), layer.outputs[0]
    refuse_other_results(editing, end)
    made = Nodes(editing, result, dtype_of(editing, result))
    activation(made, change.to, value, result, _softmax_axis(layer))
    exchange(editing, layer, end, made.nodes)


def _softmax_axis(layer: Layer) -> int:
    axis = layer.attributes.get("dim", -1)
    return axis if layer.op in (Op.SOFTMAX, Op.LOG_SOFTMAX) and isinstance(axis, int) else -1


def _drop_layer(editing: Editing, layer: Layer, _change: Change) -> None:
    end, value, result = end_of(editing, layer), only_input(layer), layer.outputs[0]
    refuse_other_results(editing, end)
    shapes = [known.shape if known is not None else None for known in map(editing.graph.values.get, (value, result))]
    keeps_shape = layer.op in ACTIVATIONS | NORMALIZATIONS | {Op.DROPOUT, Op.ALPHA_DROPOUT}
    if not keeps_shape and (None in shapes or shapes[0] != shapes[1]):
        raise NotApplicableError(f"what {layer.name} gives has another shape than what it reads")
    exchange(editing, layer, end, [node(editing, "Identity", (value,), (result,))])


def _insert_activation(editing: Editing, layer: Layer, change: Change) -> None:
    end = behind(editing, layer)
    insert(editing, end, end.key, lambda made, value, result: activation(made, change.to, value, result, -1))


def _insert_normalization(editing: Editing, layer: Layer, change: Change) -> None:
    graph = editing.graph
    end = behind(editing, layer)
    known = graph.values.get(end.key)
    shape = None if known is None else known.shape
    if shape is None:
        raise NotApplicableError(f"the shape of what {layer.name} gives is not known")
    is_map = layer.op in (Op.CONV, Op.CONV_TRANSPOSE)
    if change.to in ("layer_norm", "rms_norm") and is_map:
        raise NotApplicableError(
            f"{change.to} normalizes the last axis, and the channels of {layer.name} are not there"
        )
    if change.to in ("batch_norm", "group_norm") and not is_map and len(shape) != 2:
        raise NotApplicableError(f"{change.to} normalizes axis 1, and the features of {layer.name} are not there")
    training = graph.form == "training"
    insert(
        editing,
        end,
        end.key,
        lambda made, value, result: normalization(made, change.to, value, result, shape, training),
    )


def _scale_branch(editing: Editing, layer: Layer, change: Change) -> None:
    amount, end = _amount(change), behind(editing, layer)

    def fill(made: Nodes, value: str, result: str) -> None:
        made.add("Mul", value, made.number(amount), result=result)

    insert(editing, end, end.key, fill)


def _amount(change: Change) -> float:
    if change.amount is None:
        raise NotApplicableError(f"{change.kind} says no number")
    return change.amount


def _drop_bias(editing: Editing, layer: Layer, _change: Change) -> None:
    bias = layer.parameters.get("bias")
    if bias is None or layer.op not in (Op.LINEAR, Op.CONV, Op.CONV_TRANSPOSE):
        raise NotApplicableError(f"{layer.name} has no bias that can be taken out")
    end = behind(editing, layer)
    if end.op == "Add":
        sides = [name for name in end.inputs if not _shows(editing, name, bias)]
        if len(sides) != 1:
            raise NotApplicableError(f"where {layer.name} adds its bias is not certain")
        editing.put(end, node(editing, "Identity", (sides[0],), (end.outputs[0],)))
        _sweep_inputs(editing, end)
    elif end.op in ("Gemm", "Conv", "ConvTranspose") and not end.domain and len(end.inputs) == 3:
        if end.op == "Gemm" and editing.opset < 11:
            raise NotApplicableError("Gemm has no product without a bias before opset 11")
        with_inputs(editing, end, {2: None})
        _sweep_inputs(editing, end)
    else:
        raise NotApplicableError(f"where {layer.name} adds its bias is not certain")


def _shows(editing: Editing, value: str, tensor: str) -> bool:
    """The value is the stored tensor, or one node's view of it."""
    if value == tensor:
        return True
    maker = editing.maker(value)
    return (
        maker is not None and maker.op in ("Identity", "Cast", "Reshape", "Unsqueeze") and maker.inputs[:1] == (tensor,)
    )


def _sweep_inputs(editing: Editing, old: Node) -> None:
    """What the old node read and nothing reads any more goes: views of its bias, and the bias."""
    makers = [maker for name in old.inputs if (maker := editing.maker(name)) is not None and not editing.is_read(name)]
    sweep(editing, [old, *makers])


def _move_dropout(editing: Editing, layer: Layer, _change: Change) -> None:
    if layer.op not in (Op.DROPOUT, Op.ALPHA_DROPOUT):
        raise NotApplicableError(f"{layer.name} is no dropout")
    dropout = end_of(editing, layer)
    if dropout.op != "Dropout" or dropout.inputs[:1] != layer.inputs:
        raise NotApplicableError(f"{layer.name} is written in several nodes")
    refuse_other_results(editing, dropout)
    value, dropped = dropout.inputs[0], dropout.outputs[0]
    last = end_of(editing, _goal(editing, layer))
    result = last.outputs[0]
    content = exchanged(
        editing.message(dropout), INPUT, {0: field(INPUT, inner := editing.new_name(f"{result}/before"))}
    )
    content = exchanged(content, OUTPUT, {0: field(OUTPUT, result)})
    editing.put(dropout)
    moved = replace(
        dropout, inputs=(inner, *dropout.inputs[1:]), outputs=(result, *dropout.outputs[1:]), content=content,
        start=-1, payload=-1, stop=-1,
    )  # fmt: skip
    for item in editing.readers(dropped):
        changed = with_inputs(
            editing, item, {place: value for place, name in enumerate(item.inputs) if name == dropped}
        )
        last = changed if item is last else last
    changed = with_output(editing, last, result, inner)
    editing.put(changed, changed, moved)
    editing.drop(dropped)


def _goal(editing: Editing, layer: Layer) -> Layer:
    """The normalization or pooling that follows, with nothing on the way that others read."""
    graph = editing.graph
    for _ in range(16):
        value = graph.values[layer.outputs[0]]
        if len(value.consumers) != 1 or value.name in graph.outputs:
            raise NotApplicableError(f"several layers read what {layer.name} gives")
        layer = graph.layers[value.consumers[0]]
        if len(layer.inputs) != 1 or len(layer.outputs) != 1:
            raise NotApplicableError(f"{layer.name}, which follows, has several inputs or outputs")
        if layer.op in NORMALIZATIONS | _POOLINGS:
            return layer
    raise NotApplicableError("no normalization or pooling follows")


def _dropout_rate(editing: Editing, layer: Layer, change: Change) -> None:
    end, rate = end_of(editing, layer), _amount(change)
    if end.op != "Dropout":
        raise NotApplicableError(f"{layer.name} is written in several nodes")
    if editing.opset < 12:
        _with_attribute(editing, end, "ratio", rate)
        return
    made = Nodes(editing, end.outputs[0], "float32")
    name = made.array("ratio", np.asarray(rate))
    if len(end.inputs) > 1:
        old = end.inputs[1]
        with_inputs(editing, end, {1: name})
        drop_unread(editing, old)
    else:
        content = editing.message(end) + field(INPUT, name)
        editing.put(end, replace(end, inputs=(*end.inputs, name), content=content))


def _epsilon(editing: Editing, layer: Layer, change: Change) -> None:
    epsilon = _amount(change)
    if layer.op not in NORMALIZATIONS:
        raise NotApplicableError(f"{layer.name} is no normalization")
    members = members_of(editing, layer, end_of(editing, layer))
    known = [item for item in members if item.op.endswith("Normalization")]
    if len(known) == 1 and not known[0].domain:
        _with_attribute(editing, known[0], "epsilon", epsilon)
        return
    adders = [
        (item, place)
        for item in members
        if item.op == "Add"
        for place in (0, 1)
        if _is_small(editing, item.inputs[place])
    ]
    if len(adders) != 1:
        raise NotApplicableError(f"where {layer.name} adds its ε is not certain")
    item, place = adders[0]
    made = Nodes(editing, item.outputs[0], dtype_of(editing, item.outputs[0]))
    old = item.inputs[place]
    with_inputs(editing, item, {place: made.number(epsilon)})
    drop_unread(editing, old)


def _is_small(editing: Editing, value: str) -> bool:
    """The value is one stored number that an ε may be."""
    number = stored_number(editing, value)
    return number is not None and 0 < number < 0.1


def _move_softmax(editing: Editing, layer: Layer, change: Change) -> None:
    end = end_of(editing, layer)
    if end.op not in ("Softmax", "LogSoftmax") or layer.nodes != 1:
        raise NotApplicableError(f"{layer.name} is no single softmax")
    axis = int(_amount(change))
    known = editing.graph.values.get(layer.outputs[0])
    rank = None if known is None or known.shape is None else len(known.shape)
    if editing.opset < 13 and axis != -1 and (rank is None or axis % rank != rank - 1):
        raise NotApplicableError("a softmax over another axis than the last is another operator before opset 13")
    _with_attribute(editing, end, "axis", axis)


def _with_attribute(editing: Editing, item: Node, name: str, value: float) -> None:
    """The node with another number as that attribute, all else as it was."""
    proto = onnx_classes().AttributeProto(name=name)
    if isinstance(value, int):
        proto.type, proto.i = 2, value
    else:
        proto.type, proto.f = 1, value
    message = editing.message(item)
    stated = [attribute.name for attribute in onnx_classes().NodeProto.FromString(message).attribute]
    written = field(ATTRIBUTE, proto.SerializeToString())
    content = exchanged(message, ATTRIBUTE, {stated.index(name): written}) if name in stated else message + written
    editing.put(item, replace(item, content=content))


def _guard(editing: Editing, layer: Layer, change: Change) -> None:
    end, least = end_of(editing, layer), _amount(change)
    if end.op not in _GUARDED or end.domain or layer.nodes != 1:
        raise NotApplicableError(f"{layer.name} is no single node that can be guarded")
    place, how = _GUARDED[end.op]
    made = Nodes(editing, end.outputs[0], dtype_of(editing, end.outputs[0]))
    name = how(made, end.inputs[place], least)
    changed = with_inputs(editing, end, {place: name})
    editing.put(changed, *made.nodes, changed)


_GUARDED: Mapping[str, tuple[int, Callable[[Nodes, str, float], str]]] = {
    "Log": (0, floor),
    "Sqrt": (0, floor),
    "Div": (1, away_from_zero),
    "Reciprocal": (0, away_from_zero),
}
"""Operator → which of its inputs is kept away from where it breaks, and how."""

_KINDS: Mapping[str, Callable[[Editing, Layer, Change], None]] = {
    "swap-activation": _swap_activation,
    "insert-activation": _insert_activation,
    "insert-normalization": _insert_normalization,
    "scale-branch": _scale_branch,
    "drop-layer": _drop_layer,
    "drop-bias": _drop_bias,
    "move-dropout": _move_dropout,
    "dropout-rate": _dropout_rate,
    "epsilon": _epsilon,
    "softmax-axis": _move_softmax,
    "guard": _guard,
}
