"""Recurrent layers of aten: one ONNX operator for each layer of the stack, with dropout between them.

torch keeps one weight per direction, its gates ordered i, f, g, o (LSTM) and r, z, n (GRU); ONNX stacks the directions and orders
i, o, f, c and z, r, h. The stored tensors are shown in ONNX's order, under torch's names.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from trainaudit.ir.graph import TensorData
from trainaudit.load.datatypes import Array
from trainaudit.load.known import ComputedData
from trainaudit.load.torch.aten_activation import dropped
from trainaudit.load.torch.emit import Call, Emitter, Names, Translate, rank_of, traced

_ORDERS = {"LSTM": (0, 3, 1, 2), "GRU": (1, 0, 2), "RNN": (0,)}
"""Where ONNX's gates stand among torch's."""


def _recurrent(op: str, **attributes: Any) -> Translate:
    def translate(emit: Emitter, call: Call) -> Names | None:
        if "batch_sizes" in call.arguments:
            return None  # packed sequences
        weights, layers = list(call["params"]), int(call["num_layers"])
        directions = 2 if call["bidirectional"] else 1
        states = list(call["hx"]) if isinstance(call["hx"], (list, tuple)) else [call["hx"]]
        per_cell = 4 if call["has_biases"] else 2
        hidden = int(traced(weights[1]).shape[1])
        if len(weights) != layers * directions * per_cell or int(traced(states[0]).shape[-1]) != hidden:
            return None  # projections (proj_size) have no operator in ONNX
        batch_first, rank = bool(call["batch_first"]), rank_of(call["input"])
        if rank != 3:
            return None
        x = emit.name(call["input"])
        if batch_first:
            x = emit.add("Transpose", [x], perm=[1, 0, 2])
        starts = [emit.name(state) for state in states]
        ends: list[list[str]] = []
        for layer in range(layers):
            cells = [weights[(layer * directions + side) * per_cell :][:per_cell] for side in range(directions)]
            here = starts if layers == 1 else [_part(emit, start, layer * directions, directions) for start in starts]
            stored = [_joined(emit, op, [cell[place] for cell in cells]) for place in range(2)]
            bias = _joined_bias(emit, op, [cell[2:] for cell in cells]) if per_cell == 4 else ""
            y, *last = emit.several(
                op, [x, *stored, bias, "", *here], len(states) + 1, hidden_size=hidden,
                direction="bidirectional" if directions == 2 else "forward", **_attributes(attributes, directions),
            )  # fmt: skip
            ends.append(last)
            x = _without_directions(emit, y, directions, hidden)
            if layer + 1 < layers and call["dropout"] and call["train"]:
                x = dropped(emit, x, float(call["dropout"]))
        if batch_first:
            x = emit.add("Transpose", [x], perm=[1, 0, 2])
        finals = [
            column[0] if layers == 1 else emit.add("Concat", list(column), axis=0) for column in zip(*ends, strict=True)
        ]
        return [x, *finals]

    return translate


# --- cells: one step, written out ----------------------------------------------------------------------------------------


def _products(emit: Emitter, call: Call, state: str) -> tuple[str, str]:
    """W·x + b and U·h + c of a cell."""
    made = []
    for value, weight, bias in ((emit.name(call["input"]), "w_ih", "b_ih"), (state, "w_hh", "b_hh")):
        made.append(emit.add("Gemm", [value, emit.name(call[weight]), emit.name(call.get(bias))], transB=1))
    return made[0], made[1]


def _lstm_cell(emit: Emitter, call: Call) -> Names:
    hidden, cell = (emit.name(state) for state in call["hx"])
    gates = emit.several("Split", [emit.add("Add", [*_products(emit, call, hidden)])], 4, axis=1, num_outputs=4)
    inward, forget, outward = (emit.add("Sigmoid", [gates[place]]) for place in (0, 1, 3))
    new = emit.add("Mul", [inward, emit.add("Tanh", [gates[2]])])
    cell = emit.add("Add", [emit.add("Mul", [forget, cell]), new])
    return [emit.add("Mul", [outward, emit.add("Tanh", [cell])]), cell]


def _gru_cell(emit: Emitter, call: Call) -> Names:
    hidden = emit.name(call["hx"])
    parts = [emit.several("Split", [product], 3, axis=1, num_outputs=3) for product in _products(emit, call, hidden)]
    reset, update = (emit.add("Sigmoid", [emit.add("Add", [parts[0][place], parts[1][place]])]) for place in (0, 1))
    new = emit.add("Tanh", [emit.add("Add", [parts[0][2], emit.add("Mul", [reset, parts[1][2]])])])
    return emit.add("Add", [new, emit.add("Mul", [update, emit.add("Sub", [hidden, new])])])


def _plain_cell(op: str) -> Translate:
    def translate(emit: Emitter, call: Call) -> Names:
        return emit.add(op, [emit.add("Add", [*_products(emit, call, emit.name(call["hx"]))])])

    return translate


# --- weights -------------------------------------------------------------------------------------------------------------


def _attributes(attributes: dict[str, Any], directions: int) -> dict[str, Any]:
    functions = attributes.get("activations")
    return {**attributes, "activations": functions * directions} if functions else attributes


def _part(emit: Emitter, state: str, start: int, count: int) -> str:
    """The initial states of one layer of a stack."""
    bounds = [emit.numbers([start]), emit.numbers([start + count]), emit.numbers([0])]
    return emit.add("Slice", [state, *bounds])


def _without_directions(emit: Emitter, y: str, directions: int, hidden: int) -> str:
    """(length, directions, batch, hidden) → (length, batch, directions·hidden)."""
    if directions == 1:
        return emit.add("Squeeze", [y, emit.numbers([1])])
    y = emit.add("Transpose", [y], perm=[0, 2, 1, 3])
    return emit.add("Reshape", [y, emit.numbers([0, 0, directions * hidden])])


def _joined(emit: Emitter, op: str, parts: list[Any]) -> str:
    """The weights of all directions in ONNX's order: (directions, gates·hidden, columns)."""
    names = [emit.name(part) for part in parts]
    rows, columns = (int(size) for size in traced(parts[0]).shape)
    wanted = names[0] if len(names) == 1 else f"{names[0]}+reverse"

    def values(read: list[Callable[[], Array]]) -> Array:
        return np.stack([_reordered(op, one()) for one in read])

    return _replaced(emit, wanted, names, (len(names), rows, columns), values)


