"""Rules for rnn, lstm and gru: the cell's moments unrolled over the steps, and the gradient's back through them. Imports ir and siblings.

Steps are followed until the moments stand still; the rest of the sequence repeats the last one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from trainaudit.ir.graph import Layer, Parameter, Role
from trainaudit.ir.ops import RECURRENT, Op
from trainaudit.measure.signal.cells import Cell, Moments, State, cell_of
from trainaudit.measure.signal.layout import full, lay_out, lay_out_gradient
from trainaudit.measure.signal.prediction import NONE, Floats, Gradient, NotCovered, Signal
from trainaudit.measure.signal.rule import Backflow, Rule
from trainaudit.measure.signal.weights import AnyMatrix, Matrix, Model

_STILL = 1e-3
"""Relative change of the moments from step to step below which they stand still."""


@dataclass(frozen=True, slots=True, eq=False)
class _Direction:
    """One direction of a recurrent layer with its weights."""

    cell: Cell
    hidden: int
    weight: AnyMatrix
    recurrent: AnyMatrix
    input_bias: Floats
    recurrent_bias: Floats

    @property
    def gates(self) -> int:
        return len(self.cell.gates)


@dataclass(frozen=True, slots=True, eq=False)
class _Step:
    pre: list[Moments]
    hidden: list[Moments]
    before: State
    after: State


@dataclass(frozen=True, slots=True, eq=False)
class _Back:
    """Second moments, summed over the steps: of the gradients by the gates' sums (alone, with the correlation of different steps, and with that
    and the state's), and of those by the state before the first step."""

    alone: Floats
    summed: Floats
    recurrent: Floats
    recurrent_summed: Floats
    by_recurrent_weight: float
    first: list[Floats]


def forward(model: Model, layer: Layer, inputs: Sequence[Signal]) -> list[Signal]:
    x, found = _unrolled(model, layer, inputs)
    sequences = [_sequence(direction, steps, x) for direction, steps in found]
    outputs: list[Signal] = []
    for position, name in enumerate(layer.outputs):
        sizes = model.sizes(name)
        if position == 0 and _is_sequence(model, layer):
            axes, batch = _axes(layer, sizes, len(found), x.batch)
            outputs.append(replace(_joined(sequences), positions=x.positions, axes=axes, batch=batch))
            continue
        slot = position - 1 if _is_sequence(model, layer) else position
        ends = [steps[-1].after[min(slot, len(steps[-1].after) - 1)] for _, steps in found]
        axes, batch = _axes(layer, sizes, len(found), x.batch)
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
    by_input: Floats = np.zeros(1)
    squares: dict[str, list[float]] = {}
    firsts: list[list[Floats]] = []
    mean_squares = (x.mean * x.mean + x.shared).mean() / max(float(x.second.mean()), 1e-300)
    for at, (direction, steps) in enumerate(found):
        every, last = _incoming(model, layer, outputs, gradients, at, direction.hidden)
        back = _through_time(direction, steps, x.positions, every, last)
        firsts.append(back.first)
        by_input = by_input + _squares_back(direction.weight, back.alone) / x.positions
        by_weight = float(x.second.mean()) * float((back.alone + mean_squares * (back.summed - back.alone)).mean())
        for role, value in (
            (Role.INPUT_WEIGHT, by_weight),
            (Role.RECURRENT_WEIGHT, back.by_recurrent_weight),
            (Role.BIAS, 0.5 * float(back.summed.mean() + back.recurrent_summed.mean())),
        ):
            name = layer.parameters.get(role.value)
            if name is not None:
                squares.setdefault(name, []).append(value)
    back_to: list[Gradient | None] = [
        lay_out_gradient(Gradient(by_input), x, model.sizes(layer.inputs[0]), inputs[0].axes)
    ]
    for slot in range(len(inputs) - 1):
        is_state = len(found) == 1 and slot < len(firsts[0])
        back_to.append(Gradient(firsts[0][slot]) if is_state else None)
    return Backflow(back_to, {name: float(np.mean(values)) for name, values in squares.items()})


def _unrolled(
    model: Model, layer: Layer, inputs: Sequence[Signal]
) -> tuple[Signal, list[tuple[_Direction, list[_Step]]]]:
    directions = _directions(model, layer)
    x = lay_out(inputs[0], model.sizes(layer.inputs[0]), (-1,))
    found = []
    for direction in directions:
        count = 2 if layer.op is Op.LSTM else 1
        zero = Moments(np.zeros(direction.hidden), np.zeros(direction.hidden))
        state = [zero] * count
        for slot, signal in enumerate(inputs[1 : 1 + count]):
            if signal is not None and len(directions) == 1 and signal.mean.size in (1, direction.hidden):
                state[slot] = Moments(full(signal.mean, direction.hidden), full(signal.variance, direction.hidden))
        found.append((direction, _steps(direction, x, tuple(state))))
    return x, found


