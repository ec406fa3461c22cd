"""Rules for products of two activations that are summed over axes: matmul and einsum outside attention. Imports ir and sibling modules.

out = Σ_k a_k b_k over K pairs. With a and b independent, E[out] = K·E[a]·E[b] and E[out²] = K·E[a²]·E[b²] + K(K−1)·E[a_k a_k′]·E[b_k b_k′].
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np

from trainaudit.frozen import frozen
from trainaudit.ir.graph import Layer
from trainaudit.ir.ops import Op
from trainaudit.measure.signal.layout import count_of, lay_out_gradient
from trainaudit.measure.signal.prediction import NONE, Floats, Gradient, NotCovered, Signal
from trainaudit.measure.signal.rule import Backflow, Rule
from trainaudit.measure.signal.weights import ASSUMED, Model


@frozen(eq=False)
class _Operand:
    """One factor: its signal, its axes' letters, and its moments at the summed axes. They are per unit where no unit axis is summed over
    (`kept`), else of all units together; `apart` is E[a_k a_k′] of two different places of the sum."""

    signal: Signal
    letters: str
    sizes: tuple[int, ...]
    kept: bool
    mean: Floats
    second: Floats
    apart: Floats


@frozen(eq=False)
class _Product:
    first: _Operand
    second: _Operand
    result: str
    sizes: dict[str, int]

    def count(self, letters: set[str]) -> int:
        return prod(self.sizes[letter] for letter in letters)

    @property
    def summed(self) -> set[str]:
        return (set(self.first.letters) | set(self.second.letters)) - set(self.result)


def forward(model: Model, layer: Layer, inputs: Sequence[Signal]) -> list[Signal]:
    whole = _product(model, layer, inputs)
    a, b = whole.first, whole.second
    if _is_of_pairs(whole):
        return [_pairs(whole)]
    count = whole.count(whole.summed)
    if a.kept and b.kept and a.mean.size > 1 and b.mean.size > 1:
        a = _merged(a)
    mean = count * a.mean * b.mean
    second = count * a.second * b.second + count * (count - 1.0) * a.apart * b.apart
    variance = np.maximum(second - mean * mean, 0.0)
    lead = a if mean.size > 1 and a.mean.size == mean.size else b
    axes: tuple[int, ...] = (-1,)
    if mean.size > 1:
        axes = tuple(sorted(whole.result.index(lead.letters[axis]) - len(whole.result) for axis in lead.signal.axes))
    batch = None
    for operand in (a, b):
        if operand.signal.batch is not None and operand.letters[operand.signal.batch] in whole.result:
            batch = whole.result.index(operand.letters[operand.signal.batch]) - len(whole.result)
    places = [whole.sizes[letter] for letter in whole.result]
    units = {axis % len(places) for axis in axes} | ({batch % len(places)} if batch is not None else set())
    positions = max(1, prod(size for axis, size in enumerate(places) if axis not in units))
    shared = NONE
    if positions > 1 and mean.size > 1:
        shared = np.minimum(_shared(whole, count), variance)
    return [Signal(mean, variance - shared, shared, positions, axes, batch)]


def _is_of_pairs(whole: _Product) -> bool:
    """Whether every sample of one factor meets every sample of the other, and the sum runs over the units of both."""
    a, b = whole.first, whole.second
    return (
        len(a.letters) == len(b.letters) == len(whole.result) == 2
        and a.signal.batch is not None
        and b.signal.batch is not None
        and {a.letters[a.signal.batch], b.letters[b.signal.batch]} == set(whole.result)
    )


def _pairs(whole: _Product) -> Signal:
    """The similarity of all samples of two values, unit by unit: units that are large on average count at every pair."""
    a, b = whole.first.signal, whole.second.signal
    count = whole.count(whole.summed)
    mean, second = a.mean * b.mean, a.second * b.second
    common = b.variance * a.mean**2
    total, variance, shared = (
        np.array([float(np.mean(part)) * count]) for part in (mean, second - mean * mean, common)
    )
    samples = whole.second.letters[b.batch or 0]
    return Signal(
        total,
        variance - shared,
        shared,
        whole.count(set(whole.result) - {samples}),
        (),
        whole.result.index(samples) - 2,
    )


def _shared(whole: _Product, count: int) -> Floats:
    """What the positions of the result have in common where the sum runs over positions: the part of both that the positions share."""
    a, b = whole.first, whole.second
    common = count * (count - 1.0) * a.apart * b.apart
    return np.maximum(common - (count * a.mean * b.mean) ** 2, 0.0)


def backward(
    model: Model,
    layer: Layer,
    inputs: Sequence[Signal],
    outputs: Sequence[Signal],
    gradients: Sequence[Gradient | None],
) -> Backflow:
    whole = _product(model, layer, inputs)
    gradient = gradients[0]
    assert gradient is not None
    flows: list[Gradient | None] = []
    for operand, other, name in (
        (whole.first, whole.second, layer.inputs[0]),
        (whole.second, whole.first, layer.inputs[1]),
    ):
        gone = set(whole.result) - set(operand.letters)
        count = whole.count({letter for letter in gone if letter not in _batch_letters(operand, other)})
        square = count * float(gradient.total.mean()) * float(other.signal.second.mean())
        square += (
            count
            * (count - 1.0)
            * float(gradient.shared.mean())
            * float(np.mean(other.signal.mean**2 + other.signal.shared))
        )
        found = Gradient(np.array([square]))
        flows.append(lay_out_gradient(found, operand.signal, model.sizes(name), operand.signal.axes))
    return Backflow([*flows, *[None] * (len(inputs) - 2)])


def _batch_letters(operand: _Operand, other: _Operand) -> set[str]:
    """The letter of the samples where only the other factor has them: gradients are those of one sample."""
    return (
        {other.letters[other.signal.batch]}
        if other.signal.batch is not None and operand.signal.batch is None
        else set()
    )


def _product(model: Model, layer: Layer, inputs: Sequence[Signal]) -> _Product:
    if len(inputs) < 2:
        raise NotCovered("it has one operand")
    shapes = [model.sizes(name) for name in layer.inputs[:2]]
    if shapes[0] is None or shapes[1] is None:
        raise NotCovered("the shape of its input is not known")
    terms, result = _letters(layer, shapes[0], shapes[1])
    sizes: dict[str, int] = {}
    for letters, shape in zip(terms, shapes, strict=True):
        assert shape is not None
        for letter, size in zip(letters, shape, strict=True):
            sizes[letter] = max(size, sizes.get(letter, 1))
    summed = (set(terms[0]) | set(terms[1])) - set(result)
    samples = {
        letters[signal.batch]
        for signal, letters in zip(inputs[:2], terms, strict=True)
        if signal.batch is not None and -signal.batch <= len(letters)
    }
    if samples & summed:
        raise NotCovered("it sums over samples")
    if len(samples) > 1:  # each sample meets all others: of an unknown number, as many as are assumed elsewhere
        sizes.update({letter: min(sizes[letter], ASSUMED) for letter in samples})
    operands = [
        _operand(signal, letters, shape or (), summed)
        for signal, letters, shape in zip(inputs[:2], terms, shapes, strict=True)
    ]
    return _Product(operands[0], operands[1], result, sizes)


def _letters(layer: Layer, a: tuple[int, ...], b: tuple[int, ...]) -> tuple[list[str], str]:
    equation = layer.attributes.get("equation")
    if isinstance(equation, str):
        left, arrow, result = equation.replace(" ", "").partition("->")
        terms = left.split(",")
        if not arrow or "." in equation or len(terms) != 2 or any(len(set(t)) != len(t) for t in terms):
            raise NotCovered("no rule for its equation")
        if len(terms[0]) != len(a) or len(terms[1]) != len(b):
            raise NotCovered("its equation does not fit its inputs")
        return terms, result
    if len(a) < 2 or len(b) < 2 or max(len(a), len(b)) > 8:
        raise NotCovered("no rule for products with vectors")
    leading = "abcdefgh"[: max(len(a), len(b)) - 2]
    return [leading[len(leading) - len(a) + 2 :] + "ik", leading[len(leading) - len(b) + 2 :] + "kj"], leading + "ij"


def _operand(signal: Signal, letters: str, sizes: tuple[int, ...], summed: set[str]) -> _Operand:
    count_of(sizes, signal.axes)
    inside = [axis for axis in signal.axes if letters[axis] in summed]
    if not inside or signal.mean.size == 1:
        return _Operand(signal, letters, sizes, True, signal.mean, signal.second, signal.mean**2 + signal.shared)
    merged = _merged(_Operand(signal, letters, sizes, False, signal.mean, signal.second, NONE))
    # two places of the sum are two units
    count = prod(sizes[axis] for axis in inside)
    squares = float(np.mean(signal.mean**2))
    apart = (count * float(merged.mean[0]) ** 2 - squares) / (count - 1.0) if count > 1 else squares
    return _Operand(signal, letters, sizes, False, merged.mean, merged.second, np.array([max(apart, 0.0)]))


def _merged(operand: _Operand) -> _Operand:
    mean, second, apart = (np.array([float(part.mean())]) for part in (operand.mean, operand.second, operand.apart))
    return _Operand(operand.signal, operand.letters, operand.sizes, operand.kept, mean, second, apart)


RULES = {op: Rule(forward, backward, 2) for op in (Op.MATMUL, Op.EINSUM)}
