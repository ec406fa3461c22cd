"""Rules for rnn, lstm and gru. Imports ir and sibling modules."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from trainaudit.ir.graph import Layer, Role
from trainaudit.ir.ops import RECURRENT, Op
from trainaudit.measure.signal.cells import Moments, Step
from trainaudit.measure.signal.layout import full, lay_out, lay_out_gradient
from trainaudit.measure.signal.prediction import NONE, Floats, Gradient, Signal
from trainaudit.measure.signal.rule import Backflow, Rule
from trainaudit.measure.signal.unrolling import (
    Direction,
    directions,
    neighbor_correlation,
    sequence,
    squares_back,
    through_time,
    unroll,
)
from trainaudit.measure.signal.weights import Model


def forward(model: Model, layer: Layer, inputs: Sequence[Signal]) -> list[Signal]:
    x, found = _unrolled(model, layer, inputs)
    outputs: list[Signal] = []
    for position, name in enumerate(layer.outputs):
        axes, batch = _axes(layer, model.sizes(name), len(found), x.batch)
        slot = _state_of(model, layer, position)
        if slot is None:
            whole = _joined([sequence(direction, steps, x) for direction, steps in found])
            outputs.append(replace(whole, positions=x.positions, axes=axes, batch=batch))
        else:
            ends = [steps[-1].after[min(slot, len(steps[-1].after) - 1)] for _, steps in found]
            outputs.append(replace(_joined([Signal(end.mean, end.variance) for end in ends]), axes=axes, batch=batch))
    return outputs


def backward(
    model: Model,
    layer: Layer,
    inputs: Sequence[Signal],
    outputs: Sequence[Signal],
    gradients: Sequence[Gradient | None],
) -> Backflow:
    x, found = _unrolled(model, layer, inputs)
    count = x.positions
    own: Floats = np.zeros(1)
    shared: Floats = np.zeros(1)
    by_weight, by_recurrent, by_bias = [], [], []
    firsts: list[list[Floats]] = []
    for at, (direction, steps) in enumerate(found):
        every, echo, last = _incoming(model, layer, outputs, gradients, at, direction.hidden)
        back = through_time(direction, steps, x, every, echo, last)
        sums = back.sums
        firsts.append(back.first)
        total = squares_back(direction.weight, sums.alone) / count
        if count > 1:
            common = squares_back(direction.weight, sums.constant) / (count * (count - 1.0))
            shared = shared + np.minimum(common, total)
            total = total - np.minimum(common, total)
        own = own + total
        square, variance = float((x.mean * x.mean).mean()), float(x.variance.mean())
        by_weight.append(
            float(sums.alone.mean()) * (square + variance)
            + float(sums.constant.mean()) * square
            + float(sums.varying.mean()) * variance
        )
        by_recurrent.append(back.by_recurrent_weight)
        by_bias += [float((part.alone + part.constant).mean()) for part in (sums, back.recurrent)]
    squares = {Role.INPUT_WEIGHT: by_weight, Role.RECURRENT_WEIGHT: by_recurrent, Role.BIAS: by_bias}
    by_x = Gradient(own, shared) if count > 1 else Gradient(own)
    by_state: list[Gradient | None] = [
        Gradient(firsts[0][slot]) if len(found) == 1 and slot < len(firsts[0]) else None
        for slot in range(len(inputs) - 1)
    ]
    return Backflow(
        [lay_out_gradient(by_x, x, model.sizes(layer.inputs[0]), inputs[0].axes), *by_state],
        {layer.parameters[role.value]: float(np.mean(values)) for role, values in squares.items() if role.value in layer.parameters},
    )  # fmt: skip


def _unrolled(
    model: Model, layer: Layer, inputs: Sequence[Signal]
) -> tuple[Signal, list[tuple[Direction, list[Step]]]]:
    x = lay_out(inputs[0], model.sizes(layer.inputs[0]), (-1,))
    every = directions(model, layer)
    found = []
    for direction in every:
        zero = Moments(np.zeros(direction.hidden), np.zeros(direction.hidden))
        state = [zero] * (2 if layer.op is Op.LSTM else 1)
        for slot, signal in enumerate(inputs[1 : 1 + len(state)]):
            if signal is not None and len(every) == 1 and signal.mean.size in (1, direction.hidden):
                state[slot] = Moments(full(signal.mean, direction.hidden), full(signal.variance, direction.hidden))
        found.append((direction, unroll(direction, x, tuple(state))))
    return x, found


def _incoming(
    model: Model, layer: Layer, outputs: Sequence[Signal], gradients: Sequence[Gradient | None], at: int, hidden: int
) -> tuple[Floats, float, list[Floats]]:
    """The gradient by each step's state and the correlation of neighbors, and the gradients by the last states, of direction `at`."""
    last = [np.zeros(hidden) for _ in range(2 if layer.op is Op.LSTM else 1)]
    every, echo = np.zeros(hidden), 0.0
    for position, gradient in enumerate(gradients):
        if gradient is None:
            continue
        total = gradient.total
        part = np.full(hidden, total[0]) if total.size == 1 else total[at * hidden : (at + 1) * hidden]
        slot = _state_of(model, layer, position)
        if slot is not None:
            last[min(slot, len(last) - 1)] += part
        elif _only_last_is_read(model, layer.outputs[0]):
            last[0] += part * outputs[0].positions
        else:
            every = part
            share = float(gradient.shared.mean()) / max(float(total.mean()), 1e-300)
            echo = neighbor_correlation(share, outputs[0].positions)
    return every, echo, last


def _only_last_is_read(model: Model, name: str) -> bool:
    """Whether the sequence is cut to one step at once, as a classifier does it."""
    for _ in range(4):
        value = model.graph.values.get(name)
        readers = [] if value is None else [model.graph.layers[at] for at in value.consumers]
        readers = [reader for reader in readers if reader.op is not Op.SHAPE]
        if len(readers) != 1:
            return False
        if readers[0].op in (Op.GATHER, Op.SLICE):
            return "index" in readers[0].attributes
        if readers[0].op not in (Op.TRANSPOSE, Op.SQUEEZE, Op.RESHAPE, Op.IDENTITY):
            return False
        name = readers[0].outputs[0]
    return False


def _state_of(model: Model, layer: Layer, position: int) -> int | None:
    """Which state an output is: 0 for h, 1 for c, None for the sequence of h."""
    sizes, inside = model.sizes(layer.outputs[0]), model.sizes(layer.inputs[0])
    has_sequence = sizes is None or len(sizes) == 4 or inside is None or sizes[:2] == inside[:2]
    if not has_sequence:
        return position
    return position - 1 if position else None


def _axes(
    layer: Layer, sizes: tuple[int, ...] | None, count: int, batch: int | None
) -> tuple[tuple[int, ...], int | None]:
    """Unit axes and batch axis: (steps, directions, batch, hidden) as ONNX has it, or (…, directions · hidden)."""
    if sizes is not None and len(sizes) == 4:
        return ((-3, -1) if count > 1 else (-1,)), -2
    if sizes is not None and len(sizes) == 3 and count > 1 and sizes[-1] == layer.attributes.get("hidden_size"):
        return (-3, -1), -2
    return (-1,), batch


def _joined(signals: Sequence[Signal]) -> Signal:
    if len(signals) == 1:
        return signals[0]
    mean, own = (np.concatenate([getattr(signal, part) for signal in signals]) for part in ("mean", "own"))
    shared = NONE if signals[0].shared is NONE else np.concatenate([signal.shared for signal in signals])
    return Signal(mean, own, shared)


RULES = {op: Rule(forward, backward, 1) for op in RECURRENT}