def _steps(direction: _Direction, x: Signal, state: State) -> list[_Step]:
    """The steps, as many as differ."""
    hidden, gates = direction.hidden, direction.gates
    mean, seconds = direction.weight.forward(
        full(x.mean, direction.weight.inputs), full(x.variance, direction.weight.inputs)[:, None]
    )
    mean = mean + direction.input_bias
    correlation = _neighbor_correlation(x)
    steps: list[_Step] = []
    for _ in range(x.positions):
        moved, spread = direction.recurrent.forward(state[0].mean, state[0].variance[:, None])
        moved = moved + direction.recurrent_bias
        rows = [slice(gate * hidden, (gate + 1) * hidden) for gate in range(gates)]
        recurrent = [Moments(moved[row], spread[row, 0]) for row in rows]
        pre = [Moments(mean[row] + moved[row], seconds[row, 0] + spread[row, 0]) for row in rows]
        incoming = np.array([seconds[row, 0] for row in rows])
        share = incoming / np.maximum(np.array([sums.variance for sums in pre]), 1e-300)
        after = direction.cell.forward(pre, recurrent, state, correlation * share)
        steps.append(_Step(pre, recurrent, state, after))
        if all(_is_still(old.second, new.second) for old, new in zip(state, after, strict=True)):
            break
        state = after
    return steps


def _neighbor_correlation(x: Signal) -> float:
    """Correlation of an input with the next one, where it falls off geometrically and has the mean over all pairs that `shared` tells."""
    share = x.positions * float(x.shared.mean()) / max(float(x.variance.mean()), 1e-300)
    return share / (2.0 + share)


def _is_still(old: Floats, new: Floats) -> bool:
    return float(np.abs(new - old).max()) <= _STILL * float(np.abs(new).max())


def _sequence(direction: _Direction, steps: list[_Step], x: Signal) -> Signal:
    """The states of all steps as one value. What a state keeps from step to step is shared by neighbors, and so is what the input shares."""
    weights = np.ones(len(steps))
    weights[-1] = x.positions - len(steps) + 1
    weights /= weights.sum()
    mean = sum((w * step.after[0].mean for w, step in zip(weights, steps, strict=True)), np.zeros(direction.hidden))
    second = sum((w * step.after[0].second for w, step in zip(weights, steps, strict=True)), np.zeros(direction.hidden))
    variance = np.maximum(second - mean * mean, 0.0)
    kept, _ = direction.cell.memory(steps[-1].pre, steps[-1].before)
    count = x.positions
    lags = np.arange(1, count)
    if not len(lags):
        return Signal(mean, variance)
    common = (kept[:, None] ** lags) @ (count - lags) * (2.0 / (count * (count - 1.0)))
    shared = np.minimum(common + float(x.shared.mean()) / max(float(x.variance.mean()), 1e-300), 1.0) * variance
    return Signal(mean, variance - shared, shared)


def _through_time(direction: _Direction, steps: list[_Step], count: int, every: Floats, last: list[Floats]) -> _Back:
    """`every` is the gradient by each step's state, `last` by the state after the last step (second moments)."""
    rows = direction.hidden * direction.gates
    alone, summed, recurrent, recurrent_summed = (np.zeros(rows) for _ in range(4))
    by_weight = 0.0
    gradients = list(last)
    done = 0
    while done < count:
        t = count - 1 - done
        step = steps[min(t, len(steps) - 1)]
        gradients[0] = gradients[0] + every
        found, carried, passed = direction.cell.backward(step.pre, step.hidden, step.before, step.after, gradients)
        kept, factors = direction.cell.memory(step.pre, step.before)
        # E over all earlier steps of the product of two steps' gradients
        lag = 2.0 * kept * (1.0 - kept**t) / np.maximum(1.0 - kept, 1e-9)
        extra = np.concatenate([factor * lag for factor in factors])
        flat, back = np.concatenate(found), np.concatenate(carried)
        through = _squares_back(direction.recurrent, back)
        following = [passed[0] + through, *passed[1:]]
        repeats = 1
        if t >= len(steps) and all(
            _is_still(a, b) for a, b in zip(gradients, [following[0] + every, *following[1:]], strict=True)
        ):
            repeats = t - len(steps) + 2
        alone += repeats * flat
        recurrent += repeats * back
        summed += repeats * flat * (1.0 + extra)
        recurrent_summed += repeats * back * (1.0 + extra)
        h = step.before[0]
        steady = float((h.mean * h.mean).mean())
        by_weight += repeats * (float(back.mean()) * float(h.second.mean()) + float((back * extra).mean()) * steady)
        done += repeats
        gradients = following
    return _Back(alone, summed, recurrent, recurrent_summed, by_weight, gradients)