def _joined_bias(emit: Emitter, op: str, parts: list[list[Any]]) -> str:
    """The input's and the state's bias of all directions: (directions, 2·gates·hidden)."""
    names = [emit.name(bias) for pair in parts for bias in pair]
    size = int(traced(parts[0][0]).shape[0])
    wanted = names[0].replace("bias_ih", "bias") + ("+reverse" if len(parts) > 1 else "")

    def values(read: list[Callable[[], Array]]) -> Array:
        pieces = [_reordered(op, one()) for one in read]
        return np.stack([np.concatenate(pieces[at : at + 2]) for at in range(0, len(pieces), 2)])

    return _replaced(emit, wanted, names, (len(parts), 2 * size), values)


def _reordered(op: str, array: Array) -> Array:
    order = _ORDERS[op]
    gates = np.split(array, len(order))
    return np.concatenate([gates[place] for place in order])


def _replaced(
    emit: Emitter,
    wanted: str,
    names: list[str],
    shape: tuple[int, ...],
    values: Callable[[list[Callable[[], Array]]], Array],
) -> str:
    """One stored tensor in place of several, made when it is read. Computed weights (weight_norm) stay as they are."""
    if wanted in emit.joined:
        return wanted
    if not all(name in emit.tensors for name in names):
        return names[0]
    parts: list[TensorData] = [emit.tensors[name] for name in names]
    for name in names:
        del emit.tensors[name]
    emit.joined[wanted] = tuple(names)
    emit.tensors[wanted] = ComputedData(shape, parts[0].dtype, lambda: values([part.read for part in parts]))
    return wanted


TABLE: dict[str, Translate] = {
    "lstm": _recurrent("LSTM"),
    "gru": _recurrent("GRU", linear_before_reset=1),
    "rnn_tanh": _recurrent("RNN", activations=["Tanh"]),
    "rnn_relu": _recurrent("RNN", activations=["Relu"]),
    "lstm_cell": _lstm_cell,
    "gru_cell": _gru_cell,
    "rnn_tanh_cell": _plain_cell("Tanh"),
    "rnn_relu_cell": _plain_cell("Relu"),
}
