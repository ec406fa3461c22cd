"""A recurrent layer's moments unrolled over the steps, and its gradients back through them. Imports ir and sibling modules.

Steps are followed until the moments stand still; the rest of the sequence repeats the last one.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from trainaudit.frozen import frozen
from trainaudit.ir.graph import Layer, Parameter, Role
from trainaudit.measure.signal.cells import Cell, Flow, Moments, Slopes, State, Step, cell_of
from trainaudit.measure.signal.layout import full
from trainaudit.measure.signal.matrices import AnyMatrix, DrawnMatrix, Matrix
from trainaudit.measure.signal.prediction import NONE, Floats, NotCovered, Signal
from trainaudit.measure.signal.weights import Model

_STILL = 1e-3
"""Relative change of the moments from step to step below which they stand still."""
_SQUARED = 1 << 22
"""Weights up to which a recurrent matrix is squared once for all steps."""


@frozen(eq=False)
class Direction:
    """One direction of a recurrent layer with its weights."""

    cell: Cell
    hidden: int
    weight: AnyMatrix
    recurrent: AnyMatrix
    squares: Floats | None
    input_bias: Floats
    recurrent_bias: Floats

    def rows(self) -> list[slice]:
        """The rows of each gate."""
        return [slice(gate * self.hidden, (gate + 1) * self.hidden) for gate in range(len(self.cell.gates))]

    def recur(self, state: Moments) -> tuple[Floats, Floats]:
        """Mean and variance of R·h + b."""
        if self.squares is None or not isinstance(self.recurrent, Matrix):
            mean, spread = self.recurrent.forward(state.mean, state.variance[:, None])
            return mean + self.recurrent_bias, spread[:, 0]
        return self.recurrent.array @ state.mean + self.recurrent_bias, self.squares @ state.variance

    def recur_back(self, squares: Floats) -> Floats:
        if self.squares is None:
            return squares_back(self.recurrent, squares)
        return squares @ self.squares


@frozen(eq=False)
class Sums:
    """Second moments of gradients by the gates' sums, added over the steps: `alone` as if steps were independent; `constant` adds what correlated
    steps bring where they meet the same number, `varying` where they meet an input as correlated as its neighbors."""

    alone: Floats
    constant: Floats
    varying: Floats


@frozen(eq=False)
class Back:
    """What flows back through time: sums by the gates' sums, by the recurrent parts of them, the mean square by an element of the recurrent
    weight, and the second moments by the state before the first step."""

    sums: Sums
    recurrent: Sums
    by_recurrent_weight: float
    first: list[Floats]


def neighbor_correlation(share: float, positions: int) -> float:
    """The correlation of neighbors that falls off geometrically and has that mean over all pairs of positions."""
    total = positions * max(share, 0.0)
    return total / (2.0 + total)


def correlation_of(x: Signal) -> float:
    return neighbor_correlation(float(x.shared.mean()) / max(float(x.variance.mean()), 1e-300), x.positions)


def unroll(direction: Direction, x: Signal, state: State) -> list[Step]:
    """The steps, as many as differ."""
    rows, inputs = direction.rows(), direction.weight.inputs
    mean, seconds = direction.weight.forward(full(x.mean, inputs), full(x.variance, inputs)[:, None])
    mean, incoming = mean + direction.input_bias, seconds[:, 0]
    correlation = correlation_of(x)
    steps: list[Step] = []
    for _ in range(x.positions):
        moved, spread = direction.recur(state[0])
        recurrent = [Moments(moved[row], spread[row]) for row in rows]
        pre = [Moments(mean[row] + moved[row], incoming[row] + spread[row]) for row in rows]
        echo = correlation * incoming / np.maximum(incoming + spread, 1e-300)
        after, gates = direction.cell.forward(pre, recurrent, state, echo.reshape(len(rows), -1))
        steps.append(Step(pre, recurrent, state, after, gates))
        if all(_is_still(old.second, new.second) for old, new in zip(state, after, strict=True)):
            break
        state = after
    return steps


def _is_still(old: Floats, new: Floats) -> bool:
    return float(np.abs(new - old).max()) <= _STILL * float(np.abs(new).max())


def sequence(direction: Direction, steps: Sequence[Step], x: Signal) -> Signal:
    """The states of all steps as one value. What a state keeps from step to step is shared by neighbors, and so is what the input shares."""
    weights = np.ones(len(steps))
    weights[-1] = x.positions - len(steps) + 1
    weights /= weights.sum()
    zero = np.zeros(direction.hidden)
    mean = sum((w * step.after[0].mean for w, step in zip(weights, steps, strict=True)), zero)
    second = sum((w * step.after[0].second for w, step in zip(weights, steps, strict=True)), zero)
    variance = np.maximum(second - mean * mean, 0.0)
    count = x.positions
    if count == 1:
        return Signal(mean, variance)
    decay, share = direction.cell.kept(steps[-1])
    lags = np.arange(1, count)
    common = share * ((decay[:, None] ** lags) @ (count - lags)) * (2.0 / (count * (count - 1.0)))
    shared = np.minimum(common + float(x.shared.mean()) / max(float(x.variance.mean()), 1e-300), 1.0) * variance
    return Signal(mean, variance - shared, shared)


def through_time(
    direction: Direction, steps: Sequence[Step], x: Signal, every: Floats, echo: float, last: list[Floats]
) -> Back:
    """`every` is the gradient by each step's state (second moments), `echo` its correlation with the next step's, `last` are the gradients by
    the states after the last step."""
    size = direction.hidden * len(direction.cell.gates)
    totals = np.zeros((6, size))
    by_weight, correlation = 0.0, correlation_of(x)
    zero = np.zeros(direction.hidden)
    gradients = [*last, zero]
    known: dict[int, Slopes] = {}
    done = 0
    while done < x.positions:
        t = x.positions - 1 - done
        at = min(t, len(steps) - 1)
        step = steps[at]
        if at not in known:
            known[at] = direction.cell.slopes(step)
        gradients[0] = gradients[0] + every
        flow = direction.cell.backward(step, known[at], gradients, echo * every / np.maximum(gradients[0], 1e-300))
        carried = np.concatenate(flow.hidden)
        following = [flow.passed[0] + direction.recur_back(carried), *flow.passed[1:]]
        repeats = 1
        if t >= len(steps) and all(
            _is_still(old, new) for old, new in zip(gradients, [following[0] + every, *following[1:]], strict=True)
        ):
            repeats = t - len(steps) + 2
        found = np.concatenate(flow.gates)
        constant, varying = _lag(flow, t, 1.0), _lag(flow, t, correlation)
        totals += repeats * np.array(
            [found, found * constant, found * varying, carried, carried * constant, carried * varying]
        )
        h = step.before[0]
        decay, share = direction.cell.kept(step)
        lag = _lag(flow, t, float(decay.mean()))
        by_weight += repeats * float(
            carried.mean() * h.second.mean()
            + (carried * constant).mean() * (h.mean * h.mean).mean()
            + (carried * lag).mean() * (h.variance * share).mean()
        )
        done += repeats
        gradients = following
    return Back(Sums(*totals[:3]), Sums(*totals[3:]), by_weight, gradients[:-1])


def _lag(flow: Flow, steps: int, correlation: float) -> Floats:
    """Twice the sum over all earlier steps of the correlation with this one, times that of what they meet."""
    parts = []
    for decay, factor in zip(flow.decay, flow.factor, strict=True):
        ratio = np.minimum(decay * correlation, 0.999)
        parts.append(2.0 * factor * ratio * (1.0 - ratio**steps) / (1.0 - ratio))
    return np.concatenate(parts)


def squares_back(matrix: AnyMatrix, squares: Floats) -> Floats:
    """(W²)ᵀ·squares."""
    return matrix.turned().forward(NONE, squares[:, None])[1][:, 0]


def directions(model: Model, layer: Layer) -> list[Direction]:
    """A recurrent layer's directions, each with its own weights."""
    weight, recurrent = model.parameter(layer, Role.INPUT_WEIGHT), model.parameter(layer, Role.RECURRENT_WEIGHT)
    if weight is None or recurrent is None or len(recurrent.shape) != 3:
        raise NotCovered("its weights are not known")
    count, rows, hidden = recurrent.shape
    order = layer.attributes.get("gate_order")
    names = layer.attributes.get("activations")
    first = str(names[0]) if isinstance(names, tuple) and names else "tanh"
    cell = cell_of(layer.op, order if isinstance(order, str) else "i", first)
    if not rows or rows != hidden * len(cell.gates) or weight.size % (count * rows):
        raise NotCovered("the shape of its weights does not fit")
    bias = model.vector(layer, Role.BIAS)
    found = []
    for at in range(count):
        biases = np.zeros(2 * rows)
        if bias is not None and bias.size == 2 * rows * count:
            biases = bias[at * 2 * rows : (at + 1) * 2 * rows]
        elif bias is not None and bias.size == rows * count:
            biases[:rows] = bias[at * rows : (at + 1) * rows]
        inside, loop = _part(model, weight, at, count, rows), _part(model, recurrent, at, count, rows)
        squares = (
            loop.array.astype(np.float64) ** 2 if isinstance(loop, Matrix) and loop.array.size <= _SQUARED else None
        )
        found.append(Direction(cell, hidden, inside, loop, squares, biases[:rows], biases[rows:]))
    return found


def _part(model: Model, parameter: Parameter, at: int, count: int, rows: int) -> AnyMatrix:
    """The rows of one direction."""
    matrix = model.matrix(parameter, count * rows, parameter.size // (count * rows))
    if isinstance(matrix, Matrix):
        return Matrix(matrix.array[at * rows : (at + 1) * rows])
    if isinstance(matrix, DrawnMatrix):
        return DrawnMatrix(rows, matrix.inputs, matrix.mean, matrix.std, matrix.seed + at)
    raise NotCovered("the shape of its weights does not fit")