def _squares_back(matrix: AnyMatrix, squares: Floats) -> Floats:
    """(W²)ᵀ·squares."""
    return matrix.turned().forward(NONE, squares[:, None])[1][:, 0]


def _incoming(
    model: Model, layer: Layer, outputs: Sequence[Signal], gradients: Sequence[Gradient | None], at: int, hidden: int
) -> tuple[Floats, list[Floats]]:
    """The gradient by each step's state, and by the last states, of direction `at`."""
    last = [np.zeros(hidden) for _ in range(2 if layer.op is Op.LSTM else 1)]
    every = np.zeros(hidden)
    is_sequence = _is_sequence(model, layer)
    for position, gradient in enumerate(gradients):
        if gradient is None:
            continue
        total = gradient.total
        part = np.full(hidden, total[0]) if total.size == 1 else total[at * hidden : (at + 1) * hidden]
        if position == 0 and is_sequence:
            if _only_last_is_read(model, layer.outputs[0]):
                last[0] = last[0] + part * outputs[0].positions
            else:
                every = part
        else:
            slot = min(position - 1 if is_sequence else position, len(last) - 1)
            last[slot] = last[slot] + part
    return every, last


def _only_last_is_read(model: Model, name: str) -> bool:
    """Whether the sequence is cut to one step at once, as a classifier does it."""
    for _ in range(4):
        value = model.graph.values.get(name)
        if value is None or len(value.consumers) != 1:
            return False
        reader = model.graph.layers[value.consumers[0]]
        if reader.op in (Op.GATHER, Op.SLICE) and "index" in reader.attributes:
            return True
        if reader.op not in (Op.TRANSPOSE, Op.SQUEEZE, Op.RESHAPE, Op.IDENTITY):
            return False
        name = reader.outputs[0]
    return False


def _is_sequence(model: Model, layer: Layer) -> bool:
    """Whether the first output holds all steps; else it is the last state."""
    sizes = model.sizes(layer.outputs[0])
    inside = model.sizes(layer.inputs[0])
    return sizes is None or len(sizes) == 4 or inside is None or sizes[:2] == inside[:2]


def _axes(
    layer: Layer, sizes: tuple[int, ...] | None, directions: int, batch: int | None
) -> tuple[tuple[int, ...], int | None]:
    """Unit axes and batch axis: (steps, directions, batch, hidden) as ONNX has it, or (…, directions · hidden)."""
    if sizes is not None and len(sizes) == 4:
        return ((-3, -1) if directions > 1 else (-1,)), -2
    if sizes is not None and len(sizes) == 3 and directions > 1 and sizes[-1] == layer.attributes.get("hidden_size"):
        return (-3, -1), -2
    return (-1,), batch


def _joined(signals: Sequence[Signal]) -> Signal:
    if len(signals) == 1:
        return signals[0]
    parts = [np.concatenate([getattr(signal, part) for signal in signals]) for part in ("mean", "own")]
    shared = NONE if signals[0].shared is NONE else np.concatenate([signal.shared for signal in signals])
    return Signal(parts[0], parts[1], shared)


def _directions(model: Model, layer: Layer) -> list[_Direction]:
    weight, recurrent = model.parameter(layer, Role.INPUT_WEIGHT), model.parameter(layer, Role.RECURRENT_WEIGHT)
    if weight is None or recurrent is None or len(recurrent.shape) != 3:
        raise NotCovered("its weights are not known")
    count, rows, hidden = recurrent.shape
    order = layer.attributes.get("gate_order")
    names = layer.attributes.get("activations")
    first = str(names[0]) if isinstance(names, tuple) and names else "tanh"
    cell = cell_of(layer.op, order if isinstance(order, str) else "i", first)
    if rows != hidden * len(cell.gates) or weight.size % (count * rows):
        raise NotCovered("the shape of its weights does not fit")
    bias = model.vector(layer, Role.BIAS)
    found = []
    for at in range(count):
        biases = np.zeros(2 * rows)
        if bias is not None and bias.size == 2 * rows * count:
            biases = bias[at * 2 * rows : (at + 1) * 2 * rows]
        elif bias is not None and bias.size == rows * count:
            biases[:rows] = bias[at * rows : (at + 1) * rows]
        found.append(
            _Direction(
                cell,
                hidden,
                _part(model, weight, at, count, rows),
                _part(model, recurrent, at, count, rows),
                biases[:rows],
                biases[rows:],
            )
        )
    return found


def _part(model: Model, parameter: Parameter, at: int, count: int, rows: int) -> AnyMatrix:
    """The rows of one direction."""
    matrix = model.matrix(parameter, count * rows, parameter.size // (count * rows))
    if count == 1:
        return matrix
    if isinstance(matrix, Matrix):
        return Matrix(matrix.array[at * rows : (at + 1) * rows])
    return model.drawn(parameter, rows, matrix.inputs)


RULES = {op: Rule(forward, backward, 1) for op in RECURRENT}
